import type { Bus, ConsumeOptions, Consumer } from '@chasqui/core'
import type { Driver } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { eventually, ofKind, ownName } from '../fixture.ts'

/** Stopping a consumer at once is to the engine what the death of its process is: what was in hand comes back. */
async function die(consumer: Consumer): Promise<void> {
  await consumer.stop({ deadlineMs: 0 })
}

/** An engine that says that a message was handed out before, not how often. */
function withoutCount(real: Driver): Partial<Driver> {
  return {
    receive: (source, sink, options) =>
      real.receive(
        source,
        {
          deliver: ({ lane, epoch, items }) =>
            sink.deliver({
              lane,
              epoch,
              items: items.map(({ tag, message, redelivered }) => ({ tag, message, redelivered })),
            }),
          revoke: (lane, epoch, graceMs) => sink.revoke(lane, epoch, graceMs),
          fail: error => sink.fail(error),
        },
        options,
      ),
  }
}

/** Consumes until the message `killer` is dead-lettered; each time it runs, its consumer dies. */
async function killUntilGone(bus: Bus, queue: string, options: ConsumeOptions) {
  const seen = { starts: [] as number[], redelivered: [] as boolean[], handled: [] as unknown[], most: 0 }
  const gone = async () => (await bus.inspector!.depth({ kind: 'queue', name: `${queue}.dead-letter` }))?.ready === 1
  let running = 0
  for (let deaths = 0; deaths < 20; deaths++) {
    let killed = false
    const consumer = await bus.handle(
      queue,
      async (body, ctx) => {
        running += 1
        if (body === 'killer') {
          seen.starts.push(ctx.attempt)
          seen.redelivered.push(ctx.redelivered)
          seen.most = seen.starts.length > 2 ? Math.max(seen.most, running) : 0
          killed = true
          await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
        } else {
          await new Promise(resolve => setImmediate(resolve))
          seen.handled.push(body)
        }
        running -= 1
      },
      options,
    )
    await eventually('it kills or is gone', async () => killed || (await gone()))
    if (!killed) return { ...seen, consumer }
    await die(consumer)
    await eventually('its handlers are gone too', () => running === 0)
  }
  throw new Error('it was never given up')
}

describe('a message that kills its process each time', () => {
  test.each<[string, (real: Driver) => Partial<Driver>, ConsumeOptions]>([
    ['where the engine counts, one handler', () => ({}), { concurrency: 1 }],
    ['where the engine counts, many handlers', () => ({}), { concurrency: 10 }],
    ['where it does not count', withoutCount, { concurrency: 1 }],
  ])(
    '%s: six starts, alone from the third, then crash-loop; its neighbours are all handled',
    async (_how, driver, options) => {
      const { bus, told } = await alteredBus({ driver })
      const queue = ownName()
      const neighbours = Array.from({ length: 20 }, (_, i) => i)
      await Promise.all(['killer', ...neighbours].map(body => bus.send(queue, body)))
      const { starts, redelivered, handled, most, consumer } = await killUntilGone(bus, queue, options)
      expect(starts).toEqual([1, 1, 1, 1, 1, 1])
      expect(redelivered).toEqual([false, true, true, true, true, true])
      expect(most).toBe(1)
      await eventually('the neighbours are handled', () => new Set(handled).size === neighbours.length)
      expect(ofKind(told, 'dead-lettered')).toMatchObject([{ source: queue, code: 'crash-loop', attempts: 0 }])
      // All is well again: many at once.
      const sent = Array.from({ length: 50 }, (_, i) => 100 + i)
      await Promise.all(sent.map(body => bus.send(queue, body)))
      await eventually('the rest is handled', () => sent.every(body => handled.includes(body)))
      await consumer.stop()
    },
  )

  test('[ordered] is found too where one message at a time is in hand', async () => {
    const { bus, told } = await alteredBus({})
    const queue = ownName()
    await (await bus.handle(queue, () => {}, { ordered: true })).stop()
    for (const body of ['killer', 1, 2]) await bus.send(queue, body)
    const { starts, handled, consumer } = await killUntilGone(bus, queue, { ordered: true })
    expect(starts).toHaveLength(6)
    await eventually('the others follow', () => handled.length === 2)
    expect(handled).toEqual([1, 2])
    expect(ofKind(told, 'dead-lettered')).toMatchObject([{ code: 'crash-loop' }])
    await consumer.stop()
  })
})

describe('messages that were in hand by chance', () => {
  test('are never given up for it, however often their consumers end', async () => {
    const { bus, told } = await alteredBus({})
    const queue = ownName()
    await Promise.all(Array.from({ length: 30 }, (_, i) => bus.send(queue, i)))
    for (let i = 0; i < 10; i++) {
      const begun = Promise.withResolvers<void>()
      const consumer = await bus.handle(queue, () => begun.resolve(), {
        concurrency: 1,
        signal: AbortSignal.timeout(60_000),
      })
      await begun.promise
      await die(consumer)
      if (((await bus.inspector!.depth({ kind: 'queue', name: queue }))?.ready ?? 0) === 0) break
    }
    const handled = new Set<unknown>()
    for (const event of ofKind(told, 'handled')) handled.add(event.id)
    await bus.handle(queue, (_body, ctx) => void handled.add(ctx.id))
    await eventually('all are handled', () => handled.size === 30)
    expect(ofKind(told, 'dead-lettered')).toEqual([])
  })
})
