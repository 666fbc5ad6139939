/** What the requests of a channel may be told. */

import type { FieldTable } from '../field-table.ts'

export interface QueueOptions {
  /** Only look: `NOT_FOUND` where there is none, and nothing else is compared. Default false. */
  readonly passive?: boolean | undefined
  /** Survives a restart of the broker. Default false. */
  readonly durable?: boolean | undefined
  /** Only for this connection, and deleted with it. Default false. */
  readonly exclusive?: boolean | undefined
  /** Deleted when its last consumer is gone. Default false. */
  readonly autoDelete?: boolean | undefined
  /** The broker's own: `x-queue-type` and the like. */
  readonly arguments?: FieldTable | undefined
}

export interface ExchangeOptions {
  readonly passive?: boolean | undefined
  readonly durable?: boolean | undefined
  /** Deleted when its last binding is gone. Default false. */
  readonly autoDelete?: boolean | undefined
  /** Takes messages from other exchanges only. Default false. */
  readonly internal?: boolean | undefined
  readonly arguments?: FieldTable | undefined
}

export interface ConsumeOptions {
  /** Default: the broker makes one. */
  readonly consumerTag?: string | undefined
  /** Messages count as settled once sent. Default false. */
  readonly noAck?: boolean | undefined
  /** No other consumer beside. Default false. */
  readonly exclusive?: boolean | undefined
  readonly arguments?: FieldTable | undefined
}

export interface PublishOptions {
  /** A message that no queue takes comes back. Default false. */
  readonly mandatory?: boolean | undefined
}
