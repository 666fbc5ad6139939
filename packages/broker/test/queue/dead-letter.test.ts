import type { FieldTable } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { bodyOf, dispatched, drain, message, openClient, startBroker } from '../engine.ts'

const to = (routingKey: string) => ({ 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': routingKey })

async function setUp(queues: Record<string, FieldTable>) {
  const broker = await startBroker({ clock: { now: () => 1_700_000_000_789 } })
  const client = openClient(broker)
  for (const [queue, args] of Object.entries(queues)) {
    client.session.declareQueue({ queue, durable: true, arguments: args })
  }
  return { broker, client, session: client.session }
}

describe('dead letters', () => {
  test('[rejected] same body and properties, without expiration, and x-death as RabbitMQ 3.10 writes it', async () => {
    const { session } = await setUp({ dead: {}, q: to('dead') })
    const properties = { deliveryMode: 2, messageId: 'x', expiration: '100000', headers: { a: 1 } }
    session.publish(message('m', { routingKey: 'q' }, properties))
    session.nack(session.get('q', false)!.tag, false, false)
    const { message: dead, redelivered } = session.get('dead', true)!
    expect(redelivered).toBe(false)
    expect([dead.exchange, dead.routingKey, dead.persistent, Buffer.from(dead.body).toString()]).toEqual([
      '',
      'dead',
      true,
      'm',
    ])
    expect(dead.properties).toEqual({
      deliveryMode: 2,
      messageId: 'x',
      headers: {
        a: 1,
        'x-first-death-exchange': '',
        'x-first-death-queue': 'q',
        'x-first-death-reason': 'rejected',
        'x-death': [
          {
            count: 1n,
            reason: 'rejected',
            queue: 'q',
            time: new Date(1_700_000_000_000),
            exchange: '',
            'routing-keys': ['q'],
            'original-expiration': '100000',
          },
        ],
      },
    })
  })

  test('[again] a second death in the same queue for the same reason counts up and stands first', async () => {
    const { session } = await setUp({ one: to('two'), two: to('one') })
    session.publish(message('m', { routingKey: 'one' }))
    for (const queue of ['one', 'two', 'one']) session.nack(session.get(queue, false)!.tag, false, false)
    const headers = session.get('two', true)!.message.properties.headers!
    expect(headers['x-death']).toMatchObject([
      { count: 2n, queue: 'one' },
      { count: 1n, queue: 'two' },
    ])
    expect(headers['x-first-death-queue']).toBe('one')
  })

  test('[routing] its own key without a dead letter routing key; nowhere to go: it is gone', async () => {
    const { session, broker } = await setUp({ q: { 'x-dead-letter-exchange': 'dlx' }, dead: {} })
    const die = () => {
      session.publish(message('m', { routingKey: 'q' }))
      session.nack(session.get('q', false)!.tag, false, false)
    }
    die()
    session.declareExchange({ exchange: 'dlx', type: 'direct' })
    die()
    session.bindQueue({ queue: 'dead', exchange: 'dlx', routingKey: 'q' })
    die()
    expect(drain(session, 'dead').map(({ message: m }) => [m.exchange, m.routingKey])).toEqual([['dlx', 'q']])
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[multiple] nack of several dead-letters them in order', async () => {
    const { session, client } = await setUp({ q: to('dead'), dead: {} })
    for (const body of ['1', '2', '3', '4']) session.publish(message(body, { routingKey: 'q' }))
    session.consume({ queue: 'q' })
    await dispatched()
    session.nack(3, true, false)
    expect(drain(session, 'dead').map(bodyOf)).toEqual(['1', '2', '3'])
    expect(client.session.unsettled).toBe(1)
  })

  test('[circle] a message that limits alone send round ends; one that consumers refuse goes on', async () => {
    const { session, broker } = await setUp({
      a: { ...to('b'), 'x-max-length': 0 },
      b: { ...to('a'), 'x-max-length': 0 },
    })
    session.publish(message('m', { routingKey: 'a' }))
    expect(['a', 'b'].map(queue => broker.vhost.inspect(queue)!.ready)).toEqual([0, 0])
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[malformed] properties that cannot be decoded do not keep a message from being got rid of', async () => {
    const { session } = await setUp({ q: to('dead'), dead: {} })
    const { AmqpError } = await import('@chasqui/amqp')
    const bad = {
      ...message('m', { routingKey: 'q' }),
      get properties(): never {
        throw new AmqpError(502, 'SYNTAX_ERROR')
      },
    }
    session.publish(bad)
    session.nack(session.get('q', false)!.tag, false, false)
    expect(drain(session, 'dead').map(bodyOf)).toEqual(['m'])
  })
})

describe('delivery limit', () => {
  test('[quorum] after so many returns the message is dead-lettered, with its count on the way', async () => {
    const limit = { 'x-queue-type': 'quorum', 'x-delivery-limit': 2, ...to('dead') }
    const { session } = await setUp({ q: limit, dead: {} })
    session.publish(message('m', { routingKey: 'q' }, { deliveryMode: 2, headers: { mine: 1 } }))
    const seen: unknown[] = []
    for (let got = session.get('q', false); got !== undefined; got = session.get('q', false)) {
      const wire = 'wireMessage' in got ? (got.wireMessage as typeof got.message) : got.message
      seen.push([got.redelivered, got.deliveryCount, wire.properties.headers])
      session.nack(got.tag, false, true)
    }
    expect(seen).toEqual([
      [false, 0, { mine: 1, 'x-delivery-count': 0 }],
      [true, 1, { mine: 1, 'x-delivery-count': 1 }],
      [true, 2, { mine: 1, 'x-delivery-count': 2 }],
    ])
    const dead = session.get('dead', true)!.message.properties.headers!
    expect(dead['x-death']).toMatchObject([{ reason: 'delivery_limit', queue: 'q' }])
    expect(dead['x-delivery-count']).toBeUndefined()
  })

  test('[classic] has none, and its deliveries bear no count', async () => {
    const { session } = await setUp({ q: {} })
    session.publish(message('m', { routingKey: 'q' }))
    for (let round = 0; round < 50; round++) session.nack(session.get('q', false)!.tag, false, true)
    const got = session.get('q', false)!
    expect(got.deliveryCount).toBe(50)
    expect('wireMessage' in got && got.wireMessage).toBe(got.message)
  })

  test('[negative] is no limit', async () => {
    const { session } = await setUp({ q: { 'x-queue-type': 'quorum', 'x-delivery-limit': -1 } })
    session.publish(message('m', { routingKey: 'q' }))
    for (let round = 0; round < 50; round++) session.nack(session.get('q', false)!.tag, false, true)
    expect(session.get('q', false)).toBeDefined()
  })
})

describe('length limit', () => {
  test('[drop-head] the oldest make room, and are dead-lettered as maxlen', async () => {
    const { session } = await setUp({ dead: {}, q: { 'x-max-length': 3, ...to('dead') } })
    for (let index = 0; index < 10; index++) session.publish(message(`${index}`, { routingKey: 'q' }))
    expect(drain(session, 'q').map(bodyOf)).toEqual(['7', '8', '9'])
    const dead = drain(session, 'dead')
    expect(dead.map(bodyOf)).toEqual(['0', '1', '2', '3', '4', '5', '6'])
    expect(dead[0]!.message.properties.headers!['x-death']).toMatchObject([{ reason: 'maxlen' }])
  })

  test('[bytes] counts the bodies of what waits', async () => {
    const { session, broker } = await setUp({ q: { 'x-max-length-bytes': 100 } })
    for (let index = 0; index < 10; index++) session.publish(message('x'.repeat(30), { routingKey: 'q' }))
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 3 })
  })

  test('[reject-publish] a full queue refuses, takes again when there is room, and others are not kept from it', async () => {
    const { session, broker } = await setUp({ q: { 'x-max-length': 2, 'x-overflow': 'reject-publish' }, other: {} })
    for (const queue of ['q', 'other']) session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: '' })
    const publish = () => session.publish(message('m', { exchange: 'amq.fanout', routingKey: '' })).rejected
    expect([publish(), publish(), publish()]).toEqual([false, false, true])
    expect(session.publish(message('m', { routingKey: 'q' }))).toMatchObject({ routed: 1, rejected: true })
    expect(broker.vhost.inspect('other')).toMatchObject({ ready: 3 })
    session.get('q', true)
    expect(publish()).toBe(false)
  })

  test('[idle consumer] takes a burst that is longer than the limit', async () => {
    const { session, client } = await setUp({ q: { 'x-max-length': 2 } })
    session.consume({ queue: 'q' })
    for (let index = 0; index < 10; index++) session.publish(message(`${index}`, { routingKey: 'q' }))
    await dispatched()
    expect(client.deliveries).toHaveLength(10)
  })

  test('[returned] what comes back to a full queue makes the oldest go', async () => {
    const { session } = await setUp({ q: { 'x-max-length': 2 } })
    session.publish(message('0', { routingKey: 'q' }))
    const { tag } = session.get('q', false)!
    for (const body of ['1', '2']) session.publish(message(body, { routingKey: 'q' }))
    session.nack(tag, false, true)
    expect(drain(session, 'q').map(bodyOf)).toEqual(['1', '2'])
  })
})
