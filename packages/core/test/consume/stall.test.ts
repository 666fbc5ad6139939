import { ChasquiError } from '@chasqui/core'
import type { Driver } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

/** An engine whose first receivers look alive and bring nothing. */
function deaf(receivers: number, refused = 0): (real: Driver) => Partial<Driver> {
  return real => {
    let made = 0
    return {
      receive: async (source, sink, options) => {
        made += 1
        if (made > 1 && made <= 1 + refused) throw new ChasquiError('disconnected', 'Not now.')
        if (made > receivers + refused) return real.receive(source, sink, options)
        return { window: async () => {}, settle: async () => 'done', stop: async () => {} }
      },
    }
  }
}

describe('a consumer whose messages wait and that handles nothing', () => {
  test('is told to be unhealthy, is rebuilt by itself, and goes on', async () => {
    const { bus, told } = await alteredBus({ driver: deaf(2) })
    const queue = ownName()
    const got: unknown[] = []
    await bus.handle(queue, body => got.push(body), { stallMs: 20 })
    await bus.send(queue, 1)
    await eventually('it is unhealthy', async () => {
      const { ok, details } = await bus.health()
      return !ok && details.some(one => one.name === queue && one.reason?.includes('none was handled for 20 ms'))
    })
    await eventually('it handles', () => got.length === 1)
    await eventually('it is healthy again', async () => (await bus.health()).ok)
    expect(ofKind(told, 'consumer-stalled')).toMatchObject([{ source: queue, rebuilds: 1 }, { rebuilds: 2 }])
  })

  test('is rebuilt also after a rebuilding that failed', async () => {
    const { bus } = await alteredBus({ driver: deaf(1, 2) })
    const queue = ownName()
    const got = Promise.withResolvers<unknown>()
    await bus.handle(queue, body => got.resolve(body), { stallMs: 20 })
    await bus.send(queue, 'x')
    expect(await got.promise).toBe('x')
  })

  test('stays unhealthy when that does not help five times, and is left alone then', async () => {
    const { bus, told } = await alteredBus({ driver: deaf(100) })
    const queue = ownName()
    await bus.handle(queue, () => {}, { stallMs: 10 })
    await bus.send(queue, 1)
    await eventually('it is given up', async () =>
      (await bus.health()).details.some(one => one.reason?.includes('5 times did not help')),
    )
    for (let i = 0; i < 20; i++) await new Promise(resolve => setTimeout(resolve, 3))
    expect(ofKind(told, 'consumer-stalled')).toHaveLength(5)
  })
})

test('an engine that does not answer makes the consumer unhealthy, until it answers again', async () => {
  const answers = Promise.withResolvers<void>()
  const { bus, told } = await alteredBus({
    driver: real => ({
      inspector: {
        depth: async source => {
          await answers.promise
          return await real.inspector!.depth(source)
        },
      },
    }),
  })
  const queue = ownName()
  await bus.handle(queue, () => {}, { stallMs: 20 })
  await eventually('it is unhealthy', async () =>
    (await bus.health()).details.some(one => one.name === queue && one.reason?.includes('not answered for 20 ms')),
  )
  answers.resolve()
  await eventually('it is healthy again', async () => (await bus.health()).ok)
  expect(ofKind(told, 'consumer-stalled')).toEqual([])
})

describe('a consumer is not stalled', () => {
  test('while a handler runs long, while paused, while its queue is empty', async () => {
    const bus = await memoryBus()
    const [long, paused, empty] = [ownName(), ownName(), ownName()]
    const go = Promise.withResolvers<void>()
    await bus.handle(long, () => go.promise, { stallMs: 10, concurrency: 1 })
    const consumer = await bus.handle(paused, () => {}, { stallMs: 10 })
    await bus.handle(empty, () => {}, { stallMs: 10 })
    await consumer.pause()
    await Promise.all([bus.send(long, 1), bus.send(long, 2), bus.send(paused, 1)])
    for (let i = 0; i < 30; i++) await new Promise(resolve => setTimeout(resolve, 3))
    expect(ofKind(bus.told, 'consumer-stalled')).toEqual([])
    expect((await bus.health()).ok).toBe(true)
    go.resolve()
  })
})
