import {
  BASIC_ACK,
  BASIC_CANCEL,
  BASIC_CONSUME,
  BASIC_CONSUME_OK,
  BASIC_DELIVER,
  BASIC_PUBLISH,
  BASIC_QOS,
  BASIC_QOS_OK,
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_FLOW,
  CHANNEL_FLOW_OK,
  CHANNEL_OPEN,
  CHANNEL_OPEN_OK,
  CONFIRM_SELECT,
  CONFIRM_SELECT_OK,
  encodeMethodFrame,
  type Method,
  methodNames,
  QUEUE_BIND,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
  QUEUE_DELETE,
  QUEUE_DELETE_OK,
} from '@chasqui/amqp'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../directory.ts'
import { contentFrames, type RawClient } from './raw-client.ts'
import { channelTo, connected, eventually, rawChannel, serve } from './serving.ts'

const declare = (
  queue: string,
  change: { passive?: boolean; durable?: boolean; exclusive?: boolean } = {},
): Method => ({
  id: QUEUE_DECLARE,
  queue,
  passive: false,
  durable: false,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: {},
  ...change,
})
const consume = (queue: string, consumerTag: string): Method => ({
  id: BASIC_CONSUME,
  queue,
  consumerTag,
  noLocal: false,
  noAck: false,
  exclusive: false,
  noWait: false,
  arguments: {},
})
const qos: Method = { id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false }
const close: Method = { id: CHANNEL_CLOSE, replyCode: 200, replyText: '', classId: 0, methodId: 0 }

/** The names of the next methods. */
async function names(client: RawClient, count: number): Promise<string[]> {
  const seen: string[] = []
  while (seen.length < count) {
    const event = await client.next()
    seen.push('method' in event ? methodNames.get(event.method.id)! : event.kind)
  }
  return seen
}

test('[order] what comes behind a declaration that waits for the disk is answered behind it', async () => {
  const { port } = await serve({ dataDirectory: temporaryDirectory() })
  const client = await rawChannel(port)
  await client.openChannel(2)
  // In one chunk: a client that does not wait for answers.
  client.socket.cork()
  client.send(1, { id: CONFIRM_SELECT, noWait: false })
  client.send(1, declare('stored', { durable: true }))
  client.publish(1, 'stored', 'body', { properties: { deliveryMode: 2 } })
  client.send(1, consume('stored', 'c'))
  client.send(1, declare('stored-too', { durable: true }))
  client.send(1, qos)
  client.socket.uncork()
  const seen = await names(client, 7)
  const answers = seen.filter(name => name !== 'basic.ack' && name !== 'basic.deliver')
  expect(answers).toEqual([
    'confirm.select-ok',
    'queue.declare-ok',
    'basic.consume-ok',
    'queue.declare-ok',
    'basic.qos-ok',
  ])
  expect(seen.indexOf('basic.deliver')).toBeGreaterThan(seen.indexOf('basic.consume-ok'))
  expect(seen.filter(name => name === 'basic.ack')).toHaveLength(1)
})

test('[order] another channel of the connection gets its answers too', async () => {
  const { port } = await serve({ dataDirectory: temporaryDirectory() })
  const connection = await connected(port)
  const channels = await Promise.all(Array.from({ length: 10 }, () => connection.openChannel()))
  const declared = await Promise.all(channels.map((channel, at) => channel.declareQueue(`q${at}`, { durable: true })))
  expect(declared.map(one => one.queue)).toEqual(channels.map((_, at) => `q${at}`))
})

test('[close] by the client: close-ok, and the number is free again', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  for (let round = 0; round < 3; round++) {
    client.send(1, close)
    await client.method(CHANNEL_CLOSE_OK)
    await client.openChannel(1)
  }
  client.send(1, qos)
  await client.method(BASIC_QOS_OK)
})

test('[close] by the broker: everything until close-ok is ignored, other channels go on', async () => {
  const { broker, port } = await serve()
  const client = await rawChannel(port)
  await client.openChannel(2)
  client.send(1, declare('missing', { passive: true }))
  client.send(1, declare('ignored'))
  client.publish(1, 'ignored', 'x', { mandatory: true })
  client.send(1, { id: CHANNEL_OPEN })
  client.send(2, qos)
  expect(await client.method(CHANNEL_CLOSE)).toEqual({
    id: CHANNEL_CLOSE,
    replyCode: 404,
    replyText: "NOT_FOUND - no queue 'missing' in vhost '/'",
    classId: 50,
    methodId: 10,
  })
  await client.method(BASIC_QOS_OK)
  client.send(1, { id: CHANNEL_CLOSE_OK })
  client.send(1, { id: CHANNEL_OPEN })
  await client.method(CHANNEL_OPEN_OK)
  expect(broker.vhost.queueNames()).toEqual([])
})

test('[close] both at once: close-ok is answered, and the number is free after theirs', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  client.send(1, declare('missing', { passive: true }))
  client.send(1, close)
  expect(await names(client, 2)).toEqual(['channel.close', 'channel.close-ok'])
  client.send(1, { id: CHANNEL_CLOSE_OK })
  await client.openChannel(1)
})

test('[close] what was unsettled is delivered to the next consumer, in order', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  await client.openChannel(2)
  client.send(1, declare('q'))
  await client.method(QUEUE_DECLARE_OK)
  client.send(1, consume('q', 'first'))
  await client.method(BASIC_CONSUME_OK)
  for (const body of ['a', 'b', 'c']) client.publish(2, 'q', body)
  for (const body of ['a', 'b', 'c']) expect((await client.content(BASIC_DELIVER)).body).toBe(body)
  client.send(1, close)
  await client.method(CHANNEL_CLOSE_OK)
  client.send(2, consume('q', 'second'))
  await client.method(BASIC_CONSUME_OK)
  for (const body of ['a', 'b', 'c']) {
    const { method, body: got } = await client.content(BASIC_DELIVER)
    expect(got).toBe(body)
    expect(method).toMatchObject({ consumerTag: 'second', redelivered: true })
  }
})

test('[reply text] is cut to what a short string holds, within no character', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  client.send(1, declare('ñ'.repeat(127), { passive: true }))
  const { replyCode, replyText } = await client.method(CHANNEL_CLOSE)
  expect(replyCode).toBe(404)
  expect(replyText).toMatch(/^NOT_FOUND - no queue 'ñ+\.\.\.$/)
  expect(Buffer.byteLength(replyText)).toBeLessThanOrEqual(255)
})

test('[channel.flow] on is answered; off is not offered, as in RabbitMQ', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  client.send(1, { id: CHANNEL_FLOW, active: true })
  expect(await client.method(CHANNEL_FLOW_OK)).toMatchObject({ active: true })
  client.send(1, { id: CHANNEL_FLOW, active: false })
  expect(await names(client, 1)).toEqual(['connection.close'])
})

test('[noWait] asks for no answer and gets none', async () => {
  const { broker, port } = await serve({ dataDirectory: temporaryDirectory() })
  const client = await rawChannel(port)
  client.send(1, { ...declare('silent', { durable: true }), noWait: true } as Method)
  client.send(1, {
    id: QUEUE_BIND,
    queue: 'silent',
    exchange: 'amq.direct',
    routingKey: 'k',
    noWait: true,
    arguments: {},
  })
  client.send(1, { ...consume('silent', 'c'), noWait: true } as Method)
  client.send(1, { id: BASIC_CANCEL, consumerTag: 'c', noWait: true })
  client.send(1, { id: CONFIRM_SELECT, noWait: true })
  client.send(1, qos)
  await client.method(BASIC_QOS_OK)
  expect(broker.vhost.inspect('silent')).toMatchObject({ ready: 0, unsettled: 0, consumers: 0, delayed: 0 })
})

test('[consumer cancelled] those who can hear it are told that their queue is gone', async () => {
  const { port } = await serve()
  const owner = await channelTo(port)
  await owner.declareQueue('goes')
  const hears = await rawChannel(port, { clientProperties: { capabilities: { consumer_cancel_notify: true } } })
  const deaf = await rawChannel(port)
  for (const client of [hears, deaf]) {
    client.send(1, consume('goes', 'c'))
    await client.method(BASIC_CONSUME_OK)
  }
  await owner.deleteQueue('goes')
  expect(await hears.method(BASIC_CANCEL)).toEqual({ id: BASIC_CANCEL, consumerTag: 'c', noWait: true })
  deaf.send(1, qos)
  await deaf.method(BASIC_QOS_OK)
})

test('[delete] answers with how many messages went', async () => {
  const { broker, port } = await serve()
  const client = await rawChannel(port)
  client.send(1, declare('q'))
  await client.method(QUEUE_DECLARE_OK)
  client.publish(1, 'q', 'a')
  client.publish(1, 'q', 'b')
  client.send(1, { id: QUEUE_DELETE, queue: 'q', ifUnused: false, ifEmpty: false, noWait: false })
  expect(await client.method(QUEUE_DELETE_OK)).toMatchObject({ messageCount: 2 })
  expect(broker.vhost.queueNames()).toEqual([])
})

test('[contents of two channels] may lie between each other, frame by frame', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  await client.openChannel(2)
  client.send(1, declare('q'))
  await client.method(QUEUE_DECLARE_OK)
  const publish = (channel: number) =>
    encodeMethodFrame(channel, { id: BASIC_PUBLISH, exchange: '', routingKey: 'q', mandatory: false, immediate: false })
  const flags = Buffer.alloc(2)
  const [header1, body1] = contentFrames(1, 'from one', flags)
  const [header2, body2] = contentFrames(2, 'from two', flags)
  for (const bytes of [publish(1), publish(2), header2!, header1!, body1!, body2!]) client.socket.write(bytes)
  client.send(1, consume('q', 'c'))
  await client.method(BASIC_CONSUME_OK)
  expect((await client.content(BASIC_DELIVER)).body).toBe('from one')
  expect((await client.content(BASIC_DELIVER)).body).toBe('from two')
})

test('[confirms] of a stored message come when it is on disk, many in one frame', async () => {
  const { port } = await serve({ dataDirectory: temporaryDirectory() })
  const client = await rawChannel(port)
  client.send(1, declare('q', { durable: true }))
  await client.method(QUEUE_DECLARE_OK)
  client.send(1, { id: CONFIRM_SELECT, noWait: false })
  await client.method(CONFIRM_SELECT_OK)
  const messages = 500
  client.socket.cork()
  for (let sent = 0; sent < messages; sent++) client.publish(1, 'q', 'x', { properties: { deliveryMode: 2 } })
  client.socket.uncork()
  let confirmed = 0
  let frames = 0
  while (confirmed < messages) {
    const { deliveryTag, multiple } = await client.method(BASIC_ACK)
    expect(multiple || deliveryTag === confirmed + 1).toBe(true)
    confirmed = deliveryTag
    frames++
  }
  expect(frames).toBeLessThan(messages / 4)
})

test('[confirms] what was confirmed is there after a restart; close-ok needs no confirm', async () => {
  const dataDirectory = temporaryDirectory()
  const first = await serve({ dataDirectory })
  const channel = await channelTo(first.port)
  await channel.declareQueue('q', { durable: true })
  await channel.confirmSelect()
  for (let sent = 0; sent < 100; sent++) {
    await channel.publishAndConfirm('', 'q', { deliveryMode: 2, messageId: `${sent}` }, Buffer.from('x'))
  }
  await first.broker.close()
  const second = await serve({ dataDirectory })
  const again = await channelTo(second.port)
  for (let got = 0; got < 100; got++) expect((await again.get('q'))?.properties.messageId).toBe(`${got}`)
  await eventually('all are out', () => second.broker.vhost.inspect('q')?.ready === 0)
})
