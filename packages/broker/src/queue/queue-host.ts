/** What a queue asks of the virtual host that it is in. */
import type { Item } from './item.ts'
import type { Queue } from './queue.ts'

/** Why a message leaves a queue unconsumed, in RabbitMQ's words for `x-death`. */
export type DeathReason = 'rejected' | 'maxlen' | 'delivery_limit' | 'expired'

/** What a queue asks of its virtual host. */
export interface QueueHost {
  /** The queue has something to hand out: call its `dispatch` soon. */
  wake(queue: Queue): void
  /** The item is done with: free its content, note it in the store. */
  settled(queue: Queue, item: Item): void
  /** The item leaves unconsumed: publish it to the dead letter exchange, then settle it. */
  died(queue: Queue, item: Item, reason: DeathReason): void
  /** The item is being handed out; the store may note it. */
  handedOut(queue: Queue, item: Item): void
  /** The item came back; the store may note it. */
  cameBack(queue: Queue, item: Item): void
  /** Brings the item's content back into memory; false when it cannot be read, and the item is lost to this queue. */
  load(item: Item): boolean
  /** The message's key; the empty one where it has none. */
  keyOf(item: Item): string
  /** The message's priority; 0 where it has none. */
  priorityOf(item: Item): number
  /** The message's id. */
  idOf(item: Item): string | undefined
  /** Milliseconds since the epoch. */
  now(): number
  /** Call the queue's `ring` at that moment, or soon after. */
  alarm(queue: Queue, at: number): void
  /** Nobody has used the queue for as long as `x-expires` says. */
  unused(queue: Queue): void
}
