/** Refusals, word for word as RabbitMQ 3.10.8 answered when it was asked the same. */
import type { FieldTable } from '@chasqui/amqp'
import type { Session } from '@chasqui/broker'
import { describe, expect, test } from 'vitest'
import { bodyOf, dispatched, drain, message, openClient, refused, startBroker } from '../engine.ts'

const queue = "queue 'q' in vhost '/'"
const exchange = "exchange 'x' in vhost '/'"
const notThere = "NOT_FOUND - no queue 'none' in vhost '/'"
const noExchange = "NOT_FOUND - no exchange 'none' in vhost '/'"
const onDefault = 'ACCESS_REFUSED - operation not permitted on the default exchange'
const locked =
  "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration."

type Case = readonly [string, number, string, (session: Session) => unknown]

const declare = (session: Session, args: FieldTable, durable = true) =>
  session.declareQueue({ queue: 'new', durable, arguments: args })

const cases: readonly Case[] = [
  [
    'durable differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'durable' for ${queue}: received 'false' but current is 'true'`,
    s => s.declareQueue({ queue: 'q' }),
  ],
  [
    'auto-delete differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'auto_delete' for ${queue}: received 'true' but current is 'false'`,
    s => s.declareQueue({ queue: 'q', durable: true, autoDelete: true }),
  ],
  ['exclusive differs', 405, locked, s => s.declareQueue({ queue: 'q', durable: true, exclusive: true })],
  [
    'argument that was absent',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for ${queue}: received the value 'x' of type 'longstr' but current is none`,
    s => s.declareQueue({ queue: 'q', durable: true, arguments: { 'x-dead-letter-exchange': 'x', 'x-max-length': 5 } }),
  ],
  [
    'argument that is absent',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for ${queue}: received none but current is the value '5' of type 'signedint'`,
    s => s.declareQueue({ queue: 'q', durable: true }),
  ],
  [
    'argument that differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for ${queue}: received '6' but current is '5'`,
    s => s.declareQueue({ queue: 'q', durable: true, arguments: { 'x-max-length': 6 } }),
  ],
  [
    'type of an existing queue',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for ${queue}: received the value 'quorum' of type 'longstr' but current is none`,
    s => s.declareQueue({ queue: 'q', durable: true, arguments: { 'x-queue-type': 'quorum', 'x-max-length': 5 } }),
  ],
  [
    'unknown type',
    406,
    `PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'new' in vhost '/': "unsupported queue type 'foo'"`,
    s => declare(s, { 'x-queue-type': 'foo' }),
  ],
  [
    'negative length',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'new' in vhost '/': {value_negative,-1}",
    s => declare(s, { 'x-max-length': -1 }),
  ],
  [
    'length that is no number',
    406,
    `PRECONDITION_FAILED - invalid arg 'x-max-length' for queue 'new' in vhost '/': "expected integer, got longstr"`,
    s => declare(s, { 'x-max-length': 'a' }),
  ],
  [
    'unknown overflow',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-overflow' for queue 'new' in vhost '/': invalid_overflow",
    s => declare(s, { 'x-overflow': 'foo' }),
  ],
  [
    'unknown mode',
    406,
    `PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue 'new' in vhost '/': "unsupported queue mode 'x'"`,
    s => declare(s, { 'x-queue-mode': 'x' }),
  ],
  [
    'unknown strategy',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-dead-letter-strategy' for queue 'new' in vhost '/': invalid_dlx_strategy",
    s => declare(s, { 'x-queue-type': 'quorum', 'x-dead-letter-strategy': 'foo' }),
  ],
  [
    'routing key without exchange',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-dead-letter-routing-key' for queue 'new' in vhost '/': routing_key_but_no_dlx_defined",
    s => declare(s, { 'x-dead-letter-routing-key': 'k' }),
  ],
  [
    'exchange that is no name',
    406,
    "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'new' in vhost '/'",
    s => declare(s, { 'x-dead-letter-exchange': 3 }),
  ],
  [
    'delivery limit on a classic queue',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'new' in vhost '/' of queue type rabbit_classic_queue",
    s => declare(s, { 'x-delivery-limit': 3 }),
  ],
  [
    'mode on a quorum queue',
    406,
    "PRECONDITION_FAILED - invalid arg 'x-queue-mode' for queue 'new' in vhost '/' of queue type rabbit_quorum_queue",
    s => declare(s, { 'x-queue-type': 'quorum', 'x-queue-mode': 'lazy' }),
  ],
  [
    'quorum not durable',
    406,
    "PRECONDITION_FAILED - invalid property 'non-durable' for queue 'new' in vhost '/'",
    s => declare(s, { 'x-queue-type': 'quorum' }, false),
  ],
  [
    'quorum exclusive',
    406,
    "PRECONDITION_FAILED - invalid property 'exclusive-owner' for queue 'new' in vhost '/'",
    s => s.declareQueue({ queue: 'new', durable: true, exclusive: true, arguments: { 'x-queue-type': 'quorum' } }),
  ],
  [
    'quorum auto-delete',
    406,
    "PRECONDITION_FAILED - invalid property 'auto-delete' for queue 'new' in vhost '/'",
    s => s.declareQueue({ queue: 'new', durable: true, autoDelete: true, arguments: { 'x-queue-type': 'quorum' } }),
  ],
  [
    'reserved queue name',
    403,
    "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'",
    s => s.declareQueue({ queue: 'amq.foo' }),
  ],
  [
    'reserved exchange name',
    403,
    "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'",
    s => s.declareExchange({ exchange: 'amq.foo', type: 'direct' }),
  ],
  [
    'unknown exchange type',
    503,
    "COMMAND_INVALID - invalid exchange type 'foo'",
    s => s.declareExchange({ exchange: 'y', type: 'foo' }),
  ],
  [
    'exchange type differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'type' for ${exchange}: received 'topic' but current is 'direct'`,
    s => s.declareExchange({ exchange: 'x', type: 'topic', durable: true }),
  ],
  [
    'exchange durable differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'durable' for ${exchange}: received 'false' but current is 'true'`,
    s => s.declareExchange({ exchange: 'x', type: 'direct' }),
  ],
  [
    'exchange internal differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'internal' for ${exchange}: received 'true' but current is 'false'`,
    s => s.declareExchange({ exchange: 'x', type: 'direct', durable: true, internal: true }),
  ],
  [
    'exchange auto-delete differs',
    406,
    `PRECONDITION_FAILED - inequivalent arg 'auto_delete' for ${exchange}: received 'true' but current is 'false'`,
    s => s.declareExchange({ exchange: 'x', type: 'direct', durable: true, autoDelete: true }),
  ],
  [
    'declare the default exchange',
    403,
    onDefault,
    s => s.declareExchange({ exchange: '', type: 'direct', durable: true }),
  ],
  ['look for the default exchange', 403, onDefault, s => s.declareExchange({ exchange: '', type: '', passive: true })],
  ['delete the default exchange', 403, onDefault, s => s.deleteExchange({ exchange: '' })],
  [
    'delete a system exchange',
    403,
    "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    s => s.deleteExchange({ exchange: 'amq.direct' }),
  ],
  [
    'look for a missing exchange',
    404,
    noExchange,
    s => s.declareExchange({ exchange: 'none', type: '', passive: true }),
  ],
  ['look for a missing queue', 404, notThere, s => s.declareQueue({ queue: 'none', passive: true })],
  [
    'look for a queue without a name',
    404,
    "NOT_FOUND - no queue '' in vhost '/'",
    s => s.declareQueue({ queue: '', passive: true }),
  ],
  ['purge a missing queue', 404, notThere, s => s.purgeQueue({ queue: 'none' })],
  ['consume from a missing queue', 404, notThere, s => s.consume({ queue: 'none' })],
  ['get from a missing queue', 404, notThere, s => s.get('none', true)],
  ['bind to the default exchange', 403, onDefault, s => s.bindQueue({ queue: 'q', exchange: '', routingKey: 'k' })],
  [
    'unbind from the default exchange',
    403,
    onDefault,
    s => s.unbindQueue({ queue: 'q', exchange: '', routingKey: 'k' }),
  ],
  ['bind to a missing exchange', 404, noExchange, s => s.bindQueue({ queue: 'q', exchange: 'none', routingKey: 'k' })],
  ['bind a missing queue', 404, notThere, s => s.bindQueue({ queue: 'none', exchange: 'x', routingKey: 'k' })],
  [
    'bind a missing exchange',
    404,
    noExchange,
    s => s.bindExchange({ destination: 'none', source: 'x', routingKey: 'k' }),
  ],
  ['bind the default exchange', 403, onDefault, s => s.bindExchange({ destination: '', source: 'x', routingKey: 'k' })],
  [
    'no queue declared before',
    404,
    'NOT_FOUND - no previously declared queue',
    s => s.bindQueue({ queue: '', exchange: 'x', routingKey: 'k' }),
  ],
  [
    'publish to a missing exchange',
    404,
    noExchange,
    s => s.publish(message('', { exchange: 'none', routingKey: 'k' })),
  ],
  [
    'publish to an internal exchange',
    403,
    "ACCESS_REFUSED - cannot publish to internal exchange 'inner' in vhost '/'",
    s => s.publish(message('', { exchange: 'inner', routingKey: 'k' })),
  ],
  ['acknowledge tag 0', 406, 'PRECONDITION_FAILED - unknown delivery tag 0', s => s.ack(0, false)],
  [
    'delete a queue that has messages',
    406,
    `PRECONDITION_FAILED - ${queue} not empty`,
    s => s.deleteQueue({ queue: 'q', ifEmpty: true }),
  ],
  [
    'delete a queue that has consumers',
    406,
    "PRECONDITION_FAILED - queue 'used' in vhost '/' in use",
    s => s.deleteQueue({ queue: 'used', ifUnused: true }),
  ],
  [
    'delete an exchange that has bindings',
    406,
    `PRECONDITION_FAILED - ${exchange} in use`,
    s => s.deleteExchange({ exchange: 'x', ifUnused: true }),
  ],
  [
    'global qos on a quorum queue',
    540,
    "NOT_IMPLEMENTED - queue 'quorum' in vhost '/' does not support global qos",
    s => {
      s.qos(5, true)
      s.consume({ queue: 'quorum' })
    },
  ],
]

describe('refusals', () => {
  test.each(cases)('[%s] %i %s', async (_title, code, text, call) => {
    const broker = await startBroker()
    const { session: first } = openClient(broker)
    first.declareQueue({ queue: 'q', durable: true, arguments: { 'x-max-length': 5 } })
    if (text.includes('current is none')) {
      first.deleteQueue({ queue: 'q' })
      first.declareQueue({ queue: 'q', durable: true })
    }
    first.declareQueue({ queue: 'quorum', durable: true, arguments: { 'x-queue-type': 'quorum' } })
    first.declareQueue({ queue: 'used' })
    first.consume({ queue: 'used' })
    first.declareExchange({ exchange: 'x', type: 'direct', durable: true })
    first.declareExchange({ exchange: 'inner', type: 'direct', internal: true })
    first.bindQueue({ queue: 'q', exchange: 'x', routingKey: 'bound' })
    first.publish(message('waits', { routingKey: 'q' }))
    const { session } = openClient(broker)
    refused(() => call(session), code, text, code >= 500 ? 'connection' : 'channel')
  })

  test('[no error] what RabbitMQ lets pass', async () => {
    const { session } = openClient(await startBroker())
    session.declareQueue({ queue: 'q', durable: true, arguments: { 'x-mine': 1 } })
    session.declareQueue({ queue: 'q', durable: true, arguments: { 'x-other': 2, 'x-queue-type': 'classic' } })
    session.declareExchange({ exchange: 'amq.direct', type: 'direct', durable: true })
    expect(session.deleteQueue({ queue: 'none' })).toEqual({ messageCount: 0, commit: 0 })
    expect(session.deleteExchange({ exchange: 'none' })).toEqual({ commit: 0 })
    session.unbindQueue({ queue: 'none', exchange: 'amq.direct', routingKey: 'k' })
    session.unbindQueue({ queue: 'q', exchange: 'none', routingKey: 'k' })
    session.unbindQueue({ queue: 'q', exchange: 'amq.direct', routingKey: 'k' })
    session.ack(0, true)
  })
})

describe('queues', () => {
  test('[name] the broker makes one up, and it stands for the empty name from then on', async () => {
    const { session } = openClient(await startBroker())
    const { queue: name } = session.declareQueue({ queue: '' })
    expect(name).toMatch(/^amq\.gen-[\w-]{22}$/)
    session.bindQueue({ queue: '', exchange: 'amq.direct', routingKey: '' })
    // With neither name nor key the key is the queue's name.
    expect(session.publish(message('m', { exchange: 'amq.direct', routingKey: name })).routed).toBe(1)
    expect(session.get('', true)).toBeDefined()
    expect(session.declareQueue({ queue: name, passive: true })).toMatchObject({ queue: name })
  })

  test('[declare] again tells how many messages wait and who consumes', async () => {
    const { session } = openClient(await startBroker())
    session.declareQueue({ queue: 'q' })
    session.publish(message('1', { routingKey: 'q' }))
    session.publish(message('2', { routingKey: 'q' }))
    session.consume({ queue: 'q', prefetch: 1 })
    await dispatched()
    expect(session.declareQueue({ queue: 'q' })).toEqual({ queue: 'q', messageCount: 1, consumerCount: 1, commit: 0 })
  })

  test('[exclusive] others are kept out, and it goes with its connection', async () => {
    const broker = await startBroker()
    const mine = openClient(broker)
    const sister = openClient(broker, undefined, mine.owner)
    const other = openClient(broker)
    mine.session.declareQueue({ queue: 'q', exclusive: true })
    sister.session.declareQueue({ queue: 'q', exclusive: true })
    const attempts: ((session: Session) => unknown)[] = [
      s => s.declareQueue({ queue: 'q' }),
      s => s.declareQueue({ queue: 'q', exclusive: true }),
      s => s.declareQueue({ queue: 'q', passive: true }),
      s => s.consume({ queue: 'q' }),
      s => s.get('q', true),
      s => s.purgeQueue({ queue: 'q' }),
      s => s.deleteQueue({ queue: 'q' }),
      s => s.bindQueue({ queue: 'q', exchange: 'amq.direct', routingKey: '' }),
    ]
    for (const attempt of attempts) refused(() => attempt(other.session), 405, locked, 'channel')
    refused(() => sister.session.declareQueue({ queue: 'q' }), 405, locked, 'channel')
    expect(other.session.publish(message('m', { routingKey: 'q' })).routed).toBe(1)
    mine.session.close()
    expect(broker.vhost.inspect('q')).toBeDefined()
    broker.vhost.ownerGone(mine.owner)
    expect(broker.vhost.inspect('q')).toBeUndefined()
  })

  test('[auto-delete] goes with its last consumer, and not before it had one', async () => {
    const broker = await startBroker()
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q', autoDelete: true })
    session.consume({ queue: 'q', consumerTag: 'a' })
    session.consume({ queue: 'q', consumerTag: 'b' })
    session.cancel('a')
    expect(broker.vhost.inspect('q')).toBeDefined()
    session.close()
    expect(broker.vhost.inspect('q')).toBeUndefined()
  })

  test('[delete] tells the consumers, drops what waits, and settling afterwards is no error', async () => {
    const broker = await startBroker()
    const client = openClient(broker)
    const other = openClient(broker)
    client.session.declareQueue({ queue: 'q' })
    client.session.bindQueue({ queue: 'q', exchange: 'amq.fanout', routingKey: '' })
    client.session.consume({ queue: 'q', consumerTag: 'c', prefetch: 2 })
    for (const body of ['1', '2', '3']) client.session.publish(message(body, { routingKey: 'q' }))
    await dispatched()
    expect(other.session.deleteQueue({ queue: 'q' })).toEqual({ messageCount: 1, commit: 0 })
    expect(client.cancelled).toEqual(['c'])
    client.session.ack(1, false)
    client.session.nack(2, false, true)
    expect(broker.vhost.memoryBytes).toBe(0)
    expect(client.session.publish(message('', { exchange: 'amq.fanout', routingKey: '' })).routed).toBe(0)
    client.session.consume({ queue: client.session.declareQueue({ queue: 'q' }).queue, consumerTag: 'c' })
  })

  test('[purge] empties what waits and leaves what is out', async () => {
    const broker = await startBroker()
    const { session } = openClient(broker)
    session.declareQueue({ queue: 'q' })
    for (const body of ['1', '2', '3']) session.publish(message(body, { routingKey: 'q' }))
    const { tag } = session.get('q', false)!
    expect(session.purgeQueue({ queue: 'q' })).toEqual({ messageCount: 2, commit: 0 })
    session.nack(tag, false, true)
    expect(drain(session, 'q').map(bodyOf)).toEqual(['1'])
  })
})
