import { command, event, request } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { destinationsFor, type Need } from '../../src/send/topology.ts'
import { errorOf, memoryBus, ownName } from '../fixture.ts'

const schema = z.object({ id: z.string() })
const Charge = command('charge', schema, { destination: 'payments' })
const Refund = command('refund', schema, { destination: 'payments', lanes: 4 })
const Price = request('price', schema, schema)
const Placed = event('order.placed', schema, { lanes: 2 })

const paymentsDead = { kind: 'queue', name: 'payments.dead-letter', durable: true }

describe('what needs become', () => {
  test('a contract stands for its destination; types that share one make it once, with the lanes that any asks for', () => {
    expect(destinationsFor([Charge, Refund, Price], 'plan()')).toEqual([
      paymentsDead,
      { kind: 'queue', name: 'payments', durable: true, lanes: 4, deadLetter: 'payments.dead-letter' },
      { kind: 'queue', name: 'price.dead-letter', durable: true },
      { kind: 'queue', name: 'price', durable: true, deadLetter: 'price.dead-letter' },
    ])
  })

  test("topics come first, and a subscription has its topic's lanes", () => {
    const needs: Need[] = [{ topic: Placed, subscription: 'billing' }, { queue: 'orders', durable: false }, Placed]
    expect(destinationsFor(needs, 'plan()')).toEqual([
      { kind: 'topic', name: 'order.placed', durable: true, lanes: 2 },
      { kind: 'queue', name: 'order.placed.billing.dead-letter', durable: true },
      { kind: 'queue', name: 'orders', durable: false },
      {
        kind: 'subscription',
        topic: 'order.placed',
        name: 'billing',
        durable: true,
        lanes: 2,
        deadLetter: 'order.placed.billing.dead-letter',
      },
    ])
  })

  test('a subscription that does not last has a topic that does', () => {
    const needs = [{ topic: 'news', subscription: 'tail', durable: false }]
    expect(destinationsFor(needs, 'plan()')).toEqual([
      { kind: 'topic', name: 'news', durable: true },
      { kind: 'subscription', topic: 'news', name: 'tail', durable: false },
    ])
  })

  test('a dead-letter queue and a fault topic may be wanted by themselves, and have none of their own', () => {
    expect(destinationsFor([{ queue: 'a.dead-letter' }, { topic: 'a.fault' }], 'plan()')).toEqual([
      { kind: 'topic', name: 'a.fault', durable: true },
      { kind: 'queue', name: 'a.dead-letter', durable: true },
    ])
  })

  test.each<[string, unknown, string]>([
    ['nothing', [], 'option-invalid'],
    ['no list', Placed, 'option-invalid'],
    ['a name alone', ['orders'], 'option-invalid'],
    ['neither queue nor topic', [{ lanes: 2 }], 'option-invalid'],
    ['queue and topic', [{ queue: 'a', topic: 'b' }], 'option-invalid'],
    ['a subscription of a queue', [{ queue: 'a', subscription: 'b' }], 'option-invalid'],
    ['a misspelt option', [{ queue: 'a', lane: 2 }], 'option-invalid'],
    ['no lanes', [{ queue: 'a', lanes: 0 }], 'option-invalid'],
    ['a command in the place of an event', [{ topic: Charge, subscription: 'b' }], 'option-invalid'],
    ['a name with a space', [{ queue: 'a b' }], 'name-invalid'],
    ['a subscription with a dot', [{ topic: 'a', subscription: 'b.c' }], 'name-invalid'],
    ['one name for both kinds', [{ queue: 'a' }, { topic: 'a' }], 'destination-kind'],
    ['two numbers of lanes', [Refund, { queue: 'payments', lanes: 8 }], 'lanes-differ'],
  ])('%s is refused', async (_what, needs, code) => {
    expect((await errorOf(() => destinationsFor(needs as Need[], 'plan()'))).code).toBe(code)
  })
})

describe('plan and declare', () => {
  test('a plan creates nothing, declaring does, and then there is nothing left to do', async () => {
    const bus = await memoryBus()
    const [queue, topic] = [ownName(), ownName()]
    const needs: Need[] = [{ queue }, { topic, subscription: 'billing' }]
    const actions = async () => (await bus.plan(needs)).map(({ action, destination }) => [destination.name, action])
    const absent = await actions()
    expect(absent.map(([, action]) => action)).toEqual(absent.map(() => 'create'))
    expect(absent.map(([name]) => name)).toContain(queue)
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toBeUndefined()

    await bus.declare(needs)
    expect(await actions()).toEqual(absent.map(([name]) => [name, 'none']))
    await bus.publish(topic, 'kept for the subscription')
    expect(await bus.inspector!.depth({ kind: 'subscription', topic, name: 'billing' })).toMatchObject({ ready: 1 })
  })

  test('a name of the other kind is a line of the plan, and the refusal of a declaration', async () => {
    const bus = await memoryBus()
    const name = ownName()
    await bus.declare([{ topic: name }])
    const plan = await bus.plan([{ queue: name }])
    expect(plan.find(({ destination }) => destination.name === name)).toMatchObject({
      action: 'conflict',
      difference: expect.stringContaining('topic'),
    })
    expect((await errorOf(bus.declare([{ queue: name }]))).code).toBe('destination-kind')
  })

  test('on a closed bus both are refused', async () => {
    const bus = await memoryBus()
    await bus.close()
    expect((await errorOf(bus.plan([{ queue: 'a' }]))).code).toBe('closed')
    expect((await errorOf(bus.declare([{ queue: 'a' }]))).code).toBe('closed')
  })
})
