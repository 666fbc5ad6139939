import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { confirmed } from '../src/confirm.ts'

async function answer(text: string | undefined, signal = new AbortController().signal): Promise<boolean> {
  const input = new PassThrough()
  const asked = confirmed('Delete?', input, new PassThrough(), signal)
  if (text !== undefined) input.end(text)
  return await asked
}

test.each([
  ['y\n', true],
  ['Yes\n', true],
  ['\n', false],
  ['no\n', false],
  ['yesterday\n', false],
  ['', false],
])('%j is %s', async (text, expected) => {
  expect(await answer(text)).toBe(expected)
})

test('the signal is a no', async () => {
  const ended = new AbortController()
  const asked = answer(undefined, ended.signal)
  ended.abort()
  expect(await asked).toBe(false)
})
