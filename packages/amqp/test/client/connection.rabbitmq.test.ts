import { randomUUID } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type Channel,
  type ConfirmOutcome,
  type Connection,
  type ConnectionOptions,
  connect,
  type Delivery,
  type Returned,
} from '../../src/client/index.ts'
import { AmqpError, type FieldTable, TaggedValue } from '../../src/index.ts'

const url = process.env.CHASQUI_RABBITMQ_URL

function optionsOf(address: string): ConnectionOptions {
  const { hostname, port, username, password, pathname } = new URL(address)
  return {
    host: hostname,
    port: port === '' ? undefined : Number(port),
    username: username === '' ? undefined : decodeURIComponent(username),
    password: password === '' ? undefined : decodeURIComponent(password),
    vhost: pathname.length > 1 ? decodeURIComponent(pathname.slice(1)) : undefined,
    connectionName: 'packages/amqp/test/client/connection.rabbitmq.test.ts',
  }
}

describe.runIf(url !== undefined)('with RabbitMQ', () => {
  const options = optionsOf(url ?? 'amqp://localhost')
  let connection: Connection
  let channel: Channel

  beforeEach(async () => {
    connection = await connect(options)
    channel = await connection.openChannel()
  })

  afterEach(() => connection.close())

  /** A queue that is gone with the connection. */
  async function exclusiveQueue(): Promise<string> {
    return (await channel.declareQueue('', { exclusive: true })).queue
  }

  function uniqueName(): string {
    return `chasqui-test-${randomUUID()}`
  }

  async function collect(queue: string, count: number, onEach?: (delivery: Delivery) => void): Promise<Delivery[]> {
    const deliveries: Delivery[] = []
    const tag = await channel.consume(queue, {}, delivery => {
      deliveries.push(delivery)
      onEach?.(delivery)
    })
    await vi.waitUntil(() => deliveries.length >= count, { timeout: 10_000 })
    await channel.cancel(tag)
    return deliveries
  }

  describe('messages', () => {
    test('properties, headers and body come back as they were sent', async () => {
      const queue = await exclusiveQueue()
      await channel.confirmSelect()
      const headers: FieldTable = {
        text: 'Grüße 🐘',
        int: -7,
        long: 1_764_000_000_123,
        beyond: 2n ** 60n,
        fraction: 0.5,
        yes: true,
        nothing: null,
        bytes: Buffer.from([0, 255]),
        when: new Date(1_764_000_000_000),
        list: ['a', 1, [false, { deep: 'x' }]],
        table: { inner: { more: 1 } },
      }
      const properties = {
        contentType: 'application/json',
        contentEncoding: 'identity',
        headers,
        deliveryMode: 2,
        priority: 3,
        correlationId: 'c',
        replyTo: 'r',
        expiration: '60000',
        messageId: 'm',
        timestamp: 1_764_000_000,
        type: 't',
        userId: options.username ?? 'guest',
        appId: 'a',
      }
      const body = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      await channel.publishAndConfirm('', queue, properties, body)
      const [delivery] = await collect(queue, 1, ({ deliveryTag }) => channel.ack(deliveryTag))
      expect(delivery!.properties).toEqual(properties)
      expect(delivery!.body).toEqual(body)
      expect(delivery).toMatchObject({ deliveryTag: 1, redelivered: false, exchange: '', routingKey: queue })
    })

    test('[TaggedValue] tags that RabbitMQ knows survive it', async () => {
      const queue = await exclusiveQueue()
      const values: [TaggedValue, unknown][] = [
        [new TaggedValue('b', -1), -1],
        [new TaggedValue('B', 255), 255],
        [new TaggedValue('s', -300), -300],
        [new TaggedValue('u', 60_000), 60_000],
        [new TaggedValue('i', 4_000_000_000), 4_000_000_000],
        [new TaggedValue('f', 0.5), 0.5],
        [new TaggedValue('D', { scale: 2, value: 314 }), 3.14],
      ]
      const headers = Object.fromEntries(values.map(([value]) => [value.tag, value]))
      channel.publish('', queue, { headers }, Buffer.alloc(0))
      const got = await vi.waitUntil(async () => channel.get(queue, { noAck: true }))
      expect(got.properties.headers).toEqual(Object.fromEntries(values.map(([value, read]) => [value.tag, read])))
    })

    test.each([0, 1, 4096, 131_063, 131_064, 131_065, 1_000_000])('a body of %i bytes arrives whole', async size => {
      const queue = await exclusiveQueue()
      await channel.confirmSelect()
      const body = Buffer.alloc(size)
      for (let i = 0; i < size; i++) body[i] = i % 251
      await channel.publishAndConfirm('', queue, {}, body)
      const got = await channel.get(queue)
      expect(got!.body.equals(body)).toBe(true)
      channel.ack(got!.deliveryTag)
    })

    test('10,000 in order, confirmed and acknowledged', async () => {
      const queue = await exclusiveQueue()
      await channel.confirmSelect()
      await channel.qos(100)
      const outcomes: ConfirmOutcome[] = []
      for (let i = 0; i < 10_000; i++) {
        channel.publishConfirmed(
          '',
          queue,
          { messageId: String(i) },
          Buffer.from('x'),
          { mandatory: i % 2 === 0 },
          outcome => outcomes.push(outcome),
        )
      }
      const deliveries = await collect(queue, 10_000, ({ deliveryTag }) => channel.ack(deliveryTag))
      expect(deliveries.map(delivery => delivery.properties.messageId)).toEqual(
        Array.from({ length: 10_000 }, (_, i) => String(i)),
      )
      await vi.waitUntil(() => outcomes.length === 10_000)
      expect(new Set(outcomes)).toEqual(new Set(['ack']))
      expect(channel.unconfirmed).toBe(0)
      expect((await channel.declareQueue(queue, { passive: true })).messageCount).toBe(0)
      await channel.close()
      channel = await connection.openChannel()
      // What was joined too far or too short would come back now.
      expect(await channel.get(queue)).toBeUndefined()
    })

    test('[ack] in an order of its own: exactly what was not acknowledged comes back', async () => {
      const queue = await exclusiveQueue()
      for (let i = 0; i < 500; i++) channel.publish('', queue, { messageId: String(i) }, Buffer.alloc(0))
      const kept = new Set<string>()
      const deliveries = await collect(queue, 500)
      deliveries.forEach((delivery, index) => {
        if (index % 7 === 3) kept.add(delivery.properties.messageId!)
      })
      const tags = deliveries
        .filter(delivery => !kept.has(delivery.properties.messageId!))
        .map(delivery => delivery.deliveryTag)
      channel.ackMany(tags.slice(0, 100).reverse())
      await channel.declareQueue(queue, { passive: true })
      channel.ackMany(tags.slice(100))
      await channel.close()
      channel = await connection.openChannel()
      const again = await collect(queue, kept.size)
      expect(again.map(delivery => delivery.properties.messageId)).toEqual([...kept])
      expect(again.every(delivery => delivery.redelivered)).toBe(true)
    })

    test('[nack, reject, recover] messages come back, or do not', async () => {
      const queue = await exclusiveQueue()
      for (const id of ['nack', 'reject', 'recover', 'drop'])
        channel.publish('', queue, { messageId: id }, Buffer.alloc(0))
      const first = await collect(queue, 4)
      const tagOf = (id: string): number => first.find(delivery => delivery.properties.messageId === id)!.deliveryTag
      channel.nack(tagOf('nack'))
      channel.reject(tagOf('reject'))
      channel.nack(tagOf('drop'), false, false)
      await channel.recover(true)
      const second = await collect(queue, 3, ({ deliveryTag }) => channel.ack(deliveryTag))
      expect(new Set(second.map(delivery => delivery.properties.messageId))).toEqual(
        new Set(['nack', 'reject', 'recover']),
      )
    })

    test('[tx] a rollback takes publishes and acknowledgements back, a commit does both', async () => {
      const queue = await exclusiveQueue()
      channel.publish('', queue, { messageId: '1' }, Buffer.alloc(0))
      await channel.txSelect()
      const got = await vi.waitUntil(async () => channel.get(queue))
      channel.ack(got.deliveryTag)
      channel.publish('', queue, { messageId: '2' }, Buffer.alloc(0))
      await channel.txRollback()
      expect(await channel.get(queue)).toBeUndefined()
      channel.ack(got.deliveryTag)
      channel.publish('', queue, { messageId: '3' }, Buffer.alloc(0))
      await channel.txCommit()
      expect((await channel.get(queue, { noAck: true }))!.properties.messageId).toBe('3')
    })

    test('[mandatory] what no queue takes comes back, each to its own publish', async () => {
      const queue = await exclusiveQueue()
      const nowhere = uniqueName()
      await channel.confirmSelect()
      const returned: Returned[] = []
      channel.onReturn(message => returned.push(message))
      const outcomes: ConfirmOutcome[] = []
      for (let i = 0; i < 100; i++) {
        const to = i % 10 === 0 ? nowhere : queue
        channel.publishConfirmed(
          '',
          to,
          { messageId: String(i) },
          Buffer.from(`${i}`),
          { mandatory: true },
          outcome => {
            outcomes[i] = outcome
          },
        )
      }
      await vi.waitUntil(() => channel.unconfirmed === 0)
      for (let i = 0; i < 100; i++) {
        expect(outcomes[i]).toEqual(i % 10 === 0 ? { returned: { replyCode: 312, replyText: 'NO_ROUTE' } } : 'ack')
      }
      expect(returned.map(message => message.body.toString())).toEqual([
        '0',
        '10',
        '20',
        '30',
        '40',
        '50',
        '60',
        '70',
        '80',
        '90',
      ])
      expect(returned[0]).toMatchObject({ routingKey: nowhere, properties: { messageId: '0' } })
      await expect(
        channel.publishAndConfirm('', nowhere, {}, Buffer.from('x'), { mandatory: true }),
      ).rejects.toMatchObject({ name: 'PublishError', code: 'returned', replyCode: 312 })
    })

    test('[reject-publish] a full queue is a nack', async () => {
      const { queue } = await channel.declareQueue('', {
        exclusive: true,
        arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
      })
      await channel.confirmSelect()
      await channel.publishAndConfirm('', queue, {}, Buffer.from('1'))
      const last = channel.publishAndConfirm('', queue, {}, Buffer.from('2'))
      await expect(last).rejects.toMatchObject({ name: 'PublishError', code: 'nacked' })
    })
  })

  describe('queues and exchanges', () => {
    test('are declared, bound, looked at, purged and deleted', async () => {
      const [queue, exchange, upstream] = [uniqueName(), uniqueName(), uniqueName()]
      expect(await channel.declareQueue(queue, { autoDelete: true })).toEqual({
        queue,
        messageCount: 0,
        consumerCount: 0,
      })
      await channel.declareExchange(exchange, 'topic', { autoDelete: true })
      await channel.declareExchange(upstream, 'fanout')
      await channel.declareExchange(upstream, 'fanout', { passive: true })
      await channel.bindExchange(exchange, upstream, '')
      await channel.bindQueue(queue, exchange, 'a.*', { 'x-note': 1 })
      await channel.confirmSelect()
      await channel.publishAndConfirm(upstream, 'a.b', {}, Buffer.from('1'))
      await channel.publishAndConfirm(upstream, 'b', {}, Buffer.from('2'))
      expect(await channel.purgeQueue(queue)).toBe(1)
      await channel.unbindExchange(exchange, upstream, '')
      await channel.publishAndConfirm(upstream, 'a.b', {}, Buffer.from('3'))
      await channel.publishAndConfirm(exchange, 'a.c', {}, Buffer.from('4'))
      await channel.unbindQueue(queue, exchange, 'a.*', { 'x-note': 1 })
      expect(await channel.deleteQueue(queue)).toBe(1)
      await channel.deleteExchange(upstream, { ifUnused: true })
    })

    test.each([
      ['not found', 404, (on: Channel) => on.declareQueue(uniqueName(), { passive: true })],
      ['reserved name', 403, (on: Channel) => on.declareQueue(`amq.${uniqueName()}`)],
      [
        'unknown argument value',
        406,
        (on: Channel) => on.declareQueue('', { exclusive: true, arguments: { 'x-max-length': 'many' } }),
      ],
      ['no such queue', 404, (on: Channel) => on.consume(uniqueName(), {}, () => undefined)],
    ])('[%s] is %i, closes the channel, and leaves the connection', async (_, replyCode, ask) => {
      const ended = new Promise(resolve => channel.onClose(resolve))
      const error = await ask(channel).then(
        () => undefined,
        (reason: unknown) => reason,
      )
      expect(error).toBeInstanceOf(AmqpError)
      expect(error).toMatchObject({ replyCode, scope: 'channel' })
      expect(await ended).toBe(error)
      const next = await connection.openChannel()
      await next.declareQueue('', { exclusive: true })
    })

    test('[405] a queue of another connection', async () => {
      const queue = await exclusiveQueue()
      const other = await connect(options)
      const otherChannel = await other.openChannel()
      await expect(otherChannel.declareQueue(queue, { passive: true })).rejects.toMatchObject({ replyCode: 405 })
      await other.close()
    })

    test('[540] an error of the whole connection tells every channel', async () => {
      const second = await connection.openChannel()
      const ends = [channel, second, connection].map(one => new Promise(resolve => one.onClose(resolve)))
      await expect(channel.recover(false)).rejects.toMatchObject({ replyCode: 540, scope: 'connection' })
      for (const error of await Promise.all(ends)) expect(error).toMatchObject({ replyCode: 540 })
    })

    test('[406] a publish to an exchange that does not exist loses what was not confirmed', async () => {
      await channel.confirmSelect()
      const outcome = channel.publishAndConfirm(uniqueName(), 'k', {}, Buffer.from('x'))
      await expect(outcome).rejects.toMatchObject({ code: 'lost', cause: { replyCode: 404 } })
    })
  })

  describe('consumers', () => {
    test('[prefetch] no more are out than may be', async () => {
      const queue = await exclusiveQueue()
      for (let i = 0; i < 10; i++) channel.publish('', queue, {}, Buffer.from(String(i)))
      await channel.qos(3)
      const tags: number[] = []
      await channel.consume(queue, {}, delivery => tags.push(delivery.deliveryTag))
      await vi.waitUntil(() => tags.length === 3)
      // The answer comes behind whatever else would have been sent.
      await channel.declareQueue(queue, { passive: true })
      expect(tags).toEqual([1, 2, 3])
      channel.ackMany(tags)
      await vi.waitUntil(() => tags.length === 6)
    })

    test('[basic.cancel] a deleted queue ends its consumers, and says so', async () => {
      const queue = await exclusiveQueue()
      const cancelled: string[] = []
      channel.onCancel(tag => cancelled.push(tag))
      const tag = await channel.consume(queue, { consumerTag: 'mine' }, () => undefined)
      expect(tag).toBe('mine')
      await channel.deleteQueue(queue)
      await vi.waitUntil(() => cancelled.length === 1)
      expect(cancelled).toEqual(['mine'])
    })

    test('[noAck] needs no acknowledgement, also beside a consumer that does', async () => {
      const [loose, strict] = [await exclusiveQueue(), await exclusiveQueue()]
      let seen = 0
      await channel.consume(loose, { noAck: true }, () => seen++)
      await channel.consume(strict, {}, delivery => {
        seen++
        channel.ack(delivery.deliveryTag)
      })
      for (let i = 0; i < 100; i++) channel.publish('', i % 2 === 0 ? loose : strict, {}, Buffer.alloc(0))
      await vi.waitUntil(() => seen === 100)
      await channel.declareQueue(strict, { passive: true })
      await channel.close()
      channel = await connection.openChannel()
      expect(await channel.get(strict)).toBeUndefined()
    })

    test('[406] an acknowledgement given twice closes the channel', async () => {
      const queue = await exclusiveQueue()
      const ended = new Promise(resolve => channel.onClose(resolve))
      channel.publish('', queue, {}, Buffer.alloc(0))
      const [delivery] = await collect(queue, 1)
      channel.ack(delivery!.deliveryTag)
      channel.ack(delivery!.deliveryTag)
      expect(await ended).toMatchObject({ replyCode: 406 })
    })
  })

  describe('connecting', () => {
    test('[authentication] a wrong password', async () => {
      await expect(connect({ ...options, password: 'wrong' })).rejects.toMatchObject({ code: 'authentication' })
    })

    test('[access] a virtual host that does not exist', async () => {
      await expect(connect({ ...options, vhost: uniqueName() })).rejects.toMatchObject({ code: 'access' })
    })

    test('[frameMax, channelMax, heartbeatSeconds] small limits hold', async () => {
      const small = await connect({ ...options, frameMax: 4096, channelMax: 1, heartbeatSeconds: 1 })
      expect(small).toMatchObject({ frameMax: 4096, channelMax: 1, heartbeatSeconds: 1 })
      const on = await small.openChannel()
      const { queue } = await on.declareQueue('', { exclusive: true })
      await on.confirmSelect()
      await on.publishAndConfirm('', queue, {}, Buffer.alloc(10_000, 'x'))
      expect((await on.get(queue, { noAck: true }))!.body.equals(Buffer.alloc(10_000, 'x'))).toBe(true)
      await expect(small.openChannel()).rejects.toMatchObject({ code: 'channels-exhausted' })
      await small.close()
    })

    test('[close] publishes before it arrive', async () => {
      const queue = uniqueName()
      await channel.declareQueue(queue)
      const other = await connect(options)
      const on = await other.openChannel()
      for (let i = 0; i < 1000; i++) on.publish('', queue, {}, Buffer.alloc(100))
      await other.close()
      expect(await channel.deleteQueue(queue)).toBe(1000)
    })
  })
})
