/**
 * A message as it stands between the core and a driver: metadata by name, the body as bytes.
 *
 * The core fills it on the way out and reads it on the way in; a driver translates it to and from its
 * engine's wire and changes nothing. Inside one process it travels by reference, so nobody writes to a
 * message, its headers or its body once it was handed over.
 */

/** What a header may hold. Chasqui's users send strings, numbers and booleans; foreign programs also send the rest. */
export type HeaderValue =
  | string
  | number
  | boolean
  | bigint
  | null
  | Date
  | Uint8Array
  | readonly HeaderValue[]
  | { readonly [name: string]: HeaderValue }

export type Headers = Readonly<Record<string, HeaderValue>>

export interface WireMessage {
  /** CloudEvents `id`. Absent when the sender knows nothing of Chasqui. */
  readonly id?: string
  /** CloudEvents `type`, the contract's type name. Absent when the sender knows nothing of Chasqui. */
  readonly type?: string
  /**
   * Other CloudEvents attributes by their bare lower-case names (`source`, `causationid`, `tenantid`, `dataschema`...).
   * A driver writes each under its engine's prefix and takes the prefix off on the way in. `time` and
   * `partitionkey` are not among them: they are the fields `time` and `key`.
   */
  readonly attributes: Readonly<Record<string, string>>
  /** The user's headers, and Chasqui's own under the prefix `chasqui_` (see `headerPrefix`). */
  readonly headers: Headers
  readonly contentType?: string
  readonly contentEncoding?: string
  /** Messages of one key keep their order. CloudEvents `partitionkey`. */
  readonly key?: string
  readonly correlationId?: string
  /** The name of the queue that takes the reply. */
  readonly replyTo?: string
  /** When the message came to be, in milliseconds since the epoch. CloudEvents `time`. */
  readonly time?: number
  /** When it ceases to be worth delivering, in milliseconds since the epoch. */
  readonly expiresAt?: number
  /** Not to be delivered before this moment, in milliseconds since the epoch. */
  readonly notBefore?: number
  /** Survives a restart of the engine, on a destination that does too. */
  readonly durable: boolean
  readonly body: Uint8Array
}

/** The prefixes under which metadata travels where an engine has no field of its own for it. */
export const headerPrefix = {
  /** CloudEvents attributes on AMQP 0-9-1 and AMQP 1.0 (underscore, so that JMS can read them). */
  amqpCloudEvents: 'cloudEvents_',
  /** CloudEvents attributes on Kafka (CloudEvents Kafka protocol binding, section 3.2). */
  kafkaCloudEvents: 'ce_',
  /** What Chasqui itself notes on a message: attempts, and why it was dead-lettered. */
  chasqui: 'chasqui_',
} as const

/** Where a message is sent. A subscription is a target too, so that retries and redrives reach that one alone. */
export type Target =
  | { readonly kind: 'queue' | 'topic' | 'reply'; readonly name: string }
  | { readonly kind: 'subscription'; readonly topic: string; readonly name: string }

/** Where messages are received from. */
export type Source =
  | { readonly kind: 'queue' | 'reply'; readonly name: string }
  | { readonly kind: 'subscription'; readonly topic: string; readonly name: string }

export interface Outgoing {
  readonly to: Target
  readonly message: WireMessage
}

/** One delivery of one message. */
export interface Incoming {
  /** Names the delivery for `settle`; unique in its lane and epoch. */
  readonly tag: number
  readonly message: WireMessage
  /** The engine has handed this message out before; some consumer may have seen it. */
  readonly redelivered: boolean
  /** How often the engine has handed it out, this time included, where the engine counts (`properties.countsDeliveries`). */
  readonly deliveries?: number
}

/** Deliveries of one lane, in order. */
export interface Batch {
  /** The engine's unit of order: a queue, a partition. */
  readonly lane: string
  /** Changes when the lane was lost and taken again (reconnect, rebalance); tags of an earlier epoch are stale. */
  readonly epoch: number
  readonly items: readonly Incoming[]
}
