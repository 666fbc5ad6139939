import { command, event } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, memoryBus, ownName } from '../fixture.ts'

const delayMs = 60_000

describe('cancel()', () => {
  test('takes a delayed message back by its id, once', async () => {
    const bus = await memoryBus()
    const Remind = command(ownName(), z.object({ n: z.number() }))
    const got: number[] = []
    await bus.handle(Remind, ({ n }) => got.push(n))
    const first = await bus.send(Remind, { n: 1 }, { delayMs: 300 })
    await bus.send(Remind, { n: 2 }, { delayMs: 301 })
    expect(await bus.cancel(Remind, first.id)).toBe(true)
    expect(await bus.cancel(Remind, first.id)).toBe(false)
    await eventually('the other comes', () => got.length === 1)
    expect(got).toEqual([2])
  })

  test('takes an event back from one of its subscriptions alone', async () => {
    const bus = await memoryBus()
    const Placed = event(ownName(), z.object({ n: z.number() }))
    const got: string[] = []
    for (const name of ['audit', 'billing']) await bus.subscribe(Placed, name, ({ n }) => got.push(`${name} ${n}`))
    const { id } = await bus.publish(Placed, { n: 1 }, { delayMs: 300 })
    expect(await bus.cancel({ topic: Placed, subscription: 'audit' }, id)).toBe(true)
    await bus.publish(Placed, { n: 2 }, { delayMs: 301 })
    await eventually('all others come', () => got.length === 3)
    expect(got.toSorted()).toEqual(['audit 2', 'billing 1', 'billing 2'])
  })

  test('says `false` of what is due, and of an id that never was', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const { id } = await bus.send(queue, 1)
    expect(await bus.cancel(queue, id)).toBe(false)
    expect(await bus.cancel(queue, 'never-sent')).toBe(false)
  })

  test('refuses a topic, a name that is none, and an id that is none', async () => {
    const bus = await memoryBus()
    const Placed = event(ownName(), z.object({}))
    const codes = [
      bus.cancel(Placed as never, 'x'),
      bus.cancel('not a name', 'x'),
      bus.cancel(ownName(), undefined as never),
      bus.cancel(ownName(), 'x'),
    ].map(async refused => (await errorOf(refused)).code)
    expect(await Promise.all(codes)).toEqual([
      'option-invalid',
      'name-invalid',
      'option-invalid',
      'destination-missing',
    ])
  })

  test('is `unsupported` where the engine cannot', async () => {
    const { bus } = await alteredBus({ driver: () => ({ cancelDelayed: undefined }) })
    const queue = ownName()
    const { id } = await bus.send(queue, 1, { delayMs })
    expect((await errorOf(bus.cancel(queue, id))).code).toBe('unsupported')
  })
})
