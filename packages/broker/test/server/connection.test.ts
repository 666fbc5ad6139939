import {
  BASIC_ACK,
  BASIC_CONSUME,
  BASIC_DELIVER,
  BASIC_GET,
  BASIC_PUBLISH,
  BASIC_QOS,
  BASIC_QOS_OK,
  CHANNEL_CLOSE,
  CHANNEL_OPEN,
  CONFIRM_SELECT,
  CONFIRM_SELECT_OK,
  CONNECTION_BLOCKED,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_TUNE_OK,
  CONNECTION_UNBLOCKED,
  encodeMethodFrame,
  encodeProperties,
  FRAME_BODY,
  FRAME_HEADER,
  FRAME_HEARTBEAT,
  FRAME_METHOD,
  type Method,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
} from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { contentFrames, frame, type RawClient } from './raw-client.ts'
import { channelTo, connected, eventually, rawChannel, rawOpened, serve } from './serving.ts'

const publish = encodeMethodFrame(1, {
  id: BASIC_PUBLISH,
  exchange: '',
  routingKey: 'q',
  mandatory: false,
  immediate: false,
})
const none = encodeProperties({})
const qos: Method = { id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false }
const declare = (queue: string, durable = false): Method => ({
  id: QUEUE_DECLARE,
  queue,
  passive: false,
  durable,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: {},
})

/** The head of a frame that announces more than there is. */
function head(type: number, size: number): Buffer {
  const bytes = Buffer.alloc(7)
  bytes[0] = type
  bytes.writeUInt16BE(1, 1)
  bytes.writeUInt32BE(size, 3)
  return bytes
}

/** A header frame that announces a body of this size. */
function headerOf(bodyBytes: bigint): Buffer {
  const header = contentFrames(1, '', none)[0]!
  header.writeBigUInt64BE(bodyBytes, 11)
  return header
}

/** The reply code of the connection.close that comes next, and the connection ends after it. */
async function closedWith(client: RawClient): Promise<number> {
  const { replyCode } = await client.method(CONNECTION_CLOSE)
  client.send(0, { id: CONNECTION_CLOSE_OK })
  expect(await client.closed()).toEqual([])
  return replyCode
}

describe('a malformed frame closes its connection with the right code, and the broker lives on', () => {
  test.each([
    ['a frame type that is none', frame(7, 1, none), 501],
    ['a frame without its end', frame(FRAME_METHOD, 1, Buffer.from([0, 20, 0, 10, 0]), 0xcd), 501],
    ['a frame of 2 GiB', head(FRAME_BODY, 0x7fff_ffff), 501],
    ['a frame one byte too long', head(FRAME_METHOD, 131_072 - 7), 501],
    ['a heartbeat with a payload', frame(FRAME_HEARTBEAT, 0, Buffer.of(1)), 501],
    ['a heartbeat on a channel', frame(FRAME_HEARTBEAT, 1, Buffer.alloc(0)), 501],
    ['a class that is none', frame(FRAME_METHOD, 1, Buffer.from([0, 99, 0, 10])), 540],
    ['a method that is none', frame(FRAME_METHOD, 1, Buffer.from([0, 50, 0, 99])), 540],
    ['a method frame of 2 bytes', frame(FRAME_METHOD, 1, Buffer.from([0, 50])), 502],
    ['a method cut short', frame(FRAME_METHOD, 1, Buffer.from([0, 50, 0, 10, 0, 0, 20, 65])), 502],
    ['a table that lies about its length', tableFrame([0xff, 0xff, 0xff, 0xff]), 502],
    ['a table with a tag that is none', tableFrame([0, 0, 0, 3, 1, 65, 0x7a]), 502],
    ['a table a thousand levels deep', tableFrame(nested(1000)), 502],
    ['a table of twelve thousand levels', tableFrame(nested(12_000)), 502],
    ['a header out of nowhere', contentFrames(1, 'x', none)[0]!, 505],
    ['a body out of nowhere', contentFrames(1, 'x', none)[1]!, 505],
    ['a method where a header should be', Buffer.concat([publish, encodeMethodFrame(1, qos)]), 505],
    ['a header of another class', Buffer.concat([publish, contentFrames(1, 'x', none, 50)[0]!]), 505],
    ['two headers', Buffer.concat([publish, headerOf(1n), headerOf(1n)]), 505],
    ['a header cut short', Buffer.concat([publish, frame(FRAME_HEADER, 1, Buffer.from([0, 60, 0, 0]))]), 501],
    ['more body than announced', Buffer.concat([publish, headerOf(1n), frame(FRAME_BODY, 1, Buffer.alloc(3))]), 505],
    ['properties cut short', Buffer.concat([publish, ...contentFrames(1, 'x', Buffer.from([0x80, 0, 200, 1]))]), 502],
    ['property flags that are none', Buffer.concat([publish, ...contentFrames(1, 'x', Buffer.from([0, 3]))]), 502],
    ['a bomb in the headers', Buffer.concat([publish, ...contentFrames(1, '', bomb())]), 502],
    ['garbage', Buffer.from('There is no such frame as this one, not at all.'), 501],
  ])('%s', async (_what, bytes, code) => {
    const { port } = await serve()
    const witness = await channelTo(port)
    const client = await rawChannel(port)
    client.socket.write(bytes)
    expect(await closedWith(client)).toBe(code)
    expect((await witness.declareQueue('witness')).queue).toBe('witness')
    await channelTo(port)
  })

  test('the same, whatever the bytes: 300 connections of noise behind a good handshake', async () => {
    const { port } = await serve()
    let state = 42
    const byte = () => {
      state = (state * 48_271) % 2_147_483_647
      return state & 0xff
    }
    for (let round = 0; round < 300; round++) {
      const client = await rawChannel(port)
      const noise = Buffer.from(Array.from({ length: 1 + (round % 64) }, byte))
      // Half of them begin as a frame would, so that the noise gets further in.
      client.socket.end(round % 2 === 0 ? noise : frame(1 + (round % 3), round % 4, noise))
      await client.closed()
    }
    expect((await (await channelTo(port)).declareQueue('after')).queue).toBe('after')
  })
})

function tableFrame(table: readonly number[] | Uint8Array): Buffer {
  return frame(FRAME_METHOD, 1, Buffer.concat([Buffer.from([0, 50, 0, 10, 0, 0, 1, 65, 0]), Buffer.from(table)]))
}

/** A table in a table in a table, each with an empty name. */
function nested(levels: number): Buffer {
  const bytes = Buffer.alloc(levels * 6 + 4)
  for (let level = 0; level < levels; level++) {
    bytes.writeUInt32BE(bytes.length - 4 - level * 6, level * 6)
    bytes[level * 6 + 5] = 0x46
  }
  return bytes
}

function bomb(): Buffer {
  return Buffer.concat([Buffer.from([0x20, 0]), nested(10_000)])
}

describe('a method in the wrong place closes its connection, in the words of RabbitMQ', () => {
  test.each([
    ['a method on a channel that is not open', 2, qos, 504, "CHANNEL_ERROR - expected 'channel.open'"],
    ['a second channel.open', 1, { id: CHANNEL_OPEN }, 504, "CHANNEL_ERROR - second 'channel.open' seen"],
    [
      'a channel method on channel 0',
      0,
      { id: BASIC_ACK, deliveryTag: 1, multiple: false },
      504,
      'CHANNEL_ERROR - unexpected method in connection state running',
    ],
    [
      'tune-ok once more',
      0,
      { id: CONNECTION_TUNE_OK, channelMax: 1, frameMax: 4096, heartbeat: 0 },
      504,
      'CHANNEL_ERROR - unexpected method in connection state running',
    ],
    [
      "a server's method",
      1,
      { id: QUEUE_DECLARE_OK, queue: '', messageCount: 0, consumerCount: 0 },
      503,
      'COMMAND_INVALID - unimplemented method',
    ],
    [
      'a connection method on a channel',
      1,
      { id: CONNECTION_CLOSE, replyCode: 200, replyText: '', classId: 0, methodId: 0 },
      503,
      'COMMAND_INVALID - unimplemented method',
    ],
  ] as const)('%s', async (_what, channel, method, replyCode, replyText) => {
    const { port } = await serve()
    const client = await rawChannel(port)
    client.send(channel, method)
    expect(await client.method(CONNECTION_CLOSE)).toEqual({
      id: CONNECTION_CLOSE,
      replyCode,
      replyText,
      classId: method.id >>> 16,
      methodId: method.id & 0xffff,
    })
    client.send(0, { id: CONNECTION_CLOSE_OK })
    expect(await client.closed()).toEqual([])
  })

  test('a content on a channel that is not open', async () => {
    const { port } = await serve()
    const client = await rawOpened(port)
    client.publish(1, 'q', 'body')
    expect(await closedWith(client)).toBe(504)
  })

  test("a server's content", async () => {
    const { port } = await serve()
    const client = await rawChannel(port)
    const deliver = { consumerTag: '', deliveryTag: 1, redelivered: false, exchange: '', routingKey: '' }
    client.socket.write(
      Buffer.concat([encodeMethodFrame(1, { id: BASIC_DELIVER, ...deliver }), ...contentFrames(1, 'x', none)]),
    )
    expect(await closedWith(client)).toBe(503)
  })
})

test('[body size] a body beyond 128 MiB closes the channel; the connection goes on', async () => {
  const { port } = await serve()
  const client = await rawChannel(port)
  await client.openChannel(2)
  client.socket.write(Buffer.concat([publish, headerOf(200_000_000n)]))
  expect(await client.method(CHANNEL_CLOSE)).toMatchObject({
    replyCode: 406,
    replyText: 'PRECONDITION_FAILED - message size 200000000 is larger than configured max size 134217728',
    classId: 60,
    methodId: 40,
  })
  client.send(2, qos)
  await client.method(BASIC_QOS_OK)
})

describe('close', () => {
  test('by the client: what it held goes back before close-ok is sent', async () => {
    const { broker, port } = await serve()
    const client = await rawChannel(port)
    client.send(1, declare('held'))
    await client.method(QUEUE_DECLARE_OK)
    client.publish(1, 'held', 'body')
    client.send(1, { id: BASIC_GET, queue: 'held', noAck: false })
    await client.next()
    expect(broker.vhost.inspect('held')).toMatchObject({ ready: 0, unsettled: 1 })
    client.send(0, { id: CONNECTION_CLOSE, replyCode: 200, replyText: 'bye', classId: 0, methodId: 0 })
    await client.method(CONNECTION_CLOSE_OK)
    expect(broker.vhost.inspect('held')).toMatchObject({ ready: 1, unsettled: 0 })
    expect(await client.closed()).toEqual([])
  })

  test('by a broken socket: what it held goes back', async () => {
    const { broker, port } = await serve()
    const channel = await channelTo(port)
    await channel.declareQueue('held')
    const client = await rawChannel(port)
    client.publish(1, 'held', 'body')
    client.send(1, { id: BASIC_GET, queue: 'held', noAck: false })
    await client.next()
    client.socket.resetAndDestroy()
    await eventually('it is back', () => broker.vhost.inspect('held')?.ready === 1)
    expect((await channel.get('held'))?.redelivered).toBe(true)
  })

  test('by the broker: says 320, confirms what is due first, and ends although the client does not answer', async () => {
    const { broker, port } = await serve()
    const client = await rawChannel(port)
    client.send(1, declare('q'))
    await client.method(QUEUE_DECLARE_OK)
    client.send(1, { id: CONFIRM_SELECT, noWait: false })
    await client.method(CONFIRM_SELECT_OK)
    client.publish(1, 'q', 'body')
    expect(await client.method(BASIC_ACK)).toMatchObject({ deliveryTag: 1 })
    const closing = broker.close()
    expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
      replyCode: 320,
      replyText: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
    })
    client.send(0, { id: CONNECTION_CLOSE_OK })
    await closing
    expect(await client.closed()).toEqual([])
  })
})

describe('[connection.blocked]', () => {
  const memoryLimitBytes = 1024 * 1024
  const large = 'x'.repeat(100_000)

  test('a publisher is told, read no more while it is blocked, and told when it may go on', async () => {
    const { broker, port } = await serve({ memoryLimitBytes })
    const consumer = await channelTo(port)
    await consumer.declareQueue('full')
    const client = await rawChannel(port, { clientProperties: { capabilities: { 'connection.blocked': true } } })
    for (let sent = 0; sent < 11; sent++) client.publish(1, 'full', large)
    expect(await client.method(CONNECTION_BLOCKED)).toMatchObject({ reason: 'low on memory' })
    client.publish(1, 'full', 'behind the block')
    // Whoever only consumes goes on.
    await consumer.get('full', { noAck: true })
    expect(broker.vhost.inspect('full')?.ready).toBe(10)
    await consumer.purgeQueue('full')
    await client.method(CONNECTION_UNBLOCKED)
    await eventually('the rest was read', () => broker.vhost.inspect('full')?.ready === 1)
  })

  test('clients that do not know the word are not told, and blocked all the same', async () => {
    const { broker, port } = await serve({ memoryLimitBytes })
    const consumer = await channelTo(port)
    await consumer.declareQueue('full')
    const client = await rawChannel(port)
    for (let sent = 0; sent < 11; sent++) client.publish(1, 'full', large)
    await eventually('it is full', () => broker.vhost.blocked)
    client.publish(1, 'full', 'behind the block')
    await consumer.purgeQueue('full')
    await eventually('the rest was read', () => broker.vhost.inspect('full')?.ready === 1)
    expect(client.events).toEqual([])
  })

  test('our client sees it, and what it sends meanwhile arrives', async () => {
    const { broker, port } = await serve({ memoryLimitBytes })
    const consumer = await channelTo(port)
    await consumer.declareQueue('full')
    const connection = await connected(port)
    const channel = await connection.openChannel()
    const blocked = new Promise<string>(resolve => connection.onBlocked(resolve))
    const unblocked = new Promise<void>(resolve => connection.onUnblocked(resolve))
    for (let sent = 0; sent < 11; sent++) channel.publish('', 'full', {}, Buffer.from(large))
    expect(await blocked).toBe('low on memory')
    channel.publish('', 'full', {}, Buffer.from('last'))
    await consumer.purgeQueue('full')
    await unblocked
    await eventually('the last is there', () => broker.vhost.inspect('full')?.ready === 1)
  })
})

describe('[slow clients]', () => {
  test('a consumer that does not read gets no more than the socket and a bound hold; the rest stays in the queue', async () => {
    const { broker, port } = await serve()
    const producer = await channelTo(port)
    await producer.declareQueue('slow')
    const body = Buffer.alloc(100_000)
    const messages = 400
    await producer.confirmSelect()
    await Promise.all(Array.from({ length: messages }, () => producer.publishAndConfirm('', 'slow', {}, body)))
    const client = await rawChannel(port)
    client.socket.pause()
    client.send(1, {
      id: BASIC_CONSUME,
      queue: 'slow',
      consumerTag: 'c',
      noLocal: false,
      noAck: true,
      exclusive: false,
      noWait: true,
      arguments: {},
    })
    await eventually('it has begun', () => broker.vhost.inspect('slow')!.ready < messages)
    let before = -1
    await eventually('it has stopped', async () => {
      const { ready } = broker.vhost.inspect('slow')!
      await new Promise(resolve => setTimeout(resolve, 50))
      const still = ready === before
      before = ready
      return still
    })
    // 40 MB were to be had; the kernel's buffers take a few of them, the broker's own bound is half of one.
    expect(before).toBeGreaterThan(messages / 2)
    client.socket.resume()
    for (let received = 0; received < messages; received++) {
      const { method, body: got } = await client.content(BASIC_DELIVER)
      expect(method.deliveryTag).toBe(received + 1)
      expect(got.length).toBe(body.length)
    }
  })

  test('a client that asks and asks and does not read is not read from any more', async () => {
    const { broker, port } = await serve()
    const producer = await channelTo(port)
    await producer.declareQueue('asked')
    const messages = 800
    await producer.confirmSelect()
    const body = Buffer.alloc(100_000)
    await Promise.all(Array.from({ length: messages }, () => producer.publishAndConfirm('', 'asked', {}, body)))
    const client = await rawChannel(port)
    client.socket.pause()
    const get = encodeMethodFrame(1, { id: BASIC_GET, queue: 'asked', noAck: true })
    // More than one chunk of requests, or they would all be read at once.
    for (let asked = 0; asked < messages; asked++) {
      client.socket.write(get)
      if (asked % 50 === 49) await new Promise(resolve => setTimeout(resolve, 5))
    }
    expect(broker.vhost.inspect('asked')!.ready).toBeGreaterThan(messages / 4)
    client.socket.resume()
    for (let received = 0; received < messages; received++) expect((await client.next()).kind).toBe('content')
    expect(broker.vhost.inspect('asked')!.ready).toBe(0)
  })
})
