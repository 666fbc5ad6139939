import { PassThrough, Writable } from 'node:stream'
import { expect, test } from 'vitest'
import { Output } from '../src/output.ts'

const columns = [{ title: 'NAME', cell: (row: { name: string }) => row.name }]

function written(json: boolean): { output: Output; text: () => string } {
  const stream = new PassThrough()
  return { output: new Output(stream, json), text: () => String(stream.read() ?? '') }
}

test('[--json] one line a row, and nothing for none', async () => {
  const { output, text } = written(true)
  await output.rows([{ name: 'a' }, { name: 'b' }], columns, 'none')
  await output.rows([], columns, 'none')
  expect(text()).toBe('{"name":"a"}\n{"name":"b"}\n')
})

test('for people a table, or a sentence where there is nothing to show', async () => {
  const { output, text } = written(false)
  await output.rows([{ name: 'a' }], columns, 'There are none.')
  await output.rows([], columns, 'There are none.')
  expect(text()).toBe('NAME\na\nThere are none.\n')
})

test('a terminal gets lines as wide as it is, a program whole names', async () => {
  const rows = [{ name: 'a'.repeat(100) }]
  const columns = [{ title: 'NAME', cell: (row: { name: string }) => row.name, shrinks: true as const }]
  const lengthOn = async (stream: PassThrough) => {
    await new Output(stream, false).rows(rows, columns, '')
    return String(stream.read()).split('\n')[1]!.length
  }
  expect(await lengthOn(new PassThrough())).toBe(100)
  expect(await lengthOn(Object.assign(new PassThrough(), { isTTY: true }))).toBe(80)
  expect(await lengthOn(Object.assign(new PassThrough(), { isTTY: true, columns: 40 }))).toBe(40)
})

test('a reader that has gone is told of once, and what is written then is known not to have arrived', async () => {
  const stream = new Writable({ write: (_chunk, _encoding, done) => done(new Error('EPIPE')) })
  const output = new Output(stream, false)
  const closed = Promise.withResolvers<void>()
  output.onClosed(() => closed.resolve())
  expect(await output.line('one')).toBe(false)
  await closed.promise
  expect(await output.line('two')).toBe(false)
  await output.flushed()
})
