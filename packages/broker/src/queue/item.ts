/**
 * A message inside the engine: one `Envelope` however many queues hold it, one `Item` for each of them.
 *
 *     publish -> Envelope <- Item in queue A     ready | delivered
 *                         <- Item in queue B     ready | delivered
 *
 * The envelope is free when its last item is settled.
 */
import type { BrokerMessage } from '../message.ts'
import type { RecordPlace } from '../store/store.ts'
import type { HeldKey } from './key-lock.ts'

/** What an envelope weighs beside its body, in bytes: the objects that carry it. Measured, rounded up. */
export const envelopeBytes = 192

export class Envelope {
  /** Absent while only the store holds the content. */
  message: BrokerMessage | undefined
  /** Length of the body, in bytes. */
  readonly bodyBytes: number
  /** How many items are unsettled. */
  references = 0
  /** Where the store keeps it; absent for what is only in memory. */
  place: RecordPlace | undefined
  /** When its publisher lets it expire, in milliseconds since the epoch; 0: never. */
  expiresAt = 0
  /** Not handed out before, in milliseconds since the epoch; 0: at once. */
  notBefore = 0

  constructor(message: BrokerMessage | undefined, bodyBytes: number, place: RecordPlace | undefined) {
    this.message = message
    this.bodyBytes = bodyBytes
    this.place = place
  }
}

export class Item {
  readonly envelope: Envelope
  /** Its place in the queue's order. A returned item keeps it. */
  position: number
  /** Its priority in a queue that has some. */
  level = 0
  /** In milliseconds since the epoch; 0: never. */
  expiresAt = 0
  /** While it is delayed: until when, in milliseconds since the epoch. */
  dueAt = 0
  delayedId: string | undefined = undefined
  /** Was cancelled while it was delayed. */
  cancelled = false
  /** The key that it holds, or is the next to hold. */
  held: HeldKey | undefined = undefined
  /** Handed out before, and not settled then. */
  redelivered = false
  /** How often it came back. */
  returns = 0
  /** The store keeps this item: message persistent, queue durable. */
  readonly stored: boolean

  constructor(envelope: Envelope, position: number, stored: boolean) {
    this.envelope = envelope
    this.position = position
    this.stored = stored
  }
}
