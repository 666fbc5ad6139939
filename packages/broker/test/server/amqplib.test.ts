import { type ChannelModel, type ConsumeMessage, connect } from 'amqplib'
import { expect, onTestFinished, test } from 'vitest'
import { eventually, serve } from './serving.ts'

async function amqplib(port: number): Promise<ChannelModel> {
  const connection = await connect(`amqp://guest:guest@127.0.0.1:${port}`)
  // Closed by the broker or by the test itself: either is fine, and what the test saw is what counts.
  connection.on('error', () => undefined)
  onTestFinished(() => connection.close().catch(() => undefined))
  return connection
}

/** The message of the error that closes the channel. */
function closing(channel: { on(event: 'error', listener: (error: Error) => void): unknown }): Promise<string> {
  return new Promise(resolve => {
    channel.on('error', error => resolve(error.message))
  })
}

test('[amqplib] publishes 5,000 with confirms and consumes them in order with acknowledgements', async () => {
  const { broker, port } = await serve()
  const connection = await amqplib(port)
  const out = await connection.createConfirmChannel()
  await out.assertQueue('q')
  const channel = await connection.createChannel()
  await channel.prefetch(100)
  const seen: number[] = []
  await channel.consume('q', message => {
    seen.push(Number(message!.content.toString()))
    channel.ack(message!)
  })
  const sent = Array.from({ length: 5000 }, (_, at) => at)
  for (const number of sent) out.sendToQueue('q', Buffer.from(String(number)), { persistent: true })
  await out.waitForConfirms()
  await eventually('all are settled', () => {
    return seen.length === 5000 && broker.vhost.inspect('q')?.unsettled === 0
  })
  expect(seen).toEqual(sent)
})

test('[amqplib] topic exchange, exclusive queue, properties and headers', async () => {
  const { port } = await serve()
  const channel = await (await amqplib(port)).createChannel()
  await channel.assertExchange('events', 'topic', { durable: false })
  const { queue } = await channel.assertQueue('', { exclusive: true })
  await channel.bindQueue(queue, 'events', 'order.*')
  const received = new Promise<ConsumeMessage | null>(resolve => {
    void channel.consume(queue, resolve, { noAck: true })
  })
  channel.publish('events', 'bill.placed', Buffer.from('not for us'))
  channel.publish('events', 'order.placed', Buffer.from('{}'), {
    contentType: 'application/json',
    headers: { attempt: 1, names: ['a', 'b'], deep: { er: null } },
    messageId: 'm',
    timestamp: 1_700_000_000,
  })
  expect(await received).toMatchObject({
    fields: { exchange: 'events', routingKey: 'order.placed', redelivered: false },
    properties: {
      contentType: 'application/json',
      headers: { attempt: 1, names: ['a', 'b'], deep: { er: null } },
      messageId: 'm',
      timestamp: 1_700_000_000,
    },
  })
})

test('[amqplib] a large body travels in frames of the agreed size', async () => {
  const { port } = await serve()
  const channel = await (await amqplib(port)).createConfirmChannel()
  await channel.assertQueue('q')
  const body = Buffer.alloc(3_000_000, 'abcdefg')
  channel.sendToQueue('q', body)
  await channel.waitForConfirms()
  const got = await channel.get('q', { noAck: true })
  expect(got !== false && got.content.equals(body)).toBe(true)
})

test('[amqplib] hears why its channel is closed', async () => {
  const { port } = await serve()
  const connection = await amqplib(port)
  const channel = await connection.createChannel()
  await channel.assertQueue('q', { durable: false })
  const why = closing(channel)
  await expect(channel.assertQueue('q', { durable: true })).rejects.toThrow(/406.*inequivalent arg 'durable'/)
  expect(await why).toMatch(/406 \(PRECONDITION-FAILED\)/)
  await (await connection.createChannel()).checkQueue('q')
})

test('[amqplib] a consumer is told with null when its queue is deleted', async () => {
  const { port } = await serve()
  const connection = await amqplib(port)
  const channel = await connection.createChannel()
  await channel.assertQueue('q')
  const told = new Promise<unknown>(resolve => {
    void channel.consume('q', resolve)
  })
  await (await connection.createChannel()).deleteQueue('q')
  expect(await told).toBeNull()
})

test('[amqplib] a wrong password is refused', async () => {
  const { port } = await serve()
  await expect(connect(`amqp://guest:wrong@127.0.0.1:${port}`)).rejects.toThrow(/403|ACCESS/)
})
