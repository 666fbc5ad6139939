import { BASIC_CONSUME, BASIC_GET, BASIC_RETURN, CHANNEL_CLOSE, CONFIRM_SELECT, CONNECTION_CLOSE } from '@chasqui/amqp'
import type { ConfirmOutcome, Delivery } from '@chasqui/amqp/client'
import { describe, expect, test } from 'vitest'
import { channelTo, connected, eventually, rawChannel, serve } from '../serving.ts'

const bytes = Buffer.from('body')

describe('publish', () => {
  test('carries properties, headers of every type, and the body as they are', async () => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('q')
    const properties = {
      contentType: 'application/json',
      contentEncoding: 'identity',
      headers: { text: 'ü', number: 7, large: 2n ** 60n, list: [1, 'a', { deep: true }], nothing: null, raw: bytes },
      deliveryMode: 2,
      priority: 5,
      correlationId: 'c',
      replyTo: 'r',
      messageId: 'm',
      timestamp: 1_700_000_000,
      type: 't',
      userId: 'guest',
      appId: 'a',
    }
    const body = Buffer.from(Array.from({ length: 256 }, (_, at) => at))
    channel.publish('', 'q', properties, body)
    const got = await channel.get('q')
    expect(got?.properties).toMatchObject(properties)
    expect(got?.body.equals(body)).toBe(true)
    expect(got).toMatchObject({ exchange: '', routingKey: 'q', redelivered: false, messageCount: 0 })
  })

  test.each([0, 1, 4087, 4088, 131_064, 131_065, 1_000_000])('carries a body of %i bytes', async length => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('q')
    const body = Buffer.alloc(length, 'abc')
    const received = new Promise<Delivery>(resolve => {
      void channel.consume('q', { noAck: true }, resolve)
    })
    channel.publish('', 'q', {}, body)
    expect((await received).body.equals(body)).toBe(true)
  })

  test('[mandatory] returns what no queue takes, before its confirm', async () => {
    const { port } = await serve()
    const client = await rawChannel(port)
    client.send(1, { id: CONFIRM_SELECT, noWait: true })
    client.publish(1, 'nowhere', 'lost', { exchange: 'amq.direct', mandatory: true, properties: { messageId: 'm' } })
    const returned = await client.content(BASIC_RETURN)
    expect(returned.method).toMatchObject({
      replyCode: 312,
      replyText: 'NO_ROUTE',
      exchange: 'amq.direct',
      routingKey: 'nowhere',
    })
    expect(returned).toMatchObject({ body: 'lost', properties: { messageId: 'm' } })
    expect(await client.next()).toMatchObject({ method: { deliveryTag: 1, multiple: false } })
  })

  test('confirms what no queue takes when nobody minds', async () => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.confirmSelect()
    await channel.publishAndConfirm('amq.fanout', '', {}, bytes)
  })

  test('nacks what a full queue refuses', async () => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('small', { arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } })
    await channel.confirmSelect()
    const outcomes: ConfirmOutcome[] = []
    for (let sent = 0; sent < 3; sent++) {
      channel.publishConfirmed('', 'small', {}, bytes, {}, outcome => outcomes.push(outcome))
    }
    await eventually('all are settled', () => outcomes.length === 3)
    expect(outcomes.toSorted()).toEqual(['ack', 'nack', 'nack'])
  })

  test('[user-id] must be the name that logged in', async () => {
    const { port } = await serve()
    const client = await rawChannel(port)
    client.publish(1, 'q', 'x', { properties: { userId: 'joe' } })
    expect(await client.method(CHANNEL_CLOSE)).toMatchObject({
      replyCode: 406,
      replyText: "PRECONDITION_FAILED - user_id property set to 'joe' but authenticated user was 'guest'",
    })
  })

  test.each([
    ['soon', "invalid expiration 'soon': no_integer"],
    ['-1', "invalid expiration '-1': {value_negative,-1}"],
    ['12x', 'invalid expiration \'12x\': {leftover_string,"x"}'],
    ['315360000001', "invalid expiration '315360000001': {value_too_large,315360000001}"],
  ])('[expiration] %s is refused', async (expiration, text) => {
    const { port } = await serve()
    const client = await rawChannel(port)
    client.publish(1, 'q', 'x', { properties: { expiration } })
    expect(await client.method(CHANNEL_CLOSE)).toMatchObject({
      replyCode: 406,
      replyText: `PRECONDITION_FAILED - ${text}`,
    })
  })

  test('[immediate] is not offered', async () => {
    const { port } = await serve()
    const client = await rawChannel(port)
    client.publish(1, 'q', 'x', { immediate: true })
    expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
      replyCode: 540,
      replyText: 'NOT_IMPLEMENTED - immediate=true',
      classId: 60,
      methodId: 40,
    })
  })
})

describe('consume', () => {
  test('[prefetch] bounds what is unsettled, and acks let more come', async () => {
    const { broker, port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('q')
    for (let sent = 0; sent < 10; sent++) channel.publish('', 'q', {}, bytes)
    await channel.qos(3)
    const seen: Delivery[] = []
    await channel.consume('q', {}, delivery => {
      seen.push(delivery)
    })
    await eventually('three came', () => seen.length === 3)
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 7, unsettled: 3 })
    channel.ack(seen[1]!.deliveryTag, true)
    await eventually('two more came', () => seen.length === 5)
    channel.nack(seen[4]!.deliveryTag, false, false)
    await eventually('one more came', () => seen.length === 6)
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 4, unsettled: 3 })
  })

  test('[tag] made up by the broker when there is none, and never twice on a channel', async () => {
    const { port } = await serve()
    const connection = await connected(port)
    const channel = await connection.openChannel()
    await channel.declareQueue('q')
    expect(await channel.consume('q', {}, () => undefined)).toMatch(/^amq\.ctag-/)
    await channel.consume('q', { consumerTag: 'mine' }, () => undefined)
    const client = await rawChannel(port)
    const consume = { noLocal: false, noAck: true, exclusive: false, noWait: true, arguments: {} }
    client.send(1, { id: BASIC_CONSUME, queue: 'q', consumerTag: 'twice', ...consume })
    client.send(1, { id: BASIC_CONSUME, queue: 'q', consumerTag: 'twice', ...consume })
    expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
      replyCode: 530,
      replyText: "NOT_ALLOWED - attempt to reuse consumer tag 'twice'",
    })
  })

  test('[x-delivery-count] is on what is got from a quorum queue', async () => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('quorum', { durable: true, arguments: { 'x-queue-type': 'quorum' } })
    channel.publish('', 'quorum', { headers: { mine: 'kept' } }, bytes)
    const first = await channel.get('quorum')
    expect(first?.properties.headers).toEqual({ mine: 'kept', 'x-delivery-count': 0 })
    channel.nack(first!.deliveryTag, false, true)
    const second = await channel.get('quorum')
    expect(second?.redelivered).toBe(true)
    expect(second?.properties.headers).toEqual({ mine: 'kept', 'x-delivery-count': 1 })
  })

  test.each(['consume', 'get'])(
    '[frame max] headers beyond it close the connection on %s; the message stays',
    async how => {
      const { broker, port } = await serve()
      const producer = await channelTo(port)
      await producer.declareQueue('q')
      await producer.confirmSelect()
      await producer.publishAndConfirm('', 'q', { headers: { long: 'x'.repeat(5000) } }, bytes)
      const client = await rawChannel(port, { frameMax: 4096 })
      const consume = { consumerTag: 'c', noLocal: false, exclusive: false, noWait: true, arguments: {} }
      if (how === 'get') client.send(1, { id: BASIC_GET, queue: 'q', noAck: false })
      else client.send(1, { id: BASIC_CONSUME, queue: 'q', noAck: false, ...consume })
      expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
        replyCode: 501,
        replyText: expect.stringMatching(/^FRAME_ERROR - The properties and headers of a message take \d+ bytes/),
      })
      expect(broker.vhost.inspect('q')).toMatchObject({ ready: 1, unsettled: 0, consumers: 0, delayed: 0 })
      expect((await producer.get('q'))?.properties.headers?.long).toHaveLength(5000)
    },
  )

  test('[cancel] ends the consumer and is answered for tags that are none', async () => {
    const { broker, port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('q')
    const tag = await channel.consume('q', {}, () => undefined)
    await channel.cancel(tag)
    await channel.cancel('never-there')
    expect(broker.vhost.inspect('q')?.consumers).toBe(0)
  })

  test('[recover] delivers again what is unsettled', async () => {
    const { port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('q')
    channel.publish('', 'q', {}, bytes)
    await channel.get('q')
    await channel.recover(true)
    expect((await channel.get('q'))?.redelivered).toBe(true)
  })

  test('a thousand messages over five consumers arrive once each', async () => {
    const { broker, port } = await serve()
    const producer = await channelTo(port)
    await producer.declareQueue('q')
    const seen: string[] = []
    for (let consumer = 0; consumer < 5; consumer++) {
      const channel = await channelTo(port)
      await channel.qos(10)
      await channel.consume('q', {}, delivery => {
        seen.push(delivery.body.toString())
        channel.ack(delivery.deliveryTag)
      })
    }
    const sent = Array.from({ length: 1000 }, (_, at) => String(at))
    for (const body of sent) producer.publish('', 'q', {}, Buffer.from(body))
    await eventually('all arrived and are settled', () => {
      return seen.length >= 1000 && broker.vhost.inspect('q')?.unsettled === 0
    })
    expect(seen.toSorted()).toEqual(sent.toSorted())
  })
})
