import { randomUUID } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { type Context, command, on, request } from '@chasqui/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import * as z from 'zod'
import { ReplyQueue } from '../../src/request/reply-queue.ts'
import { alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

const Rows = () =>
  request(`rows-${randomUUID()}`, z.object({ count: z.number() }), z.object({ n: z.number().transform(n => n * 10) }), {
    stream: true,
  })

async function* counting({ count }: { count: number }) {
  for (let n = 0; n < count; n++) yield { n }
}

async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = []
  for await (const item of items) taken.push(item)
  return taken
}

const tens = (count: number) => Array.from({ length: count }, (_, i) => ({ n: i * 10 }))

/** The stream's first items, and then its failure. */
async function failing(items: AsyncIterable<unknown>) {
  const taken: unknown[] = []
  const error = await errorOf(async () => {
    for await (const item of items) taken.push(item)
  })
  return { taken, error }
}

describe('stream()', () => {
  test('gives what the generator yields, in order, each as its schema’s output', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    await bus.handle(rows, counting)
    expect(await all(bus.stream(rows, { count: 5 }))).toEqual(tens(5))
    expect(await all(bus.stream(rows, { count: 0 }))).toEqual([])
    await eventually('both ended', () => ofKind(bus.told, 'streamed').length === 2)
    expect(ofKind(bus.told, 'streamed').map(({ end, items }) => [end, items])).toEqual([
      ['finished', 5],
      ['finished', 0],
    ])
    expect(ofKind(bus.told, 'late-reply')).toEqual([])
  })

  test('works for plain names, with any body, and among routes', async () => {
    const bus = await memoryBus()
    const [queue, rows] = [ownName(), Rows()]
    await bus.handle(queue, async function* (body) {
      yield body
      yield 'text'
      yield Buffer.from([1])
    })
    expect(await all(bus.stream(queue, { a: 1 }))).toEqual([{ a: 1 }, 'text', Buffer.from([1])])
    await bus.handle([on(rows, counting)])
    expect(await all(bus.stream(rows, { count: 2 }))).toEqual(tens(2))
  })

  test('[window] the generator is never further ahead of the loop than this', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    let made = 0
    await bus.handle(rows, async function* ({ count }) {
      for (; made < count; made++) yield { n: made }
    })
    let taken = 0
    for await (const _ of bus.stream(rows, { count: 500 }, { window: 7 })) {
      taken += 1
      if (taken % 50 === 0) for (let i = 0; i < 20; i++) await turn()
      // What it is about to yield it has made already.
      expect(made).toBeLessThanOrEqual(taken + 7)
    }
    expect([taken, made]).toEqual([500, 500])
  })

  test('leaving the loop ends the generator, whose finally runs and whose signal fires', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const ended = Promise.withResolvers<unknown>()
    await bus.handle(rows, async function* (_, ctx) {
      try {
        for (let n = 0; ; n++) yield { n }
      } finally {
        ended.resolve(ctx.signal.reason)
      }
    })
    for await (const { n } of bus.stream(rows, { count: 1 }, { window: 3 })) if (n === 50) break
    expect(await ended.promise).toMatchObject({ code: 'aborted' })
    await eventually('it is told', () => ofKind(bus.told, 'streamed').length === 1)
    expect(ofKind(bus.told, 'streamed')[0]).toMatchObject({ end: 'left' })
    expect(ofKind(bus.told, 'handled')).toHaveLength(1)
    expect(ofKind(bus.told, 'late-reply')).toEqual([])
  })

  test('leaving reaches a generator that has yielded nothing yet', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const fired = Promise.withResolvers<unknown>()
    await bus.handle(rows, async function* (_, ctx): AsyncGenerator<{ n: number }> {
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
      fired.resolve(ctx.signal.reason)
    })
    const abort = new AbortController()
    const loop = failing(bus.stream(rows, { count: 1 }, { signal: abort.signal }))
    await eventually('it began', () => ofKind(bus.told, 'received').length === 1)
    abort.abort()
    expect((await loop).error.code).toBe('aborted')
    expect(await fired.promise).toMatchObject({ code: 'aborted' })
  })

  test('a failure midway comes after the items before it, and is not tried again: they have been seen', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    let runs = 0
    await bus.handle(rows, async function* () {
      runs += 1
      yield { n: 1 }
      yield { n: 2 }
      throw Object.assign(new Error('out of rows'), { details: { left: 0 } })
    })
    const { taken, error } = await failing(bus.stream(rows, { count: 1 }))
    expect(taken).toEqual([{ n: 10 }, { n: 20 }])
    expect(error).toMatchObject({
      code: 'request-failed',
      details: { remoteCode: 'handler-failed', remoteMessage: 'out of rows', remoteDetails: { left: 0 } },
    })
    await eventually('a dead letter', () => ofKind(bus.told, 'dead-lettered').length === 1)
    expect(runs).toBe(1)
  })

  test('a failure before the first item is tried again, and the requester notices nothing', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    let runs = 0
    await bus.handle(rows, async function* (body) {
      runs += 1
      if (runs < 3) throw new Error('not yet')
      yield* counting(body)
    })
    expect(await all(bus.stream(rows, { count: 3 }))).toEqual(tens(3))
    expect(runs).toBe(3)
  })

  test('an item that does not fit ends the stream with body-invalid, and the generator', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const ended = Promise.withResolvers<void>()
    await bus.handle(rows, async function* () {
      try {
        yield { n: 1 }
        yield { n: 'two' } as never
      } finally {
        ended.resolve()
      }
    })
    const { taken, error } = await failing(bus.stream(rows, { count: 1 }))
    expect(taken).toEqual([{ n: 10 }])
    expect(error.details).toMatchObject({ remoteCode: 'body-invalid' })
    await ended.promise
  })

  test('items are checked by the requester too, and the generator ends', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const loose = request(rows.type, z.unknown(), z.unknown(), { stream: true })
    let ended = false
    await bus.handle(loose, async function* () {
      try {
        for (;;) yield { n: 'no number' }
      } finally {
        ended = true
      }
    })
    expect((await failing(bus.stream(rows, { count: 1 }))).error.code).toBe('body-invalid')
    await eventually('the generator ended', () => ended)
  })

  test('[timeoutMs] the loop waits so long for an item, the first or a later one; not while it is not asking', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    await bus.handle(rows, async function* ({ count }, ctx) {
      yield* counting({ count })
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
    })
    expect((await failing(bus.stream(rows, { count: 0 }, { timeoutMs: 20 }))).error.code).toBe('request-timeout')
    const { taken, error } = await failing(
      (async function* () {
        for await (const item of bus.stream(rows, { count: 2 }, { timeoutMs: 60 })) {
          await new Promise(resolve => setTimeout(resolve, 80))
          yield item
        }
      })(),
    )
    expect([taken.length, error.code]).toEqual([2, 'request-timeout'])
    await eventually('both generators ended', () => ofKind(bus.told, 'streamed').length === 2)
  })

  test('[timeoutMs of the handler] limits the whole stream', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    const forever = async function* (_: unknown, ctx: Context) {
      yield { n: 1 }
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
    }
    await bus.handle(rows, forever, { timeoutMs: 30 })
    const { taken, error } = await failing(bus.stream(rows, { count: 1 }))
    expect(taken).toEqual([{ n: 10 }])
    expect(error.details).toMatchObject({ remoteCode: 'handler-timeout' })
  })

  test('one reply where a stream is asked for, and the reverse, is reply-kind on both sides', async () => {
    const bus = await memoryBus()
    const kindOf = async (failed: Promise<{ error: { code: string; details: object } }>) => {
      const { code, details } = (await failed).error
      return [code, (details as { remoteCode?: string }).remoteCode]
    }
    const asked = (failed: Promise<unknown>) => kindOf(errorOf(failed).then(error => ({ error })))
    const [rows, other, plain, plainStream] = [Rows(), Rows(), ownName(), ownName()]
    const one = request(other.type, z.object({ count: z.number() }), z.object({ n: z.number() }))
    await bus.handle(rows, () => ({ n: 1 }) as never)
    expect(await kindOf(failing(bus.stream(rows, { count: 1 })))).toEqual(['request-failed', 'reply-kind'])
    await bus.handle(one, counting as never)
    expect(await asked(bus.request(one, { count: 1 }))).toEqual(['request-failed', 'reply-kind'])
    expect(await kindOf(failing(bus.stream(other, { count: 1 })))).toEqual(['request-failed', 'reply-kind'])
    await bus.handle(plain, () => 'one')
    expect(await kindOf(failing(bus.stream(plain, 1)))).toEqual(['request-failed', 'reply-kind'])
    await bus.handle(plainStream, async function* () {})
    expect(await asked(bus.request(plainStream, 1))).toEqual(['request-failed', 'reply-kind'])
    // Each at its first attempt: another would change nothing.
    expect(ofKind(bus.told, 'retried')).toEqual([])
  })

  test('a generator as the handler of a command is reply-kind: nobody would run it', async () => {
    const bus = await memoryBus()
    const order = command(ownName())
    await bus.handle(order, async function* () {})
    await bus.send(order, 1)
    await eventually('a dead letter', () => ofKind(bus.told, 'dead-lettered').length === 1)
    expect(ofKind(bus.told, 'dead-lettered')[0]).toMatchObject({ code: 'reply-kind', attempts: 1 })
  })

  test('bad input is told by the loop', async () => {
    const bus = await memoryBus()
    const [rows, one] = [Rows(), request(ownName(), z.object({}), z.object({}))]
    const code = async (items: AsyncIterable<unknown>) => (await failing(items)).error.code
    expect(await code(bus.stream(rows, { count: 'x' } as never))).toBe('body-invalid')
    expect(await code(bus.stream(rows, { count: 1 }, { window: 0 }))).toBe('option-invalid')
    expect(await code(bus.stream(rows, { count: 1 }, { widow: 1 } as never))).toBe('option-invalid')
    expect(await code(bus.stream(rows, { count: 1 }, { declare: 'never' }))).toBe('destination-missing')
    expect(await code(bus.stream(one as never, {}))).toBe('option-invalid')
    expect((await errorOf(bus.request(rows as never, { count: 1 }))).code).toBe('option-invalid')
    expect((await errorOf(() => command(ownName(), { stream: true } as never))).code).toBe('option-invalid')
  })

  test('a thousand at once get their own items', async () => {
    const bus = await memoryBus()
    const rows = Rows()
    await bus.handle(rows, async function* ({ count }) {
      for (let n = 0; n < 5; n++) yield { n: count * 10 + n }
    })
    const streams = await Promise.all(Array.from({ length: 1000 }, (_, count) => all(bus.stream(rows, { count }))))
    expect(streams).toEqual(
      Array.from({ length: 1000 }, (_, count) => [0, 1, 2, 3, 4].map(n => ({ n: (count * 10 + n) * 10 }))),
    )
  })

  test('a handler may ask for a stream, and answer by what it gets', async () => {
    const bus = await memoryBus()
    const [inner, outer] = [Rows(), ownName()]
    await bus.handle(inner, counting)
    await bus.handle(outer, async function* (count, ctx) {
      for await (const { n } of ctx.stream(inner, { count: Number(count) })) yield n
    })
    expect(await all(bus.stream(outer, 3))).toEqual([0, 10, 20])
  })

  test('ends with the bus of its requester, and then its generator does', async () => {
    const [asker, answerer] = await pair()
    const rows = Rows()
    let ended = false
    await answerer.handle(rows, async function* () {
      try {
        for (let n = 0; ; n++) yield { n }
      } finally {
        ended = true
      }
    })
    const { error } = await failing(
      (async function* () {
        for await (const item of asker.stream(rows, { count: 1 })) {
          if (item.n === 100) void asker.close({ deadlineMs: 0 })
          yield item
        }
      })(),
    )
    expect(error.code).toBe('closed')
    await eventually('the generator ended', () => ended)
    expect((await errorOf(() => asker.stream(rows, { count: 1 }))).code).toBe('closed')
  })
})

/** Two buses on one `memory:` broker, as two processes would be. */
async function pair() {
  return [await memoryBus(), await memoryBus()] as const
}

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
