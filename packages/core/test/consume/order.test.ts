import type { BusEvent, ConsumeOptions, Context } from '@chasqui/core'
import type { Operations } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { withOperations } from '../altered-operations.ts'
import { eventually, ofKind, ownName } from '../fixture.ts'

/** The engine keeps keys apart by itself, or hands out its queue as it is to one owner who does. */
const engines: [string, Partial<Operations>][] = [
  ['the engine knows keys', {}],
  ['the owner of the lane keeps order', { keyOrder: 'emulated', strictOrder: 'emulated' }],
]
const later = () => new Promise(resolve => setImmediate(resolve))

describe.each(engines)('where %s', (_how, operations) => {
  const emulated = operations.keyOrder === 'emulated'

  async function orderedBus() {
    return alteredBus({
      driver: real => ({
        ...withOperations(real, operations),
        ...(emulated
          ? { receive: (source, sink, options) => real.receive(source, sink, { ...options, order: 'none' }) }
          : {}),
      }),
    })
  }

  const consume = async (
    handler: (body: unknown, ctx: Context) => unknown,
    options: ConsumeOptions,
    sent: readonly { body: unknown; key?: string }[],
  ) => {
    const altered = await orderedBus()
    const queue = ownName()
    // The consumer first: order is declared with the destination.
    const consumer = await altered.bus.handle(queue, handler, options)
    for (const { body, key } of sent) await altered.bus.send(queue, body, key === undefined ? {} : { key })
    return { ...altered, queue, consumer }
  }

  test("[orderBy: 'key'] order per key is exact, under immediate and delayed retry, one handler a key", async () => {
    const begun = new Map<string, number[]>()
    const running = new Set<string>()
    let done = 0
    let overlaps = 0
    const sent = Array.from({ length: 320 }, (_, i) => ({ body: i, key: `k${i % 16}` }))
    await consume(
      async (body, ctx) => {
        const key = ctx.key!
        if (running.has(key)) overlaps += 1
        running.add(key)
        const list = begun.get(key) ?? []
        begun.set(key, list)
        if (list.at(-1) !== body) list.push(body as number)
        await later()
        running.delete(key)
        if ((body as number) % 9 === 0 && ctx.attempt < 3) ctx.retry({ delayMs: ctx.attempt === 1 ? 0 : 5 })
        done += 1
      },
      { orderBy: 'key', concurrency: 50 },
      sent,
    )
    await eventually('all are done', () => done === sent.length)
    expect(overlaps).toBe(0)
    for (const [key, list] of begun) {
      expect(list, key).toEqual(sent.filter(one => one.key === key).map(one => one.body))
    }
    expect(begun.size).toBe(16)
  })

  test("[orderBy: 'key'] a key that waits for its retry waits with its followers; others go on", async () => {
    const log: string[] = []
    let asked = 0
    const sent = ['a1', 'a2', 'b1', 'b2', 'a3', 'c1'].map(body => ({ body, key: body[0]! }))
    await consume(
      (body, ctx) => {
        log.push(`${body}`)
        if (body !== 'a1' || ctx.attempt > 1) return
        asked = performance.now()
        ctx.retry({ delayMs: 60 })
      },
      { orderBy: 'key', concurrency: 5 },
      sent,
    )
    await eventually('all are done', () => log.length === 7)
    expect(performance.now() - asked).toBeGreaterThanOrEqual(59)
    expect(log.filter(one => one.startsWith('a'))).toEqual(['a1', 'a1', 'a2', 'a3'])
    expect(log.slice(-3)).toEqual(['a1', 'a2', 'a3'])
  })

  test('[ordered] one at a time, also under delayed retry', async () => {
    const log: string[] = []
    let running = 0
    const sent = ['1', '2', '3', '4'].map(body => ({ body, key: body }))
    await consume(
      async (body, ctx) => {
        running += 1
        log.push(`${body} ${ctx.attempt} ${running}`)
        await later()
        running -= 1
        if (body === '2' && ctx.attempt < 3) ctx.retry({ delayMs: 10 })
      },
      { ordered: true },
      sent,
    )
    await eventually('all are done', () => log.length === 6)
    expect(log).toEqual(['1 1 1', '2 1 1', '2 2 1', '2 3 1', '3 1 1', '4 1 1'])
  })

  test.each<[string, ConsumeOptions]>([
    ["[orderBy: 'key']", { orderBy: 'key', concurrency: 8 }],
    ['[ordered]', { ordered: true }],
  ])('%s pause, resume and stop give back in order', async (_option, options) => {
    const begun = new Map<string, number[]>()
    let done = 0
    const handler = async (body: unknown, ctx: Context) => {
      const list = begun.get(ctx.key!) ?? []
      begun.set(ctx.key!, list)
      list.push(body as number)
      await later()
      done += 1
    }
    const sent = Array.from({ length: 120 }, (_, i) => ({ body: i, key: `k${i % 3}` }))
    const { bus, consumer, queue } = await consume(handler, options, sent.slice(0, 40))
    await consumer.pause()
    for (const { body, key } of sent.slice(40)) await bus.send(queue, body, { key })
    await consumer.resume()
    await eventually('some are done', () => done > 50)
    await consumer.stop()
    await bus.handle(queue, handler, options)
    await eventually('all are done', () => done === sent.length)
    for (const [key, list] of begun) expect(list, key).toEqual(sent.filter(s => s.key === key).map(s => s.body))
  })

  test('a pause gives back also what waits for a retry, and it is tried again after it', async () => {
    const log: string[] = []
    const { consumer, told } = await consume(
      (body, ctx) => {
        log.push(`${body}`)
        if (body === 'a1' && log.length === 1) ctx.retry({ delayMs: 60_000 })
      },
      { orderBy: 'key' },
      [
        { body: 'a1', key: 'a' },
        { body: 'a2', key: 'a' },
      ],
    )
    await eventually('it waits', () => ofKind(told, 'retried').length === 1)
    await consumer.pause()
    await consumer.resume()
    await eventually('both are done', () => log.length === 3)
    expect(log).toEqual(['a1', 'a1', 'a2'])
  })

  test('[window] when all of it waits for retries no more is fetched, and that is told', async () => {
    const go = new Set<string>()
    const { bus, told, queue } = await consume(
      (body, ctx) => {
        if (!go.has(String(body)) && ctx.attempt === 1) ctx.retry({ delayMs: 150 })
      },
      { orderBy: 'key', window: 3, concurrency: 3 },
      ['a', 'b', 'c', 'd', 'e'].map(body => ({ body, key: body })),
    )
    const [reached] = await eventually('the bound is told', () => {
      const events: BusEvent[] = ofKind(told, 'bound-reached')
      return events.length > 0 && events
    })
    // How many of the three wait already when the last of them comes is a matter of time.
    expect(reached).toMatchObject({ source: queue, unsettled: 3 })
    const { details } = await bus.health()
    expect(details).toContainEqual({ name: queue, ok: false, reason: expect.stringMatching(/\d messages wait here/) })
    await eventually('all are done', () => ofKind(told, 'handled').length === 5)
    expect((await bus.health()).ok).toBe(true)
  })

  test('a delay that is longer than may be held is cut, and told', async () => {
    const { told } = await consume((_body, ctx) => ctx.retry({ delayMs: 3_600_000 }), { orderBy: 'key' }, [
      { body: 1, key: 'a' },
    ])
    await eventually('it is told', () => ofKind(told, 'delay-cut').length === 1)
    expect(ofKind(told, 'delay-cut')).toMatchObject([{ askedMs: 3_600_000, delayMs: 300_000 }])
  })
})

describe('a lane that is lost', () => {
  test('takes what waited in it along; the new owner begins with the oldest; other lanes go on', async () => {
    const { bus, sinks } = await alteredBus({
      driver: real => withOperations(real, { keyOrder: 'emulated' }),
      receiver: () => ({ settle: async () => 'done' as const, stop: async () => {} }),
    })
    const queue = ownName()
    const gates = new Map<string, PromiseWithResolvers<void>>()
    const log: string[] = []
    await bus.handle(
      queue,
      async (body, ctx) => {
        log.push(String(body))
        const gate = Promise.withResolvers<void>()
        gates.set(String(body), gate)
        ctx.signal.addEventListener('abort', () => gate.reject(ctx.signal.reason))
        await gate.promise
      },
      { orderBy: 'key' },
    )
    const sink = sinks[0]!
    const item = (tag: number, body: string, key: string) => ({
      tag,
      redelivered: false,
      message: { attributes: {}, headers: {}, contentType: 'text/plain', durable: true, key, body: Buffer.from(body) },
    })
    sink.deliver({ lane: '0', epoch: 1, items: [item(1, 'a1', 'a'), item(2, 'a2', 'a'), item(3, 'a3', 'a')] })
    sink.deliver({ lane: '1', epoch: 1, items: [item(1, 'b1', 'b'), item(2, 'b2', 'b')] })
    await eventually('the heads run', () => log.length === 2)
    // Handed over in a plan: the handler may finish, its followers may not begin.
    const revoked = sink.revoke('0', 1, 5000)
    await later()
    gates.get('a1')!.resolve()
    await revoked
    expect(log).toEqual(['a1', 'b1'])
    // Taken again, and lost at once: the handler's signal fires, the next epoch starts over.
    sink.deliver({ lane: '0', epoch: 2, items: [item(1, 'a2', 'a'), item(2, 'a3', 'a')] })
    await eventually('a2 runs', () => log.length === 3)
    await sink.revoke('0', 2, 0)
    sink.deliver({ lane: '0', epoch: 3, items: [item(1, 'a2', 'a'), item(2, 'a3', 'a')] })
    await eventually('a2 runs again', () => log.length === 4)
    gates.get('a2')!.resolve()
    gates.get('b1')!.resolve()
    await eventually('the followers run', () => log.length === 6)
    expect(log.slice(0, 4)).toEqual(['a1', 'b1', 'a2', 'a2'])
    expect(log.slice(4).toSorted()).toEqual(['a3', 'b2'])
    gates.get('a3')!.resolve()
    gates.get('b2')!.resolve()
  })
})
