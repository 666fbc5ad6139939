import { connect } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

const later = () => new Promise(resolve => setImmediate(resolve))

describe('a consumer', () => {
  test('pauses and goes on', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const got: unknown[] = []
    const consumer = await bus.handle(queue, body => got.push(body))
    await bus.send(queue, 1)
    await eventually('the first is handled', () => got.length === 1)
    await consumer.pause()
    await bus.send(queue, 2)
    for (let i = 0; i < 20; i++) await later()
    expect(got).toEqual([1])
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1 })
    await consumer.resume()
    await eventually('the second is handled', () => got.length === 2)
  })

  test('stop() waits for handlers, and what waited behind them goes back', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const go = Promise.withResolvers<void>()
    const begun: unknown[] = []
    const consumer = await bus.handle(
      queue,
      async body => {
        begun.push(body)
        await go.promise
      },
      { concurrency: 1 },
    )
    await Promise.all([bus.send(queue, 1), bus.send(queue, 2), bus.send(queue, 3)])
    await eventually('one runs', () => begun.length === 1)
    const stopped = consumer.stop()
    for (let i = 0; i < 20; i++) await later()
    go.resolve()
    await stopped
    expect(begun).toEqual([1])
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({
      ready: 2,
      unsettled: 0,
      consumers: 0,
    })
  })

  test('stop() past its deadline fires the signal; the message goes back, unjudged', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const ended = Promise.withResolvers<unknown>()
    const errors: unknown[] = []
    const consumer = await bus.handle(
      queue,
      (_body, ctx) =>
        new Promise((_resolve, reject) => {
          ctx.signal.addEventListener('abort', () => {
            ended.resolve(ctx.signal.reason)
            reject(ctx.signal.reason)
          })
        }),
      { onError: error => void errors.push(error) },
    )
    await bus.send(queue, 1)
    await eventually(
      'it runs',
      async () => (await bus.inspector!.depth({ kind: 'queue', name: queue }))?.unsettled === 1,
    )
    await consumer.stop({ deadlineMs: 5 })
    expect(await ended.promise).toMatchObject({ code: 'closed' })
    await later()
    expect(errors).toEqual([])
    expect(ofKind(bus.told, 'attempt-failed')).toEqual([])
    expect(ofKind(bus.told, 'consumer-stopped')).toMatchObject([{ cancelled: 1 }])
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1, unsettled: 0 })
  })

  test('stop() does not wait for an attempt that is delayed and held here', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(queue, (_body, ctx) => ctx.retry({ delayMs: 60_000 }), { ordered: true })
    await bus.send(queue, 1)
    await eventually('it failed once', () => ofKind(bus.told, 'retried').length === 1)
    await consumer.stop()
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1 })
  })

  test('[signal] stops it at once', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const abort = new AbortController()
    await bus.handle(queue, () => new Promise(() => {}), { signal: abort.signal })
    await bus.send(queue, 1)
    await eventually(
      'it runs',
      async () => (await bus.inspector!.depth({ kind: 'queue', name: queue }))?.unsettled === 1,
    )
    abort.abort()
    await eventually('it stopped', () => ofKind(bus.told, 'consumer-stopped').length === 1)
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1, consumers: 0 })
  })

  test('`await using` stops it; twice is fine; a new one goes on', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    {
      await using consumer = await bus.handle(queue, () => {})
      await consumer.stop()
    }
    await bus.send(queue, 1)
    const got = Promise.withResolvers<unknown>()
    await bus.handle(queue, body => got.resolve(body))
    expect(await got.promise).toBe(1)
  })
})

describe('close()', () => {
  test('settles every send that is in flight, and what resolved is there', async () => {
    const bus = await memoryBus()
    const other = await memoryBus()
    const queue = ownName()
    const sends = Array.from({ length: 10_000 }, (_, i) =>
      bus.send(queue, i).then(
        () => 1,
        () => 0,
      ),
    )
    await bus.close()
    const resolved = (await Promise.all(sends)).reduce<number>((sum, one) => sum + one, 0)
    expect(resolved).toBe(10_000)
    expect(await other.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: resolved })
  })

  test('lets handlers finish, and what they send leaves', async () => {
    const bus = await memoryBus()
    const other = await memoryBus()
    const [queue, next] = [ownName(), ownName()]
    const begun = Promise.withResolvers<void>()
    await bus.handle(queue, async (_body, ctx) => {
      begun.resolve()
      await later()
      await ctx.send(next, 'sent while closing')
    })
    await bus.send(queue, 1)
    await begun.promise
    await bus.close()
    expect(await other.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 0 })
    expect(await other.inspector!.depth({ kind: 'queue', name: next })).toMatchObject({ ready: 1 })
  })

  test('refuses what comes after it, and may be called again', async () => {
    const bus = await memoryBus()
    await bus.close()
    await bus.close()
    for (const late of [
      bus.send('x', 1),
      bus.publish('x', 1),
      bus.request('x', 1),
      bus.handle('x', () => {}),
      bus.subscribe('x', 'y', () => {}),
      bus.receive('x').next(),
    ]) {
      expect((await errorOf(late)).code).toBe('closed')
    }
  })

  test('refuses a deadline out of bounds, and stays open', async () => {
    const bus = await memoryBus()
    expect((await errorOf(bus.close({ deadlineMs: -1 }))).code).toBe('option-invalid')
    await bus.send(ownName(), 1)
  })

  test('comes with `await using`', async () => {
    const told: string[] = []
    {
      await using bus = await connect('memory:', { logger: false })
      bus.observe(event => told.push(event.kind), ['closed'])
    }
    expect(told).toEqual(['closed'])
  })

  test('a handle() that was still starting is stopped or refused, not left behind', async () => {
    const bus = await memoryBus()
    const other = await memoryBus()
    const queue = ownName()
    const starting = bus
      .handle(queue, () => {})
      .then(
        () => 'started',
        () => 'refused',
      )
    await bus.close()
    await starting
    await other.send(queue, 1)
    expect(await other.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1, consumers: 0 })
  })
})

describe('health()', () => {
  test('is fine on start, names each consumer, and says when the bus is closed', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, () => {})
    expect(await bus.health()).toEqual({
      ok: true,
      details: [
        { name: 'connection', ok: true },
        { name: queue, ok: true },
      ],
    })
    await bus.close()
    expect(await bus.health()).toEqual({
      ok: false,
      details: [{ name: 'connection', ok: false, reason: 'the bus is closed' }],
    })
  })
})

describe('observe()', () => {
  test('tells of the kinds asked for, until it is ended', async () => {
    const bus = await memoryBus()
    const kinds: string[] = []
    const end = bus.observe(event => kinds.push(event.kind), ['sent', 'handled'])
    const queue = ownName()
    await bus.handle(queue, () => {})
    await bus.send(queue, 1)
    await eventually('it is handled', () => kinds.includes('handled'))
    end()
    await bus.send(queue, 1)
    expect(kinds.toSorted()).toEqual(['handled', 'sent'])
  })

  test('refuses kinds that do not exist', async () => {
    const bus = await memoryBus()
    expect((await errorOf(() => bus.observe(() => {}, ['snet' as never]))).code).toBe('option-invalid')
  })
})
