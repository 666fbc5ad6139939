import {
  BASIC_ACK,
  BASIC_GET,
  BASIC_QOS,
  BASIC_RECOVER,
  BASIC_REJECT,
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_FLOW,
  CHANNEL_OPEN,
  CONNECTION_CLOSE,
  EXCHANGE_BIND,
  EXCHANGE_DELETE,
  type FieldTable,
  type Method,
  methodNames,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
  QUEUE_DELETE,
  QUEUE_PURGE,
} from '@chasqui/amqp'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  bind as bindBy,
  consume as consumeAs,
  exchange as declareExchange,
  queue as declareQueue,
  rabbitmqPort,
  rabbitmqUrl,
} from './differential.ts'
import type { RawClient } from './raw-client.ts'
import { connected, rawChannel, serve } from './serving.ts'

const queue = (name: string, change: object = {}): Method => declareQueue(name, {}, change)
const exchange = (name: string, type: string, change: object = {}): Method => declareExchange(name, type, {}, change)
const consume = (name: string, change: object = {}): Method => consumeAs(name, 'tag', { noAck: true, ...change })
const quorum = (more: FieldTable = {}) => ({ durable: true, arguments: { 'x-queue-type': 'quorum', ...more } })
const bind = (name: string, source: string): Method => bindBy(name, source, 'k')
const absent = 'chasqui-differential-absent'

/** Each is sent on one channel in order; the last is the wrong one. `NAME` stands for a queue and exchange of the test's own. */
const wrong: readonly (readonly [string, (name: string) => readonly Method[]])[] = [
  ['passive queue that is absent', () => [queue(absent, { passive: true })]],
  ['durable differs', name => [queue(name), queue(name, { durable: true })]],
  ['auto-delete differs', name => [queue(name), queue(name, { autoDelete: true })]],
  ['exclusive differs', name => [queue(name), queue(name, { exclusive: true })]],
  ['argument missing', name => [queue(name, { arguments: { 'x-max-length': 5 } }), queue(name)]],
  [
    'argument differs',
    name => [queue(name, { arguments: { 'x-max-length': 5 } }), queue(name, { arguments: { 'x-max-length': 6 } })],
  ],
  ['type differs', name => [queue(name, { durable: true }), queue(name, quorum())]],
  ['reserved queue name', () => [queue('amq.chasqui')]],
  ['unknown queue type', name => [queue(name, { durable: true, arguments: { 'x-queue-type': 'mirrored' } })]],
  ['quorum, not durable', name => [queue(name, { arguments: { 'x-queue-type': 'quorum' } })]],
  ['quorum, exclusive', name => [queue(name, { ...quorum(), exclusive: true })]],
  ['quorum, auto-delete', name => [queue(name, { ...quorum(), autoDelete: true })]],
  ['x-max-length negative', name => [queue(name, { arguments: { 'x-max-length': -1 } })]],
  ['x-max-length as text', name => [queue(name, { arguments: { 'x-max-length': 'five' } })]],
  ['x-dead-letter-exchange as number', name => [queue(name, { arguments: { 'x-dead-letter-exchange': 5 } })]],
  ['dead letter key without exchange', name => [queue(name, { arguments: { 'x-dead-letter-routing-key': 'k' } })]],
  ['delivery limit on a classic queue', name => [queue(name, { arguments: { 'x-delivery-limit': 5 } })]],
  ['delete a queue that is not empty', name => [queue(name), ...deleteOf(name, { ifEmpty: true })]],
  ['delete a queue in use', name => [queue(name), consume(name), ...deleteOf(name, { ifUnused: true })]],
  ['purge a queue that is absent', () => [{ id: QUEUE_PURGE, queue: absent, noWait: false }]],
  ['bind a queue that is absent', () => [bind(absent, 'amq.direct')]],
  ['bind to an exchange that is absent', name => [queue(name), bind(name, absent)]],
  ['bind to the default exchange', name => [queue(name), bind(name, '')]],
  [
    'bind an exchange that is absent',
    () => [
      { id: EXCHANGE_BIND, destination: absent, source: 'amq.topic', routingKey: '', noWait: false, arguments: {} },
    ],
  ],
  ['passive exchange that is absent', () => [exchange(absent, 'direct', { passive: true })]],
  // A word that Erlang has met: of those that it has not, RabbitMQ says `unknown` in place of `invalid`.
  ['unknown exchange type', name => [exchange(name, 'foo')]],
  ['exchange type differs', name => [exchange(name, 'direct'), exchange(name, 'fanout')]],
  ['exchange durable differs', name => [exchange(name, 'direct'), exchange(name, 'direct', { durable: true })]],
  ['reserved exchange name', () => [exchange('amq.chasqui', 'direct')]],
  ['declare the default exchange', () => [exchange('', 'direct')]],
  ['delete the default exchange', () => [{ id: EXCHANGE_DELETE, exchange: '', ifUnused: false, noWait: false }]],
  ['delete a system exchange', () => [{ id: EXCHANGE_DELETE, exchange: 'amq.topic', ifUnused: false, noWait: false }]],
  ['consume a queue that is absent', () => [consume(absent)]],
  ['consume what was not declared', () => [consume('')]],
  ['consumer tag twice', name => [queue(name), consume(name), consume(name)]],
  [
    'exclusive consumer of a queue in use',
    name => [queue(name), consume(name), consume(name, { consumerTag: 'other', exclusive: true })],
  ],
  ['get from a queue that is absent', () => [{ id: BASIC_GET, queue: absent, noAck: true }]],
  ['get from what was not declared', () => [{ id: BASIC_GET, queue: '', noAck: true }]],
  ['ack an unknown tag', () => [{ id: BASIC_ACK, deliveryTag: 7, multiple: false }]],
  ['ack up to an unknown tag', () => [{ id: BASIC_ACK, deliveryTag: 7, multiple: true }]],
  ['reject an unknown tag', () => [{ id: BASIC_REJECT, deliveryTag: 7, requeue: true }]],
  ['a prefetch size', () => [{ id: BASIC_QOS, prefetchSize: 10, prefetchCount: 0, global: false }]],
  [
    'global prefetch on a quorum queue',
    name => [queue(name, quorum()), { id: BASIC_QOS, prefetchSize: 0, prefetchCount: 5, global: true }, consume(name)],
  ],
  ['flow off', () => [{ id: CHANNEL_FLOW, active: false }]],
  ['recover to the same consumer', () => [{ id: BASIC_RECOVER, requeue: false }]],
  ['open twice', () => [{ id: CHANNEL_OPEN }]],
  ['close-ok out of nowhere', () => [{ id: CHANNEL_CLOSE_OK }]],
  ["a server's method", () => [{ id: QUEUE_DECLARE_OK, queue: '', messageCount: 0, consumerCount: 0 }]],
]

function deleteOf(name: string, change: object): Method[] {
  return [{ id: QUEUE_DELETE, queue: name, ifUnused: false, ifEmpty: false, noWait: false, ...change }]
}

/** What the broker says to all of it: the closing method, or the last answer. */
async function verdict(client: RawClient, methods: readonly Method[], name: string): Promise<string> {
  for (const method of methods.slice(0, -1)) {
    client.send(1, method)
    const event = await client.next()
    if (event.kind !== 'method' || event.method.id === CHANNEL_CLOSE || event.method.id === CONNECTION_CLOSE) {
      throw new Error(`not meant to be wrong: ${JSON.stringify(event)}`)
    }
    // A queue with something in it is not empty.
    if (method.id === QUEUE_DECLARE && methods.at(-1)!.id === QUEUE_DELETE) client.publish(1, name, 'x')
  }
  client.send(1, methods.at(-1)!)
  for (;;) {
    const event = await client.next()
    if (event.kind !== 'method') continue
    const { method } = event
    if (method.id !== CHANNEL_CLOSE && method.id !== CONNECTION_CLOSE) return methodNames.get(method.id)!
    const { replyCode, replyText, classId, methodId } = method
    return `${methodNames.get(method.id)} ${replyCode} ${replyText} (${classId}, ${methodId})`
  }
}

async function removed(port: number, name: string): Promise<void> {
  const connection = await connected(port)
  const channel = await connection.openChannel()
  await channel.deleteQueue(name)
  await channel.deleteExchange(name)
  await connection.close()
}

describe.runIf(rabbitmqUrl)('says what RabbitMQ says: code, text, scope, method', () => {
  test.each(wrong)('%s', async (_what, methods) => {
    const name = `chasqui-differential-${process.pid}-${Math.random().toString(36).slice(2)}`
    onTestFinished(() => removed(rabbitmqPort, name))
    const { port } = await serve()
    const ours = await verdict(await rawChannel(port), methods(name), name)
    const theirs = await verdict(await rawChannel(rabbitmqPort), methods(name), name)
    expect(ours).toBe(theirs)
    expect(theirs).toMatch(/\.close \d{3} /)
  })
})
