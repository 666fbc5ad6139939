/**
 * What a message looks like once it has died (RabbitMQ, "Dead Letter Exchanges"): the same body and properties, and
 * the header `x-death`, newest first, one table per queue and reason.
 */
import { AmqpError, type BasicProperties, encodeProperties, type FieldTable, type FieldValue } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { DeathReason } from './queue-host.ts'

/** A message made of another with some of its properties changed; they are encoded only when somebody needs bytes. */
export class DerivedMessage implements BrokerMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  readonly body: Uint8Array
  readonly persistent: boolean
  #propertyBytes: Uint8Array | undefined

  constructor(
    original: BrokerMessage,
    change: { exchange?: string; routingKey?: string; properties: BasicProperties },
  ) {
    this.exchange = change.exchange ?? original.exchange
    this.routingKey = change.routingKey ?? original.routingKey
    this.properties = change.properties
    this.body = original.body
    this.persistent = original.persistent
  }

  get propertyBytes(): Uint8Array {
    this.#propertyBytes ??= encodeProperties(this.properties)
    return this.#propertyBytes
  }
}

/** The properties, or none where the bytes are malformed: the message must be got rid of somehow. */
export function readableProperties(message: BrokerMessage): BasicProperties {
  try {
    return message.properties
  } catch (error) {
    if (error instanceof AmqpError) return message.persistent ? { deliveryMode: 2 } : {}
    throw error
  }
}

export function deadLetter(
  original: BrokerMessage,
  death: { queue: string; reason: DeathReason; exchange: string; routingKey: string | undefined; now: number },
): BrokerMessage {
  const { headers = {}, expiration, ...rest } = readableProperties(original)
  const deaths = tables(headers['x-death'])
  const at = deaths.findIndex(entry => entry.queue === death.queue && entry.reason === death.reason)
  const before = at < 0 ? undefined : deaths[at]
  const entry: FieldTable =
    before === undefined
      ? {
          count: 1n,
          reason: death.reason,
          queue: death.queue,
          time: new Date(Math.floor(death.now / 1000) * 1000),
          exchange: original.exchange,
          'routing-keys': [original.routingKey],
          ...(expiration === undefined ? {} : { 'original-expiration': expiration }),
        }
      : { ...before, count: BigInt(Number(before.count ?? 0)) + 1n }
  const others = at < 0 ? deaths : deaths.toSpliced(at, 1)
  // Whatever stands there counts as an earlier death, as in RabbitMQ.
  const first: FieldTable =
    headers['x-death'] === undefined
      ? {
          'x-first-death-exchange': original.exchange,
          'x-first-death-queue': death.queue,
          'x-first-death-reason': death.reason,
        }
      : {}
  return new DerivedMessage(original, {
    exchange: death.exchange,
    routingKey: death.routingKey ?? original.routingKey,
    properties: { ...rest, headers: { ...headers, ...first, 'x-death': [entry, ...others] } },
  })
}

/**
 * True when the message would come back to a queue in which it has died before without a consumer having refused
 * it since: it would circle for ever, so it is dropped there, as RabbitMQ does.
 */
export function circles(dead: BrokerMessage, queue: string): boolean {
  const deaths = tables(dead.properties.headers?.['x-death'])
  const at = deaths.findIndex(entry => entry.queue === queue)
  return at >= 0 && deaths.slice(0, at + 1).every(entry => entry.reason !== 'rejected')
}

function tables(value: FieldValue | undefined): readonly FieldTable[] {
  return Array.isArray(value) ? value.filter(isTable) : []
}

function isTable(value: FieldValue): value is FieldTable {
  return (
    typeof value === 'object' &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Date) &&
    !(value instanceof Uint8Array)
  )
}
