/**
 * What the engine may ask of the store. Everything returns at once: appends gather in memory until the sync that
 * is under way has ended, then go to disk together. What was appended under a commit number is on disk when `committed`
 * has reached it; numbers only grow.
 */
import type { FieldTable } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { Segment } from './segment.ts'

/** Where the store keeps a message. */
export interface RecordPlace {
  readonly segment: Segment
  /** Which message of the segment, counted from 0. */
  readonly ordinal: number
  /** Of the record within the segment's file, in bytes. */
  readonly offset: number
  readonly length: number
}

/** A message that leaves its queue in the same step in which another is appended: a dead letter, a move. */
export interface Settlement {
  readonly queueId: number
  readonly place: RecordPlace
}

export interface QueueDefinition {
  readonly kind: 'queue'
  readonly id: number
  readonly name: string
  readonly autoDelete: boolean
  readonly arguments: FieldTable
}

export interface ExchangeDefinition {
  readonly kind: 'exchange'
  readonly name: string
  readonly type: string
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
}

export interface BindingDefinition {
  readonly kind: 'binding'
  readonly source: string
  readonly destinationKind: 'queue' | 'exchange'
  readonly destination: string
  readonly routingKey: string
  readonly arguments: FieldTable
}

export type Definition = QueueDefinition | ExchangeDefinition | BindingDefinition

export interface Store {
  /** The last commit number that is on disk. */
  readonly committed: number
  /** The commit number of what was appended last. */
  readonly appended: number
  /** Called after each sync with the new `committed`. */
  onCommitted: (committed: number) => void
  /** Why the store cannot write for now; undefined when it can. It keeps everything and tries again by itself. */
  onTrouble: (reason: string | undefined) => void
  /** Appends a message for these queues; `instead` leaves its queue in the same record. */
  append(message: BrokerMessage, queueIds: readonly number[], instead?: Settlement): RecordPlace
  /** The queue is done with the message. Written soon, without a sync: a crash may bring the message back. */
  settle(queueId: number, place: RecordPlace): void
  /** The message was handed out, or came back `returns` times. Written soon, without a sync. */
  note(queueId: number, place: RecordPlace, returns: number): void
  read(place: RecordPlace): BrokerMessage
  define(definition: Definition): number
  remove(definition: Definition): number
  /** A number for a new queue. */
  nextQueueId(): number
  /** Resolves when everything appended before is on disk. */
  flush(): Promise<void>
  close(): Promise<void>
}
