import type { HeaderValue, WireMessage } from '@chasqui/driver'
import { expect, test } from 'vitest'
import type { RunAddress } from '../../src/request/control.ts'
import { StreamReader } from '../../src/request/stream-reader.ts'
import { errorOf } from '../fixture.ts'

function reading(window = 4, timeoutMs = 10_000) {
  const granted: number[] = []
  const cancelled: string[] = []
  const reader = new StreamReader({
    name: 'rows',
    window,
    timeoutMs,
    grant: (_run: RunAddress, credit: number) => granted.push(credit),
    cancel: (run: RunAddress) => cancelled.push(run.id),
  })
  return { reader, granted, cancelled }
}

function from(run: string | undefined, headers: Record<string, HeaderValue>, body = ''): WireMessage {
  const own: Record<string, string> = run === undefined ? {} : { chasqui_run: run }
  return {
    headers: { ...own, ...headers },
    attributes: {},
    replyTo: 'control',
    durable: false,
    body: Buffer.from(body),
  }
}

const item = (run: string, sequence: number) => from(run, { chasqui_stream_sequence: sequence }, `${run}${sequence}`)
const here = (run: string) => from(run, {})
const end = (run: string, sequence: number) =>
  from(run, { chasqui_stream_sequence: sequence, chasqui_stream_end: true })

async function next(reader: StreamReader): Promise<string | undefined> {
  const message = await reader.next()
  return message === undefined ? undefined : Buffer.from(message.body).toString()
}

test('puts items in the order of their numbers, drops those that come twice, and stops at the end', async () => {
  const { reader, cancelled } = reading()
  for (const message of [end('a', 3), item('a', 2), item('a', 0), item('a', 0), item('a', 1), item('a', 2)]) {
    reader.take(message)
  }
  expect([await next(reader), await next(reader), await next(reader)]).toEqual(['a0', 'a1', 'a2'])
  expect(await next(reader)).toBeUndefined()
  reader.leave()
  expect(cancelled).toEqual([])
})

test('grants credit half a window at a time, and again when the run says that it waits', async () => {
  const { reader, granted } = reading(4)
  for (let i = 0; i < 4; i++) reader.take(item('a', i))
  for (let i = 0; i < 4; i++) {
    await reader.next()
    reader.done()
  }
  expect(granted).toEqual([6, 8])
  reader.take(here('a'))
  expect(granted).toEqual([6, 8, 8])
})

test('goes over to a new run while nothing was taken, and tells the old one', async () => {
  const { reader, cancelled } = reading()
  reader.take(item('a', 0))
  reader.take(item('a', 1))
  reader.take(here('b'))
  reader.take(item('b', 0))
  // The old run has not heard yet.
  reader.take(item('a', 2))
  expect(await next(reader)).toBe('b0')
  expect(cancelled).toEqual(['a', 'a'])
})

test('breaks at a new run after something was taken, and tells both', async () => {
  const { reader, cancelled } = reading()
  reader.take(item('a', 0))
  await reader.next()
  reader.take(here('b'))
  expect(await errorOf(reader.next())).toMatchObject({ code: 'stream-broken', details: { items: 1 } })
  expect(cancelled).toEqual(['a', 'b'])
})

test('breaks when the run was interrupted or the connection lost, unless nothing was taken or nothing had begun', async () => {
  const first = reading()
  first.reader.take(item('a', 0))
  first.reader.take(from('a', { chasqui_stream_broken: true }))
  first.reader.take(item('b', 0))
  expect(await next(first.reader)).toBe('b0')
  first.reader.take(from('b', { chasqui_stream_broken: true }))
  expect((await errorOf(first.reader.next())).code).toBe('stream-broken')
  const second = reading()
  second.reader.interrupted()
  second.reader.take(item('a', 0))
  expect(await next(second.reader)).toBe('a0')
  second.reader.interrupted()
  expect((await errorOf(second.reader.next())).message).toContain('connection')
})

test('breaks when more comes than credit was given for', async () => {
  const { reader } = reading(2)
  reader.take(item('a', 3))
  expect((await errorOf(reader.next())).message).toContain('credit')
})

test('a failure comes after the items before it; one without run comes at once', async () => {
  const failed = { chasqui_error_code: 'handler-failed', chasqui_error_message: 'no' }
  const first = reading()
  first.reader.take(from('a', { ...failed, chasqui_stream_sequence: 1 }))
  first.reader.take(item('a', 0))
  expect(await next(first.reader)).toBe('a0')
  expect((await errorOf(first.reader.next())).code).toBe('request-failed')
  const second = reading()
  second.reader.take(from(undefined, failed))
  expect((await errorOf(second.reader.next())).code).toBe('request-failed')
})

test('a reply that belongs to no run is reply-kind', async () => {
  const { reader } = reading()
  reader.take(from(undefined, {}, '{}'))
  expect((await errorOf(reader.next())).code).toBe('reply-kind')
})

test('nonsense in the headers of other programs is not believed', async () => {
  const { reader, granted } = reading()
  for (const sequence of [-1, 0.5, 'one', 2 ** 50, null, 10n ** 30n]) {
    reader.take(from('a', { chasqui_stream_sequence: sequence }))
  }
  reader.take(from('a', { chasqui_stream_sequence: 0n }, 'zero'))
  expect(await next(reader)).toBe('zero')
  expect(granted).toEqual([])
})
