import { setImmediate as turn } from 'node:timers/promises'
import { type Context, command, on, request } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'
import { all, counting, failing, pair, Rows, tens } from './rows.ts'

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
