import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { bodyOf, drain, message, openClient, startBroker } from '../engine.ts'

const hourMs = 3_600_000
const waiting = { timeout: 5000 }

class MovableClock {
  ms = 1_700_000_000_000
  now = () => this.ms
}

function directory(): string {
  const made = mkdtempSync(join(tmpdir(), 'chasqui-timing-'))
  onTestFinished(() => rmSync(made, { recursive: true, force: true }))
  return made
}

const due = (notBefore: number, messageId?: string) => ({
  deliveryMode: 2,
  ...(messageId === undefined ? {} : { messageId }),
  headers: { chasqui_not_before: notBefore },
})

test('[expiration] one that has expired behind one that stays is not handed out with it', async () => {
  const clock = new MovableClock()
  const broker = await startBroker({ clock })
  const client = openClient(broker)
  client.session.declareQueue({ queue: 'q' })
  client.session.publish(message('stays', { routingKey: 'q' }, {}))
  client.session.publish(message('expires', { routingKey: 'q' }, { expiration: '100' }))
  client.session.publish(message('stays too', { routingKey: 'q' }, {}))
  clock.ms += 101
  client.session.consume({ queue: 'q', noAck: true })
  await expect.poll(() => client.bodies(), waiting).toEqual(['stays', 'stays too'])
})

describe('delayed messages', () => {
  test('wait until the clock has come to their moment, then come in the order of their moments', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q', durable: true })
    client.session.consume({ queue: 'q', noAck: true })
    client.session.publish(message('late', { routingKey: 'q' }, due(clock.ms + hourMs)))
    client.session.publish(message('soon', { routingKey: 'q' }, due(clock.ms + hourMs - 1)))
    client.session.publish(message('past', { routingKey: 'q' }, due(clock.ms - hourMs)))
    await expect.poll(() => client.bodies(), waiting).toEqual(['past'])
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 0, delayed: 2 })
    clock.ms += hourMs
    await expect.poll(() => client.bodies(), waiting).toEqual(['past', 'soon', 'late'])
  })

  test('[clock set back] they come by the clock, no earlier', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    session.publish(message('m', { routingKey: 'q' }, due(clock.ms + 10)))
    clock.ms -= hourMs
    session.publish(message('other', { routingKey: 'q' }, due(clock.ms + 10)))
    clock.ms += 10
    await expect.poll(() => broker.vhost.inspect('q')!.ready, waiting).toBe(1)
    expect(broker.vhost.inspect('q')!.delayed).toBe(1)
    clock.ms += hourMs
    await expect.poll(() => broker.vhost.inspect('q')!.ready, waiting).toBe(2)
    expect(drain(session, 'q').map(bodyOf)).toEqual(['other', 'm'])
  })

  test('[cancel] takes one out that the store brought back, and it stays out', async () => {
    const dataDirectory = directory()
    const at = Date.now() + hourMs
    const first = await startBroker({ dataDirectory })
    const { session } = openClient(first)
    session.declareQueue({ queue: 'q', durable: true })
    for (const id of ['a', 'b']) session.publish(message(id, { routingKey: 'q' }, due(at, id)))
    session.publish(message('nameless', { routingKey: 'q' }, due(at)))
    await first.close()
    const second = await startBroker({ dataDirectory })
    const after = openClient(second).session
    expect(after.cancelDelayed('q', 'c')).toBe(false)
    expect(after.cancelDelayed('q', 'a')).toBe(true)
    expect(after.cancelDelayed('q', 'a')).toBe(false)
    after.publish(message('c', { routingKey: 'q' }, due(at, 'c')))
    expect(after.cancelDelayed('q', 'c')).toBe(true)
    await second.close()
    const third = await startBroker({ dataDirectory })
    expect(third.vhost.inspect('q')).toMatchObject({ ready: 0, delayed: 2 })
    expect(openClient(third).session.cancelDelayed('q', 'b')).toBe(true)
  })

  test('[cancel] takes one out by its id, once, and not after it was due', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    session.publish(message('a', { routingKey: 'q' }, due(clock.ms + 10, 'id-a')))
    session.publish(message('b', { routingKey: 'q' }, due(clock.ms + 10, 'id-b')))
    expect(session.cancelDelayed('q', 'id-a')).toBe(true)
    expect(session.cancelDelayed('q', 'id-a')).toBe(false)
    clock.ms += 10
    await expect.poll(() => drain(session, 'q').map(bodyOf), waiting).toEqual(['b'])
    expect(session.cancelDelayed('q', 'id-b')).toBe(false)
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[restart] they are still there, what was cancelled is not, and what became due meanwhile comes', async () => {
    const clock = new MovableClock()
    const dataDirectory = directory()
    const first = await startBroker({ clock, dataDirectory })
    const { session } = openClient(first)
    session.declareQueue({ queue: 'q', durable: true })
    session.publish(message('later', { routingKey: 'q' }, due(clock.ms + 2 * hourMs)))
    session.publish(message('cancelled', { routingKey: 'q' }, due(clock.ms + hourMs, 'gone')))
    session.publish(message('meanwhile', { routingKey: 'q' }, due(clock.ms + hourMs)))
    session.cancelDelayed('q', 'gone')
    await first.close()
    clock.ms += hourMs
    const second = await startBroker({ clock, dataDirectory })
    expect(second.vhost.inspect('q')).toMatchObject({ ready: 1, delayed: 1 })
    const again = openClient(second).session
    expect(drain(again, 'q').map(bodyOf)).toEqual(['meanwhile'])
    clock.ms += hourMs
    await expect.poll(() => drain(again, 'q').map(bodyOf), waiting).toEqual(['later'])
  })

  test('[deleted] a queue takes its delayed messages with it', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    session.publish(message('m', { routingKey: 'q' }, due(clock.ms + 10)))
    session.deleteQueue({ queue: 'q' })
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[200,000 pending] all of them come, in order', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    const count = 200_000
    // 7 and the count have no common divisor: every moment once, in another order.
    for (let index = 0; index < count; index++) {
      const at = (index * 7) % count
      session.publish(message(String(at), { routingKey: 'q' }, due(clock.ms + 1 + at)))
    }
    clock.ms += count
    await expect.poll(() => broker.vhost.inspect('q')!.ready, { timeout: 10_000 }).toBe(count)
    expect(drain(session, 'q').every((delivery, index) => bodyOf(delivery) === String(index))).toBe(true)
  })
})

describe('expiry', () => {
  const deadTo = { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'dead' }

  test('[expiration] goes to the dead letter queue, without expiration, and says why', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'dead' })
    session.declareQueue({ queue: 'q', arguments: deadTo })
    session.publish(message('m', { routingKey: 'q' }, { expiration: '1000' }))
    clock.ms += 999
    expect(broker.vhost.inspect('q')!.ready).toBe(1)
    clock.ms += 1
    await expect.poll(() => broker.vhost.inspect('dead')!.ready, waiting).toBe(1)
    const { properties } = session.get('dead', true)!.message
    expect(properties.expiration).toBeUndefined()
    expect(properties.headers!['x-death']).toMatchObject([
      { count: 1n, reason: 'expired', queue: 'q', 'original-expiration': '1000' },
    ])
  })

  test('[x-message-ttl] counts from publishing on, the smaller of the two holds, also after a restart', async () => {
    const clock = new MovableClock()
    const dataDirectory = directory()
    const first = await startBroker({ clock, dataDirectory })
    const { session } = openClient(first)
    session.declareQueue({ queue: 'q', durable: true, arguments: { 'x-message-ttl': 2000 } })
    session.publish(message('short', { routingKey: 'q' }, { deliveryMode: 2, expiration: '500' }))
    session.publish(message('long', { routingKey: 'q' }, { deliveryMode: 2, expiration: '5000' }))
    await first.close()
    clock.ms += 1000
    const second = await startBroker({ clock, dataDirectory })
    const again = openClient(second).session
    expect(drain(again, 'q').map(bodyOf)).toEqual(['long'])
    again.publish(message('unread', { routingKey: 'q' }))
    clock.ms += 2000
    await expect.poll(() => second.vhost.inspect('q')!.ready, waiting).toBe(0)
  })

  test('[x-message-ttl 0] only who waits already gets it', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q', arguments: { 'x-message-ttl': 0 } })
    client.session.publish(message('m', { routingKey: 'q' }))
    expect(client.session.get('q', true)).toBeUndefined()
  })

  test('[x-expires] a queue that nobody uses goes; a consumer keeps it', async () => {
    const clock = new MovableClock()
    const broker = await startBroker({ clock })
    const { session } = openClient(broker)
    for (const queue of ['used', 'unused']) session.declareQueue({ queue, arguments: { 'x-expires': 1000 } })
    const consumer = session.consume({ queue: 'used' })
    clock.ms += 1000
    await expect.poll(() => broker.vhost.queueNames(), waiting).toEqual(['used'])
    session.cancel(consumer)
    clock.ms += 1000
    await expect.poll(() => broker.vhost.queueNames(), waiting).toEqual([])
  })
})

describe('alternate-exchange [RabbitMQ, Alternate Exchanges]', () => {
  test('takes what no queue is bound for, in a chain, and a circle ends', async () => {
    const broker = await startBroker()
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'rest' })
    const declare = (exchange: string, type: string, to: string) =>
      session.declareExchange({ exchange, type, arguments: { 'alternate-exchange': to } })
    declare('a', 'direct', 'b')
    declare('b', 'direct', 'a')
    expect(session.publish(message('lost', { exchange: 'a', routingKey: 'k' })).routed).toBe(0)
    session.bindQueue({ queue: 'rest', exchange: 'b', routingKey: 'k' })
    expect(session.publish(message('kept', { exchange: 'a', routingKey: 'k' })).routed).toBe(1)
    expect(drain(session, 'rest').map(bodyOf)).toEqual(['kept'])
  })
})
