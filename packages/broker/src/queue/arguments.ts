/**
 * The arguments of queue.declare (`x-...`): one table of name, type, range, effect. Names that are not in it are kept
 * and have no effect, as in RabbitMQ.
 */
import type { FieldTable, FieldValue } from '@chasqui/amqp'
import { preconditionFailed } from '../vhost/refusal.ts'
import { longestTimeMs } from './timing.ts'

type QueueType = 'classic' | 'quorum'
type Overflow = 'drop-head' | 'reject-publish' | 'reject-publish-dlx'

/** What the arguments of one queue say, with RabbitMQ's defaults. */
export interface QueueSettings {
  readonly type: QueueType
  /** A message that came back more often than this is dead-lettered. */
  readonly deliveryLimit: number | undefined
  readonly deadLetterExchange: string | undefined
  /** Absent: the message keeps its own routing key. */
  readonly deadLetterRoutingKey: string | undefined
  /** Waiting messages, at most. */
  readonly maxLength: number | undefined
  /** Bytes of the bodies of waiting messages, at most. */
  readonly maxBytes: number | undefined
  readonly overflow: Overflow
  /** How long a message may wait, in milliseconds. */
  readonly messageTtlMs: number | undefined
  /** How long the queue may be unused, in milliseconds. */
  readonly expiresMs: number | undefined
  readonly singleActiveConsumer: boolean
  /** Messages of greater priority come first, up to this one. */
  readonly maxPriority: number | undefined
}

interface Argument {
  readonly type: 'name' | 'choice' | 'count' | 'positive' | 'integer' | 'boolean'
  /** The greatest number allowed, and RabbitMQ's word for a greater one, where it is not `value_too_large`. */
  readonly most?: number
  readonly beyond?: string
  /** The values allowed. */
  readonly oneOf?: readonly string[]
  /** RabbitMQ's words for another value; `%` stands for it. */
  readonly otherwise?: string
  /** Queue types that know it. */
  readonly queues: readonly QueueType[]
  readonly effect: string
}

const both: readonly QueueType[] = ['classic', 'quorum']

const queueArguments = {
  'x-queue-type': { type: 'name', queues: both, effect: 'classic (the default) or quorum' },
  'x-delivery-limit': {
    type: 'integer',
    queues: ['quorum'],
    effect: 'dead-letters a message that came back more often; negative: no limit',
  },
  'x-dead-letter-exchange': { type: 'name', queues: both, effect: 'where dead-lettered messages are published' },
  'x-dead-letter-routing-key': { type: 'name', queues: both, effect: 'with which routing key; else their own' },
  'x-dead-letter-strategy': {
    type: 'choice',
    oneOf: ['at-most-once', 'at-least-once'],
    otherwise: 'invalid_dlx_strategy',
    queues: ['quorum'],
    effect: 'accepted; a dead letter is one move in the store here, so both mean at least once',
  },
  'x-overflow': {
    type: 'choice',
    oneOf: ['drop-head', 'reject-publish', 'reject-publish-dlx'],
    otherwise: 'invalid_overflow',
    queues: both,
    effect: 'what a full queue does',
  },
  'x-max-length': { type: 'count', queues: both, effect: 'how many messages may wait' },
  'x-max-length-bytes': { type: 'count', queues: both, effect: 'how many bytes of bodies may wait' },
  'x-queue-mode': {
    type: 'choice',
    oneOf: ['default', 'lazy'],
    otherwise: '"unsupported queue mode \'%\'"',
    queues: ['classic'],
    effect: 'accepted, no effect',
  },
  'x-queue-version': { type: 'count', queues: ['classic'], effect: 'accepted, no effect' },
  'x-queue-leader-locator': {
    type: 'choice',
    oneOf: ['client-local', 'balanced', 'random', 'least-leaders', 'min-masters'],
    otherwise: 'invalid_queue_locator_arg',
    queues: both,
    effect: 'accepted, no effect: one node',
  },
  'x-quorum-initial-group-size': { type: 'count', queues: ['quorum'], effect: 'accepted, no effect: one node' },
  'x-max-in-memory-length': { type: 'count', queues: ['quorum'], effect: 'accepted, no effect' },
  'x-max-in-memory-bytes': { type: 'count', queues: ['quorum'], effect: 'accepted, no effect' },
  'x-message-ttl': {
    type: 'count',
    most: longestTimeMs,
    queues: both,
    effect: 'for how many milliseconds a message may wait',
  },
  'x-expires': {
    type: 'positive',
    most: longestTimeMs,
    queues: both,
    effect: 'after how many milliseconds without use the queue goes',
  },
  'x-single-active-consumer': { type: 'boolean', queues: both, effect: 'one consumer at a time' },
  'x-max-priority': {
    type: 'count',
    most: 255,
    beyond: 'max_value_exceeded',
    queues: ['classic'],
    effect: 'messages of greater priority come first, up to this one',
  },
} as const satisfies Record<string, Argument>

const table = new Map<string, Argument>(Object.entries(queueArguments))

/** Reads and checks the arguments; `described` is the queue as it stands in a refusal: `queue 'q' in vhost '/'`. */
export function readQueueArguments(args: FieldTable, described: string): QueueSettings {
  const type = args['x-queue-type'] ?? 'classic'
  if (type !== 'classic' && type !== 'quorum') {
    const why =
      typeof type === 'string' ? `"unsupported queue type '${type}'"` : `{unacceptable_type,${amqpType(type)}}`
    throw preconditionFailed(`invalid arg 'x-queue-type' for ${described}: ${why}`)
  }
  for (const name of Object.keys(args)) {
    const argument = table.get(name)
    if (argument === undefined) continue
    if (!argument.queues.includes(type)) {
      throw preconditionFailed(`invalid arg '${name}' for ${described} of queue type rabbit_${type}_queue`)
    }
    if (name.startsWith('x-dead-letter') && argument.type === 'name' && typeof args[name] !== 'string') {
      throw preconditionFailed(`invalid type '${amqpType(args[name]!)}' for arg '${name}' in ${described}`)
    }
    const wrong = whatIsWrong(argument, args[name]!)
    if (wrong !== undefined) throw preconditionFailed(`invalid arg '${name}' for ${described}: ${wrong}`)
  }
  const routingKey = text(args['x-dead-letter-routing-key'])
  const exchange = text(args['x-dead-letter-exchange'])
  if (routingKey !== undefined && exchange === undefined) {
    throw preconditionFailed(`invalid arg 'x-dead-letter-routing-key' for ${described}: routing_key_but_no_dlx_defined`)
  }
  return {
    type,
    deliveryLimit: limit(args['x-delivery-limit']),
    deadLetterExchange: exchange,
    deadLetterRoutingKey: routingKey,
    maxLength: count(args['x-max-length']),
    maxBytes: count(args['x-max-length-bytes']),
    overflow: overflowOf(type, text(args['x-overflow']) as Overflow | undefined),
    messageTtlMs: count(args['x-message-ttl']),
    expiresMs: count(args['x-expires']),
    singleActiveConsumer: args['x-single-active-consumer'] === true,
    maxPriority: count(args['x-max-priority']),
  }
}

/** Refuses a declaration whose arguments differ from those of the existing queue, in RabbitMQ's words. */
export function checkSameArguments(existing: FieldTable, wanted: FieldTable, described: string): void {
  checkSame(table.keys(), existing, wanted, described)
}

/** The same for an exchange, of whose arguments only this one counts. */
export function checkSameAlternate(existing: FieldTable, wanted: FieldTable, described: string): void {
  checkSame(['alternate-exchange'], existing, wanted, described)
}

function checkSame(names: Iterable<string>, existing: FieldTable, wanted: FieldTable, described: string): void {
  for (const name of names) {
    const before = existing[name]
    const now = wanted[name]
    if (before === now || sameNumber(before, now)) continue
    if (name === 'x-queue-type' && (before ?? 'classic') === (now ?? 'classic')) continue
    const [received, current] =
      before === undefined || now === undefined ? [shown(now), shown(before)] : [`'${now}'`, `'${before}'`]
    throw preconditionFailed(
      `inequivalent arg '${name}' for ${described}: received ${received} but current is ${current}`,
    )
  }
}

/** Quorum queues do not know `reject-publish-dlx` and take the default for it, as in RabbitMQ. */
function overflowOf(type: QueueType, overflow: Overflow = 'drop-head'): Overflow {
  return type === 'quorum' && overflow === 'reject-publish-dlx' ? 'drop-head' : overflow
}

function whatIsWrong(argument: Argument, value: FieldValue): string | undefined {
  const unacceptable = `{unacceptable_type,${amqpType(value)}}`
  switch (argument.type) {
    case 'count':
    case 'positive':
    case 'integer':
      if ((typeof value !== 'number' && typeof value !== 'bigint') || !Number.isInteger(Number(value))) {
        return `"expected integer, got ${amqpType(value)}"`
      }
      if (value < 0 && argument.type !== 'integer') return `{value_negative,${value}}`
      if (Number(value) === 0 && argument.type === 'positive') return '{value_zero,0}'
      return argument.most !== undefined && value > argument.most
        ? `{${argument.beyond ?? 'value_too_large'},${value}}`
        : undefined
    case 'boolean':
      return typeof value === 'boolean' ? undefined : unacceptable
    case 'name':
      if (typeof value !== 'string') return unacceptable
      return Buffer.byteLength(value) > 255 ? '"longer than 255 bytes"' : undefined
    case 'choice':
      if (typeof value !== 'string') return unacceptable
      return argument.oneOf?.includes(value) ? undefined : argument.otherwise?.replace('%', value)
  }
}

function sameNumber(a: FieldValue | undefined, b: FieldValue | undefined): boolean {
  const numeric = (value: FieldValue | undefined) => typeof value === 'number' || typeof value === 'bigint'
  return numeric(a) && numeric(b) && Number(a) === Number(b)
}

function shown(value: FieldValue | undefined): string {
  return value === undefined ? 'none' : `the value '${String(value)}' of type '${amqpType(value)}'`
}

/** RabbitMQ's name of the type that a value has on the wire. */
export function amqpType(value: FieldValue): string {
  switch (typeof value) {
    case 'string':
      return 'longstr'
    case 'boolean':
      return 'bool'
    case 'bigint':
      return 'long'
    case 'number':
      return Number.isInteger(value) ? (value === (value | 0) ? 'signedint' : 'long') : 'double'
  }
  if (value === null) return 'void'
  if (value instanceof Date) return 'timestamp'
  if (value instanceof Uint8Array) return 'binary'
  return Array.isArray(value) ? 'array' : 'table'
}

function text(value: FieldValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function count(value: FieldValue | undefined): number | undefined {
  return value === undefined ? undefined : Number(value)
}

function limit(value: FieldValue | undefined): number | undefined {
  const most = count(value)
  return most === undefined || most < 0 ? undefined : most
}
