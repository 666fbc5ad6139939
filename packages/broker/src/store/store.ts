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

/** A message to append. */
export interface Addition {
  readonly message: BrokerMessage
  readonly queueIds: readonly number[]
  /** Its properties say when it expires or is due, and recovery must look at them. */
  readonly timed: boolean
}

export interface QueueDefinition {
  readonly kind: 'queue'
  readonly id: number
  readonly name: string
  readonly autoDelete: boolean
  readonly arguments: FieldTable
}

interface ExchangeDefinition {
  readonly kind: 'exchange'
  readonly name: string
  readonly type: string
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
}

interface BindingDefinition {
  readonly kind: 'binding'
  readonly source: string
  readonly destinationKind: 'queue' | 'exchange'
  readonly destination: string
  readonly routingKey: string
  readonly arguments: FieldTable
}

export type Definition = QueueDefinition | ExchangeDefinition | BindingDefinition

/** A message found on disk, and the queues in which it is not settled. */
export interface RecoveredMessage {
  readonly place: RecordPlace
  /** Smaller comes first in a queue. */
  readonly order: number
  readonly bodyBytes: number
  /** Milliseconds since the epoch. */
  readonly publishedAt: number
  /** The message, where its properties say when it expires or is due. */
  readonly timed: BrokerMessage | undefined
  readonly holders: readonly {
    readonly queueId: number
    readonly redelivered: boolean
    readonly returns: number
  }[]
}

/** Bytes of a file that could not be read. */
export interface Damage {
  readonly path: string
  readonly offset: number
  readonly bytes: number
}

/** A message was handed out for the first time, came back, or was handed out after it had come back. */
export type Note = 'delivered' | 'returned' | 'delivered-again'

export interface Store {
  /** The last commit number that is on disk. */
  readonly committed: number
  /** The commit number of what was appended or defined last. */
  readonly appended: number
  /** Called after each sync with the new `committed`. */
  onCommitted: (committed: number) => void
  /** Why the store cannot write for now; undefined when it can. It keeps everything and tries again by itself. */
  onTrouble: (reason: string | undefined) => void
  /**
   * Little of these segments is still wanted: whoever knows where it is may `rewrite` it, and the files can go. Answers
   * of how many segments everything was written anew.
   */
  onSparse: (segments: ReadonlySet<Segment>) => number
  /**
   * Writes the message at this place anew, for these queues, and settles it there in the same record: the segment it
   * was in can go. Undefined when it cannot be read. It keeps its place in the order.
   */
  rewrite(place: RecordPlace, queueIds: readonly number[]): { place: RecordPlace; message: BrokerMessage } | undefined
  /**
   * Appends a message for these queues; `instead` leaves its queue in the same record. `timed`: its properties say when
   * it expires or is due, and recovery must look at them. Throws what encoding throws.
   */
  append(
    message: BrokerMessage,
    queueIds: readonly number[],
    instead: Settlement | undefined,
    timed: boolean,
  ): RecordPlace
  /**
   * Appends messages, and settles others, in one step: recovery finds all of it or nothing. Under one commit number.
   * Throws AmqpError, also when it is too much for one step, and has then done nothing.
   */
  appendGroup(additions: readonly Addition[], instead: readonly Settlement[]): RecordPlace[]
  /** The queue is done with the message. Written soon, without a sync: a crash may bring the message back. */
  settle(queueId: number, place: RecordPlace): void
  /** What happened to the message, which has come back `returns` times by now. Written soon, without a sync. */
  note(queueId: number, place: RecordPlace, what: Note, returns: number): void
  /** Writes what was settled and noted, without a sync: a kill of the process does not lose it from here on. */
  writeNotes(): void
  /** The message, which has been committed; undefined when the disk cannot give it back. */
  read(place: RecordPlace): BrokerMessage | undefined
  define(definition: Definition): number
  remove(definition: Definition): number
  /** What recovery found to have moved is settled by now: whatever is not needed any more can go. */
  recovered(): void
  /** A number for a new queue. */
  nextQueueId(): number
}
