/** One consumer of one queue: its credit, and the batch that it is about to get. */
import type { Item } from './item.ts'
import type { ConsumeOrder } from './key-lock.ts'
import type { Queue } from './queue.ts'

/** The session as its consumers see it. */
export interface ConsumerSession {
  /** The session as a whole takes one more delivery. */
  readonly hasCredit: boolean
  /** Makes a delivery of the item and gathers it in the consumer's batch. */
  give(consumer: Consumer, item: Item): void
  /** The consumer's queue is deleted. */
  queueDeleted(consumer: Consumer): void
}

export class Consumer {
  readonly tag: string
  readonly queue: Queue
  readonly noAck: boolean
  readonly exclusive: boolean
  readonly order: ConsumeOrder
  /** Greater gets its messages first (RabbitMQ, "Consumer Priorities"). */
  readonly priority: number
  /** Unsettled deliveries at most; 0 means without limit. */
  prefetch: number
  /** Delivered to it and not settled. */
  unsettled = 0
  /** Stands in the queue's list of consumers that may have credit. */
  willing = false
  readonly #session: ConsumerSession

  constructor(
    session: ConsumerSession,
    queue: Queue,
    options: {
      tag: string
      noAck: boolean
      exclusive: boolean
      prefetch: number
      order: ConsumeOrder
      priority: number
    },
  ) {
    this.#session = session
    this.queue = queue
    this.tag = options.tag
    this.noAck = options.noAck
    this.exclusive = options.exclusive
    this.prefetch = options.prefetch
    this.order = options.order
    this.priority = options.priority
  }

  get hasCredit(): boolean {
    return (this.noAck || this.prefetch === 0 || this.unsettled < this.prefetch) && this.#session.hasCredit
  }

  give(item: Item): void {
    this.#session.give(this, item)
  }

  queueDeleted(): void {
    this.#session.queueDeleted(this)
  }
}
