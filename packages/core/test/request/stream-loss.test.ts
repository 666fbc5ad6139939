import { randomUUID } from 'node:crypto'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { ReplyQueue } from '../../src/request/reply-queue.ts'
import { alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, memoryBus, ofKind } from '../fixture.ts'
import { all, counting, pair, Rows, tens } from './rows.ts'

describe('a stream whose other side is lost', () => {
  afterEach(() => void vi.useRealTimers())

  test('breaks when the requester’s connection is lost, and what comes of it later is told that nobody reads', async () => {
    const { bus, sinks, told } = await alteredBus({})
    const rows = Rows()
    await bus.handle(rows, async function* () {
      for (let n = 0; ; n++) yield { n }
    })
    const stream = bus.stream(rows, { count: 1 }, { window: 5 })
    await stream.next()
    for (const sink of sinks) if (sink instanceof ReplyQueue) await sink.revoke()
    const error = await errorOf(async () => {
      for await (const _ of stream);
    })
    expect(error).toMatchObject({ code: 'stream-broken', message: expect.stringContaining('connection') })
    await eventually('the generator ended', () => ofKind(told, 'streamed').length === 1)
    expect(ofKind(told, 'streamed')[0]).toMatchObject({ end: 'left' })
  })

  test('its handler is not retried for what the end of the generator throws; that is told as hook-failed', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const failing = () => {
      throw new Error('clean-up failed')
    }
    await bus.handle(rows, async function* () {
      try {
        for (let n = 0; ; n++) yield { n }
      } finally {
        failing()
      }
    })
    for await (const _ of bus.stream(rows, { count: 1 })) break
    await eventually('told', () => ofKind(bus.told, 'hook-failed').length === 1)
    await eventually('handled', () => ofKind(bus.told, 'handled').length === 1)
    expect(ofKind(bus.told, 'attempt-failed')).toEqual([])
  })

  test('breaks when its handler is taken away after items were taken; the message is not lost', async () => {
    const [asker, first] = await pair()
    const second = await memoryBus()
    const rows = Rows()
    await first.handle(rows, async function* (_, ctx) {
      yield { n: 0 }
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
    })
    const stream = asker.stream(rows, { count: 3 })
    expect((await stream.next()).value).toEqual({ n: 0 })
    await second.handle(rows, counting)
    await first.close({ deadlineMs: 0 })
    expect(await errorOf(stream.next())).toMatchObject({ code: 'stream-broken', details: { items: 1 } })
    // The second handler's run is told that nobody wants it.
    await eventually('handled', () => ofKind(second.told, 'handled').length === 1)
  })

  test('goes on with the next attempt where nothing had been taken', async () => {
    const [asker, first] = await pair()
    const second = await memoryBus()
    const rows = Rows()
    await first.handle(rows, async function* (_, ctx): AsyncGenerator<{ n: number }> {
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
    })
    const items = all(asker.stream(rows, { count: 3 }))
    await eventually('the first run says that it is there', () => ofKind(first.told, 'sent').length === 1)
    await second.handle(rows, counting)
    await first.close({ deadlineMs: 0 })
    expect(await items).toEqual(tens(3))
  })

  test('ends its generator when the requester is gone without a word, though no credit is left', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const answerer = await alteredBus({})
    const rows = Rows()
    let ended = false
    await answerer.bus.handle(rows, async function* () {
      try {
        for (let n = 0; ; n++) yield { n }
      } finally {
        ended = true
      }
    })
    const message = {
      id: randomUUID(),
      type: rows.type,
      attributes: {},
      headers: { chasqui_stream_window: 2 },
      replyTo: 'here-for-now',
      durable: true,
      body: Buffer.from('{"count":1}'),
    }
    let came = 0
    const sink = {
      deliver: (batch: { items: readonly unknown[] }) => {
        came += batch.items.length
      },
      revoke: async () => {},
      fail: () => {},
    }
    const source = { kind: 'reply', name: 'here-for-now' } as const
    const receiver = await answerer.driver.receive(source, sink, { window: 10, order: 'none' })
    await answerer.driver.send([{ to: { kind: 'queue', name: rows.destination }, message }], Date.now() + 1000)
    await eventually('two items and a word came', () => came === 3)
    await receiver.stop()
    expect(ended).toBe(false)
    await vi.advanceTimersByTimeAsync(6000)
    await eventually('the generator ended', () => ended)
    await eventually('told', () => ofKind(answerer.told, 'streamed').length === 1)
    expect(ofKind(answerer.told, 'streamed')[0]).toMatchObject({ end: 'gone', items: 2 })
    expect(ofKind(answerer.told, 'attempt-failed')).toEqual([])
  })
})
