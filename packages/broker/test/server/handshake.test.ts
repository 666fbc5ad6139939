import {
  CHANNEL_OPEN,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_OPEN,
  CONNECTION_OPEN_OK,
  CONNECTION_START,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  encodeMethodFrame,
  protocolHeader,
} from '@chasqui/amqp'
import { expect, test } from 'vitest'
import { channelTo, connected, eventually, rawConnected, rawOpened, serve, socketTo } from './serving.ts'

const knowsClose = { capabilities: { authentication_failure_close: true } }

test('offers what RabbitMQ offers and says who it is', async () => {
  const { port } = await serve()
  const client = await rawConnected(port)
  await client.login()
  expect(client.serverProperties).toMatchObject({
    product: 'Chasqui',
    version: expect.stringMatching(/^\d+\.\d+\.\d+/),
    capabilities: {
      publisher_confirms: true,
      'basic.nack': true,
      consumer_cancel_notify: true,
      exchange_exchange_bindings: true,
      'connection.blocked': true,
      authentication_failure_close: true,
      per_consumer_qos: true,
    },
  })
  expect(await client.method(CONNECTION_TUNE)).toMatchObject({ channelMax: 2047, frameMax: 131_072, heartbeat: 60 })
})

test.each([
  ['HTTP', 'GET / HTTP/1.1\r\n\r\n'],
  ['AMQP 1.0', 'AMQP\0\x01\0\0'],
  ['AMQP 0-9', 'AMQP\x01\x01\0\x09'],
  ['something from 0 to 255', String.fromCharCode(...Array.from({ length: 256 }, (_, at) => at))],
])('[header] answers %s with its own header and closes [amqp 4.2.2]', async (_what, bytes) => {
  const { port } = await serve()
  const client = await rawConnected(port)
  client.socket.write(Buffer.from(bytes, 'latin1'))
  expect(await client.closed()).toEqual([{ kind: 'header', bytes: Buffer.from(protocolHeader).toString('latin1') }])
  await channelTo(port)
})

test('[login] a wrong password is told to clients that know how to hear it, and closes', async () => {
  const { port } = await serve()
  const client = await rawConnected(port)
  await client.login({ password: 'wrong', clientProperties: knowsClose })
  expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
    replyCode: 403,
    replyText: expect.stringMatching(/^ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN/),
    classId: 0,
    methodId: 0,
  })
  client.send(0, { id: CONNECTION_CLOSE_OK })
  expect(await client.closed()).toEqual([])
})

test('[login] a wrong password closes the socket of other clients without a word', async () => {
  const { port } = await serve()
  const client = await rawConnected(port)
  await client.login({ password: 'wrong' })
  expect(await client.closed()).toEqual([])
})

test('[login] our client hears a wrong password as an authentication error', async () => {
  const { port } = await serve()
  await expect(connected(port, { password: 'wrong' })).rejects.toMatchObject({ code: 'authentication' })
})

test('[vhost] there is / and no other', async () => {
  const { port } = await serve()
  const client = await rawConnected(port)
  await client.login()
  await client.tuneAndOpen({ vhost: 'other' })
  expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
    replyCode: 530,
    replyText: 'NOT_ALLOWED - vhost other not found',
    classId: 10,
    methodId: 40,
  })
})

test.each([
  [{ frameMax: 200_000 }, 'frame_max = 200000 is higher than the maximum allowed value (131072)'],
  [{ frameMax: 0 }, 'frame_max = 0 is higher than the maximum allowed value (131072)'],
  [{ frameMax: 4095 }, 'frame_max = 4095 is lower than the minimum allowed value (4096)'],
  [{ channelMax: 2048 }, 'channel_max = 2048 is higher than the maximum allowed value (2047)'],
])('[tune] refuses %j', async (tuning, text) => {
  const { port } = await serve()
  const client = await rawConnected(port)
  await client.login()
  await client.tuneAndOpen(tuning)
  expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
    replyCode: 530,
    replyText: `NOT_ALLOWED - negotiated ${text}`,
  })
})

test('[tune] sends no frame beyond what the client takes', async () => {
  const { port } = await serve()
  const connection = await connected(port, { frameMax: 4096 })
  const channel = await connection.openChannel()
  await channel.declareQueue('small-frames')
  const body = Buffer.alloc(100_000, 'x')
  channel.publish('', 'small-frames', {}, body)
  expect((await channel.get('small-frames'))?.body.equals(body)).toBe(true)
})

test.each([
  ['a channel before the connection', 1, { id: CHANNEL_OPEN }],
  ['connection.open before tune', 0, { id: CONNECTION_OPEN, virtualHost: '/' }],
  ['tune-ok before tune', 0, { id: CONNECTION_TUNE_OK, channelMax: 1, frameMax: 4096, heartbeat: 0 }],
] as const)('[order] %s closes the connection', async (_what, channel, method) => {
  const { port } = await serve()
  const client = await rawConnected(port)
  client.socket.write(protocolHeader)
  await client.method(CONNECTION_START)
  client.send(channel, method)
  expect(await client.method(CONNECTION_CLOSE)).toMatchObject({ replyCode: 504 })
})

/** A whole handshake as one client says it, in one piece. */
const whole = Buffer.concat([
  protocolHeader,
  encodeMethodFrame(0, {
    id: CONNECTION_START_OK,
    clientProperties: { product: 'test', ...knowsClose },
    mechanism: 'PLAIN',
    response: '\0guest\0guest',
    locale: 'en_US',
  }),
  encodeMethodFrame(0, { id: CONNECTION_TUNE_OK, channelMax: 10, frameMax: 4096, heartbeat: 0 }),
  encodeMethodFrame(0, { id: CONNECTION_OPEN, virtualHost: '/' }),
])

test('[chunks] takes a handshake that comes byte by byte', async () => {
  const { port } = await serve()
  const client = await rawConnected(port)
  for (const byte of whole) client.socket.write(Buffer.of(byte))
  await client.method(CONNECTION_START)
  await client.method(CONNECTION_TUNE)
  await client.method(CONNECTION_OPEN_OK)
})

test('[chunks] survives a client that goes at any byte of its handshake, and forgets it', async () => {
  const { broker, port } = await serve()
  for (let length = 0; length < whole.length; length++) {
    const socket = await socketTo(port)
    // Some leave politely, some do not.
    if (length % 2 === 0) socket.end(whole.subarray(0, length))
    else socket.write(whole.subarray(0, length), () => socket.resetAndDestroy())
  }
  const channel = await channelTo(port)
  expect((await channel.declareQueue('')).queue).toMatch(/^amq\.gen-/)
  expect(broker.vhost.queueNames()).toHaveLength(1)
})

test('[channels] as many as were agreed on, and no more', async () => {
  const { port } = await serve()
  const client = await rawOpened(port, { channelMax: 2 })
  await client.openChannel(1)
  await client.openChannel(2)
  client.send(3, { id: CHANNEL_OPEN })
  expect(await client.method(CONNECTION_CLOSE)).toMatchObject({
    replyCode: 530,
    replyText: 'NOT_ALLOWED - number of channels opened (2) has reached the negotiated channel_max (2)',
  })
})

test('[exclusive queues] go with the connection that made them', async () => {
  const { broker, port } = await serve()
  const connection = await connected(port)
  await (await connection.openChannel()).declareQueue('mine', { exclusive: true })
  expect(broker.vhost.queueNames()).toEqual(['mine'])
  connection.destroy()
  await eventually('the queue is gone', () => broker.vhost.queueNames().length === 0)
})
