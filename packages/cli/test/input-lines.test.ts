import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import { inputLines } from '../src/input-lines.ts'

const never = new AbortController().signal

async function linesOf(chunks: readonly (string | Buffer)[], signal = never): Promise<string[]> {
  const lines: string[] = []
  const stream = Readable.from(chunks.map(chunk => Buffer.from(chunk)))
  for await (const line of inputLines(stream, signal)) lines.push(line.toString('latin1'))
  return lines
}

test('a line may be cut anywhere, end in \\n or \\r\\n, and lack its end at the end', async () => {
  const text = 'one\r\ntwo\n\nfour\r\nfi\rve'
  const expected = ['one', 'two', '', 'four', 'fi\rve']
  for (let at = 0; at <= text.length; at++) {
    expect(await linesOf([text.slice(0, at), text.slice(at)])).toEqual(expected)
  }
  expect(await linesOf([...text])).toEqual(expected)
})

test('bytes that are no text come through as they are', async () => {
  expect(await linesOf([Buffer.from([0xff, 0x00, 0x0a, 0xfe])])).toEqual(['\xff\x00', '\xfe'])
})

test('nothing gives nothing, an end alone an empty line', async () => {
  expect(await linesOf([])).toEqual([])
  expect(await linesOf(['\n'])).toEqual([''])
})

test('a line without end is refused before it fills the memory', async () => {
  const chunk = Buffer.alloc(4 * 1024 * 1024, 0x61)
  await expect(linesOf([chunk, chunk, chunk, chunk, chunk])).rejects.toMatchObject({ code: 'body-too-large' })
})

test('the signal ends it, also while it waits for more', async () => {
  const stream = new Readable({ read: () => {} })
  stream.push('one\ntw')
  const stop = new AbortController()
  const lines: string[] = []
  for await (const line of inputLines(stream, stop.signal)) {
    lines.push(String(line))
    setImmediate(() => stop.abort())
  }
  expect(lines).toEqual(['one'])
  expect(stream.destroyed).toBe(true)
})
