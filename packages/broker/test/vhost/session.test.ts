import type { Session } from '@chasqui/broker'
import { describe, expect, test } from 'vitest'
import { bodyOf, dispatched, drain, message, openClient, refused, startBroker } from '../engine.ts'

describe('consuming', () => {
  test('[consume] a burst of publishes comes as one batch, in order', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q', consumerTag: 'c' })
    for (let i = 0; i < 100; i++) client.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    expect(client.batches).toHaveLength(1)
    expect(client.bodies()).toEqual(Array.from({ length: 100 }, (_, i) => `${i}`))
    expect(client.deliveries.map(d => d.tag)).toEqual(Array.from({ length: 100 }, (_, i) => i + 1))
    expect(client.deliveries[0]).toMatchObject({ consumerTag: 'c', redelivered: false, deliveryCount: 0 })
  })

  test('[consume] consumers of one queue take turns', async () => {
    const broker = await startBroker()
    const clients = [openClient(broker), openClient(broker), openClient(broker)]
    clients[0]!.session.declareQueue({ queue: 'q' })
    for (const { session } of clients) session.consume({ queue: 'q' })
    for (let i = 0; i < 9; i++) clients[0]!.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    expect(clients.map(client => client.bodies())).toEqual([
      ['0', '3', '6'],
      ['1', '4', '7'],
      ['2', '5', '8'],
    ])
  })

  test('[tags] of several consumers come in their order: a client takes those left out for settled', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    const { session } = client
    session.declareQueue({ queue: 'q' })
    session.declareQueue({ queue: 'other' })
    for (const consumerTag of ['a', 'b']) session.consume({ queue: 'q', consumerTag })
    session.consume({ queue: 'other', consumerTag: 'c', noAck: true })
    for (let i = 0; i < 30; i++) session.publish(message(`${i}`, { routingKey: i % 3 === 0 ? 'other' : 'q' }))
    await dispatched()
    expect(client.deliveries.map(d => d.tag)).toEqual(Array.from({ length: 30 }, (_, i) => i + 1))
    for (const consumerTag of ['a', 'b', 'c']) {
      expect(client.deliveries.filter(d => d.consumerTag === consumerTag)).toHaveLength(10)
    }
  })

  test('[tags] a consumer that is cancelled while others get theirs gets nothing more, and it all goes back', async () => {
    const broker = await startBroker()
    const client = openClient(broker, ({ consumerTag }, session) => {
      if (consumerTag === 'a' && client.deliveries.length === 1) session.cancel('b')
    })
    client.session.declareQueue({ queue: 'q' })
    for (const consumerTag of ['a', 'b']) client.session.consume({ queue: 'q', consumerTag, prefetch: 5 })
    for (let i = 0; i < 10; i++) client.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    expect(client.deliveries.map(d => [d.consumerTag, bodyOf(d)])).toEqual(
      ['0', '2', '4', '6', '8'].map(body => ['a', body]),
    )
    client.session.close()
    const next = openClient(broker)
    expect(drain(next.session, 'q').map(bodyOf)).toEqual(Array.from({ length: 10 }, (_, i) => `${i}`))
  })

  test('[prefetch] each consumer has at most so many unsettled, and gets the next for each ack', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.qos(3, false)
    client.session.consume({ queue: 'q', consumerTag: 'a' })
    client.session.consume({ queue: 'q', consumerTag: 'b', prefetch: 1 })
    for (let i = 0; i < 10; i++) client.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    expect(client.deliveries.filter(d => d.consumerTag === 'a')).toHaveLength(3)
    expect(client.deliveries.filter(d => d.consumerTag === 'b')).toHaveLength(1)
    const ofB = client.deliveries.find(d => d.consumerTag === 'b')!
    client.session.ack(ofB.tag, false)
    await dispatched()
    expect(client.deliveries.at(-1)).toMatchObject({ consumerTag: 'b' })
    expect(client.deliveries).toHaveLength(5)
    client.session.setConsumerPrefetch('b', 3)
    await dispatched()
    expect(client.deliveries).toHaveLength(7)
  })

  test('[prefetch] a global limit holds for the session as a whole', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.qos(4, true)
    client.session.consume({ queue: 'q' })
    client.session.consume({ queue: 'q' })
    for (let i = 0; i < 10; i++) client.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    expect(client.deliveries).toHaveLength(4)
    client.session.ack(4, true)
    await dispatched()
    expect(client.deliveries).toHaveLength(8)
    client.session.qos(0, true)
    await dispatched()
    expect(client.deliveries).toHaveLength(10)
  })

  test('[flow] off: nothing comes; on again: everything comes', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q' })
    client.session.flow(false)
    client.session.publish(message('1', { routingKey: 'q' }))
    await dispatched()
    expect(client.deliveries).toHaveLength(0)
    client.session.flow(true)
    await dispatched()
    expect(client.bodies()).toEqual(['1'])
  })

  test('[noAck] a delivery is settled when it leaves, and its tag is unknown', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q', noAck: true })
    client.session.publish(message('1', { routingKey: 'q' }))
    await dispatched()
    expect(broker.vhost.inspect('q')).toEqual({ ready: 0, unsettled: 0, consumers: 1, delayed: 0 })
    refused(() => client.session.ack(1, false), 406, 'PRECONDITION_FAILED - unknown delivery tag 1', 'channel')
  })

  test('[cancel] what the consumer has unsettled stays settleable, and the rest waits', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q', consumerTag: 'c', prefetch: 1 })
    client.session.publish(message('1', { routingKey: 'q' }))
    client.session.publish(message('2', { routingKey: 'q' }))
    await dispatched()
    client.session.cancel('c')
    client.session.cancel('never-heard-of')
    expect(broker.vhost.inspect('q')).toEqual({ ready: 1, unsettled: 1, consumers: 0, delayed: 0 })
    client.session.ack(1, false)
    expect(broker.vhost.inspect('q')).toEqual({ ready: 1, unsettled: 0, consumers: 0, delayed: 0 })
  })

  test('[exclusive] the only consumer keeps others out, and others keep it out', async () => {
    const broker = await startBroker()
    const a = openClient(broker)
    const b = openClient(broker)
    a.session.declareQueue({ queue: 'q' })
    a.session.consume({ queue: 'q', consumerTag: 'c', exclusive: true })
    const text = "ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    refused(() => b.session.consume({ queue: 'q' }), 403, text, 'channel')
    a.session.cancel('c')
    b.session.consume({ queue: 'q' })
    refused(() => a.session.consume({ queue: 'q', exclusive: true }), 403, text, 'channel')
  })

  test('[consumer tag] used twice in one session closes the connection', async () => {
    const broker = await startBroker()
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    session.consume({ queue: 'q', consumerTag: 'c' })
    refused(
      () => session.consume({ queue: 'q', consumerTag: 'c' }),
      530,
      "NOT_ALLOWED - attempt to reuse consumer tag 'c'",
      'connection',
    )
  })

  test('[turns] many messages settled at once leave the event loop its turn', async () => {
    const broker = await startBroker()
    let ticks = 0
    const timer = setInterval(() => ticks++, 0)
    const client = openClient(broker, (delivery, session) => {
      session.ack(delivery.tag, false)
      // Each message makes the next: without a break the loop would never get its turn.
      if (ticks < 3) session.publish(message('again', { routingKey: 'q' }))
    })
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q' })
    client.session.publish(message('first', { routingKey: 'q' }))
    await expect.poll(() => ticks).toBeGreaterThanOrEqual(3)
    clearInterval(timer)
  })

  test('[onDeliveries] a listener that throws loses its session, and no message', async () => {
    const warnings: string[] = []
    const broker = await startBroker({ onWarning: sentence => warnings.push(sentence) })
    const bad = openClient(broker, () => {
      throw new Error('no')
    })
    bad.session.declareQueue({ queue: 'q' })
    bad.session.consume({ queue: 'q' })
    bad.session.publish(message('1', { routingKey: 'q' }))
    await expect.poll(() => warnings).toEqual([expect.stringContaining('onDeliveries threw')])
    expect(bad.session.closed).toBe(true)
    expect(broker.vhost.inspect('q')).toEqual({ ready: 1, unsettled: 0, consumers: 0, delayed: 0 })
  })
})

describe('settling', () => {
  async function withUnsettled(count: number) {
    const broker = await startBroker()
    const client = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q', consumerTag: 'c' })
    for (let i = 1; i <= count; i++) client.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    return { broker, client, session: client.session }
  }

  test('[multiple] acknowledges up to its tag, and tag 0 everything', async () => {
    const { session } = await withUnsettled(10)
    session.ack(4, true)
    expect(session.unsettled).toBe(6)
    session.ack(0, true)
    expect(session.unsettled).toBe(0)
  })

  test('[ack] twice is refused and changes nothing else', async () => {
    const { session } = await withUnsettled(3)
    session.ack(2, false)
    refused(() => session.ack(2, false), 406, 'PRECONDITION_FAILED - unknown delivery tag 2', 'channel')
    refused(() => session.ack(99, true), 406, 'PRECONDITION_FAILED - unknown delivery tag 99', 'channel')
    refused(() => session.ackMany([1, 2]), 406, 'PRECONDITION_FAILED - unknown delivery tag 2', 'channel')
    expect(session.unsettled).toBe(2)
    session.ackMany([3, 1])
    expect(session.unsettled).toBe(0)
  })

  test('[nack] requeued messages come back in their old order, marked', async () => {
    const { session, client } = await withUnsettled(5)
    session.cancel('c')
    session.nack(4, false, true)
    session.nack(2, false, true)
    session.nack(5, false, true)
    expect(drain(session, 'q').map(d => [bodyOf(d), d.redelivered, d.deliveryCount])).toEqual([
      ['2', true, 1],
      ['4', true, 1],
      ['5', true, 1],
    ])
    expect(client.deliveries).toHaveLength(5)
  })

  test('[close] unsettled messages go back in order, before what waited behind them', async () => {
    const broker = await startBroker()
    const a = openClient(broker)
    a.session.declareQueue({ queue: 'q' })
    a.session.consume({ queue: 'q', prefetch: 3 })
    for (let i = 1; i <= 6; i++) a.session.publish(message(`${i}`, { routingKey: 'q' }))
    await dispatched()
    a.session.ack(2, false)
    await dispatched()
    a.session.close()
    a.session.close()
    const b = openClient(broker)
    expect(drain(b.session, 'q').map(bodyOf)).toEqual(['1', '3', '4', '5', '6'])
  })

  test('[recover] brings everything unsettled again; without requeue it is refused', async () => {
    const { session, client } = await withUnsettled(2)
    session.recover(true)
    await dispatched()
    expect(client.bodies()).toEqual(['1', '2', '1', '2'])
    expect(client.deliveries.at(-1)!.redelivered).toBe(true)
    refused(() => session.recover(false), 540, /^NOT_IMPLEMENTED/, 'connection')
  })

  test('[get] leaves its message unsettled, says how many remain, and gives nothing from an empty queue', async () => {
    const broker = await startBroker()
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    session.publish(message('1', { routingKey: 'q' }))
    session.publish(message('2', { routingKey: 'q' }))
    const first = session.get('q', false)!
    expect([bodyOf(first), first.remaining, first.consumerTag]).toEqual(['1', 1, ''])
    expect(session.get('q', true)!.remaining).toBe(0)
    expect(session.get('q', false)).toBeUndefined()
    session.nack(first.tag, false, true)
    expect(session.get('q', false)).toMatchObject({ redelivered: true, deliveryCount: 1 })
  })

  test('[stragglers] one delivery that is never settled keeps its tag while 100,000 pass', async () => {
    const broker = await startBroker()
    const client = openClient(broker, (delivery, session: Session) => {
      if (delivery.tag > 1) session.ack(delivery.tag, false)
    })
    client.session.declareQueue({ queue: 'q' })
    client.session.consume({ queue: 'q' })
    for (let i = 0; i < 100_000; i++) client.session.publish(message('', { routingKey: 'q' }))
    await expect.poll(() => client.deliveries.length).toBe(100_000)
    expect(client.session.unsettled).toBe(1)
    client.session.ack(1, false)
    expect(broker.vhost.inspect('q')).toEqual({ ready: 0, unsettled: 0, consumers: 1, delayed: 0 })
  })
})
