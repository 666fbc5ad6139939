import type { Broker } from '@chasqui/broker'
import { describe, expect, test } from 'vitest'
import { bodyOf, dispatched, message, openClient, refused, startBroker } from '../engine.ts'

const keyed = (key: string) => ({ deliveryMode: 2, headers: { cloudEvents_partitionkey: key } })

/** Publishes bodies whose first letter is their key. */
function publish(broker: Broker, ...bodies: string[]): void {
  const { session } = openClient(broker)
  for (const body of bodies) session.publish(message(body, { routingKey: 'q' }, keyed(body[0]!)))
}

async function setUp(queueArguments = {}) {
  const broker = await startBroker()
  const one = openClient(broker)
  const two = openClient(broker)
  one.session.declareQueue({ queue: 'q', durable: true, arguments: queueArguments })
  return { broker, one, two }
}

describe('order by key', () => {
  test('[two consumers] one message of a key is out at a time, across them, and other keys go on', async () => {
    const { broker, one, two } = await setUp()
    one.session.consume({ queue: 'q', order: 'key', prefetch: 10 })
    two.session.consume({ queue: 'q', arguments: { 'x-chasqui-order': 'key' }, prefetch: 10 })
    publish(broker, 'a1', 'a2', 'b1', 'a3', 'b2')
    await dispatched()
    expect([...one.bodies(), ...two.bodies()].sort()).toEqual(['a1', 'b1'])
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 3, unsettled: 2 })
    const holder = one.bodies().includes('a1') ? one : two
    holder.session.ack(holder.deliveries.find(delivery => bodyOf(delivery) === 'a1')!.tag, false)
    await dispatched()
    expect([...one.bodies(), ...two.bodies()].sort()).toEqual(['a1', 'a2', 'b1'])
  })

  test('[given back] it comes again before those behind it, also when its consumer went', async () => {
    const { broker, one, two } = await setUp()
    one.session.consume({ queue: 'q', order: 'key', prefetch: 10 })
    publish(broker, 'a1', 'a2')
    await dispatched()
    one.session.nack(one.deliveries[0]!.tag, false, true)
    await dispatched()
    expect(one.bodies()).toEqual(['a1', 'a1'])
    two.session.consume({ queue: 'q', order: 'key', prefetch: 10 })
    one.session.close()
    await dispatched()
    two.session.ack(two.deliveries[0]!.tag, false)
    await dispatched()
    expect(two.bodies()).toEqual(['a1', 'a2'])
  })

  test('[20,000 of one key] they come in order, and a key behind them does not wait', async () => {
    const { broker, one } = await setUp()
    const hot = Array.from({ length: 20_000 }, (_, index) => `a${index}`)
    publish(broker, ...hot, 'b1')
    const seen: string[] = []
    const { session } = openClient(broker, delivery => seen.push(bodyOf(delivery)))
    session.consume({ queue: 'q', order: 'key', prefetch: 100 })
    await expect.poll(() => seen.length, { timeout: 10_000 }).toBe(2)
    expect(seen).toEqual(['a0', 'b1'])
    session.close()
    const acked: string[] = []
    const other = openClient(broker, (delivery, its) => {
      acked.push(bodyOf(delivery))
      its.ack(delivery.tag, false)
    })
    other.session.consume({ queue: 'q', order: 'key', prefetch: 100 })
    await expect.poll(() => acked.length, { timeout: 10_000 }).toBe(20_001)
    expect(acked.filter(body => body !== 'b1')).toEqual(hot)
    expect(one.session.purgeQueue({ queue: 'q' }).messageCount).toBe(0)
  })

  test('[mixed] whoever asks for no order takes what waits behind a key; what was purged is gone', async () => {
    const { broker, one, two } = await setUp()
    one.session.consume({ queue: 'q', order: 'key', prefetch: 10 })
    publish(broker, 'a1', 'a2', 'a3', 'a4')
    await dispatched()
    two.session.consume({ queue: 'q', prefetch: 1 })
    await dispatched()
    expect([one.bodies(), two.bodies()]).toEqual([['a1'], ['a2']])
    expect(one.session.purgeQueue({ queue: 'q' }).messageCount).toBe(2)
    one.session.ack(one.deliveries[0]!.tag, false)
    publish(broker, 'a5')
    await dispatched()
    expect(one.bodies()).toEqual(['a1', 'a5'])
  })
})

describe('strict order', () => {
  test('[two consumers] one message of the queue is out at a time', async () => {
    const { broker, one, two } = await setUp()
    one.session.consume({ queue: 'q', order: 'strict', prefetch: 10 })
    two.session.consume({ queue: 'q', order: 'strict', prefetch: 10 })
    publish(broker, 'a1', 'b1', 'c1')
    const seen: string[] = []
    for (let round = 0; round < 3; round++) {
      await dispatched()
      expect(broker.vhost.inspect('q')!.unsettled).toBe(1)
      for (const { session, deliveries } of [one, two]) {
        for (const delivery of deliveries.splice(0)) {
          seen.push(bodyOf(delivery))
          session.ack(delivery.tag, false)
        }
      }
    }
    expect(seen).toEqual(['a1', 'b1', 'c1'])
  })

  test('[unknown order] is refused', async () => {
    const { one } = await setUp()
    refused(
      () => one.session.consume({ queue: 'q', arguments: { 'x-chasqui-order': 'some' } }),
      406,
      /'some' is none of/,
      'channel',
    )
  })
})

describe('x-single-active-consumer [RabbitMQ, Single Active Consumer]', () => {
  test('the first gets everything until it goes, then the next', async () => {
    const { broker, one, two } = await setUp({ 'x-single-active-consumer': true })
    const tag = one.session.consume({ queue: 'q' })
    two.session.consume({ queue: 'q' })
    publish(broker, 'a1', 'a2')
    await dispatched()
    expect([one.bodies(), two.bodies()]).toEqual([['a1', 'a2'], []])
    one.session.cancel(tag)
    publish(broker, 'a3')
    await dispatched()
    expect(two.bodies()).toEqual(['a3'])
  })

  test('[exclusive] is refused', async () => {
    const { one } = await setUp({ 'x-single-active-consumer': true })
    refused(
      () => one.session.consume({ queue: 'q', exclusive: true }),
      403,
      "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use",
      'channel',
    )
  })
})

describe('x-priority [RabbitMQ, Consumer Priorities]', () => {
  test('the greater gets messages while it takes them, then the smaller', async () => {
    const { broker, one, two } = await setUp()
    one.session.consume({ queue: 'q', prefetch: 10 })
    two.session.consume({ queue: 'q', prefetch: 2, arguments: { 'x-priority': 5 } })
    publish(broker, 'a1', 'a2', 'a3', 'a4')
    await dispatched()
    expect([one.bodies(), two.bodies()]).toEqual([
      ['a3', 'a4'],
      ['a1', 'a2'],
    ])
  })
})
