/**
 * One queue: who waits, what waits, who gets the next message.
 *
 *     publish -> ready -> (dispatch, round robin over consumers with credit) -> delivered -> settled
 *                  ^                                                              |
 *                  +------------------- given back, to its old place -------------+
 *
 * It leaves routing and refusals to the virtual host, and files to the store.
 */
import type { FieldTable } from '@chasqui/amqp'
import type { QueueSettings } from './arguments.ts'
import type { Consumer } from './consumer.ts'
import { type Envelope, Item } from './item.ts'
import { ReadyList } from './ready-list.ts'

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
  /** The item was handed out or came back; the store may note it. */
  touched(queue: Queue, item: Item): void
  /** Brings the item's content back into memory; false when it cannot be read, and the item is lost to this queue. */
  load(item: Item): boolean
}

/** Deliveries in one turn of one queue; then others come first. */
const turnDeliveries = 512
/** Bytes of bodies in one turn of one queue, so that a consumer can say stop in between. */
const turnBytes = 1_048_576

export class Queue {
  readonly kind = 'queue'
  readonly name: string
  /** Its number in the store; unique within the data directory and never used again. */
  readonly id: number
  readonly durable: boolean
  readonly autoDelete: boolean
  /** The connection that alone may use it. */
  readonly owner: object | undefined
  readonly arguments: FieldTable
  readonly settings: QueueSettings
  readonly ready = new ReadyList()
  readonly consumers: Consumer[] = []
  /** An exclusive consumer holds it. */
  exclusivelyConsumed = false
  deleted = false
  /** Delivered and not settled. */
  unsettled = 0
  /** Waits in the virtual host's list of queues to be dispatched. */
  awake = false
  /** Bytes of the bodies of waiting messages. */
  readyBytes = 0
  readonly #host: QueueHost
  readonly #bounded: boolean
  /** Consumers that may have credit, in the order in which they get their next message. */
  readonly #willing: Consumer[] = []
  #turn = 0
  #disordered = false
  #position = 0

  constructor(
    declared: {
      name: string
      id: number
      durable: boolean
      autoDelete: boolean
      owner: object | undefined
      arguments: FieldTable
      settings: QueueSettings
    },
    host: QueueHost,
  ) {
    this.name = declared.name
    this.id = declared.id
    this.durable = declared.durable
    this.autoDelete = declared.autoDelete
    this.owner = declared.owner
    this.arguments = declared.arguments
    this.settings = declared.settings
    this.#host = host
    this.#bounded = declared.settings.maxLength !== undefined || declared.settings.maxBytes !== undefined
  }

  /** True when `x-overflow: reject-publish` keeps one more message out. */
  get full(): boolean {
    const { maxLength, maxBytes, overflow } = this.settings
    if (!this.#bounded || overflow === 'drop-head') return false
    return (
      (maxLength !== undefined && this.ready.length >= maxLength) ||
      (maxBytes !== undefined && this.readyBytes >= maxBytes)
    )
  }

  /** Appends a message. */
  push(envelope: Envelope, stored: boolean): Item {
    const item = new Item(envelope, ++this.#position, stored)
    envelope.references++
    this.ready.push(item)
    this.readyBytes += envelope.bodyBytes
    if (this.#bounded && this.#overflows()) {
      // Whoever is ready to take messages gets them before the limit takes them away.
      if (this.#willing.length > 0) this.dispatch()
      this.#dropHead()
    }
    if (!this.awake && this.#willing.length > 0) this.#host.wake(this)
    return item
  }

  /** Appends a message that the store kept, at its place in the store's order; see `restored`. */
  restore(envelope: Envelope, order: number, redelivered: boolean, returns: number): void {
    const item = new Item(envelope, order, true)
    if (order < this.#position) this.#disordered = true
    else this.#position = order
    item.redelivered = redelivered
    item.returns = returns
    envelope.references++
    this.ready.push(item)
    this.readyBytes += envelope.bodyBytes
  }

  /** Everything that the store kept is there: puts in order what a rewritten segment brought late. */
  restored(): void {
    if (!this.#disordered) return
    this.#disordered = false
    for (const item of this.ready.clear().sort((a, b) => a.position - b.position)) this.ready.push(item)
  }

  /** Takes out what waits and fits, without settling it. */
  remove(fits: (item: Item) => boolean): Item[] {
    const removed: Item[] = []
    for (const item of this.ready.clear()) {
      if (fits(item)) removed.push(item)
      else this.ready.push(item)
    }
    for (const item of removed) this.readyBytes -= item.envelope.bodyBytes
    return removed
  }

  /** Takes the first message out for somebody who will settle it. */
  take(): Item | undefined {
    for (;;) {
      const item = this.ready.shift()
      if (item === undefined) return undefined
      this.readyBytes -= item.envelope.bodyBytes
      if (item.envelope.message === undefined && !this.#host.load(item)) continue
      this.unsettled++
      return item
    }
  }

  /** A delivered item is done with. */
  settle(item: Item): void {
    this.unsettled--
    this.#host.settled(this, item)
  }

  /** A delivered item is refused for good. */
  reject(item: Item): void {
    this.unsettled--
    if (this.deleted) this.#host.settled(this, item)
    else this.#host.died(this, item, 'rejected')
  }

  /** An item that was taken and never left goes back to its place as if nothing had happened. */
  undo(item: Item): void {
    this.unsettled--
    this.#putBack(item)
  }

  /** A delivered item goes back to its place. `counted`: it counts as a failed attempt. */
  giveBack(item: Item, counted: boolean): void {
    this.unsettled--
    item.redelivered = true
    if (counted) item.returns++
    if (this.deleted) {
      this.#host.settled(this, item)
      return
    }
    const limit = this.settings.deliveryLimit
    if (limit !== undefined && item.returns > limit) {
      this.#host.died(this, item, 'delivery_limit')
      return
    }
    this.#host.touched(this, item)
    this.#putBack(item)
  }

  /** Empties the waiting part; the number of messages that went. */
  purge(): number {
    const items = this.ready.clear()
    this.readyBytes = 0
    for (const item of items) this.#host.settled(this, item)
    return items.length
  }

  addConsumer(consumer: Consumer): void {
    this.consumers.push(consumer)
    this.offer(consumer)
  }

  removeConsumer(consumer: Consumer): void {
    const at = this.consumers.indexOf(consumer)
    if (at >= 0) this.consumers.splice(at, 1)
    if (consumer.willing) this.#dismiss(consumer)
    if (consumer.exclusive) this.exclusivelyConsumed = false
  }

  /** The consumer may have credit again. */
  offer(consumer: Consumer): void {
    if (!consumer.willing) {
      consumer.willing = true
      this.#willing.push(consumer)
    }
    if (!this.awake && this.ready.length > 0) this.#host.wake(this)
  }

  /** Hands out messages while somebody takes them, up to one turn; true when there may be more to do. */
  dispatch(): boolean {
    let deliveries = 0
    let bytes = 0
    const willing = this.#willing
    while (this.ready.length > 0 && willing.length > 0) {
      if (deliveries >= turnDeliveries || bytes >= turnBytes) return true
      if (this.#turn >= willing.length) this.#turn = 0
      const consumer = willing[this.#turn]!
      if (!consumer.hasCredit) {
        this.#dismiss(consumer)
        continue
      }
      const item = this.take()
      if (item === undefined) break
      bytes += item.envelope.bodyBytes
      deliveries++
      this.#turn++
      this.#host.touched(this, item)
      consumer.give(item)
    }
    return false
  }

  #dismiss(consumer: Consumer): void {
    const at = this.#willing.indexOf(consumer)
    this.#willing.splice(at, 1)
    if (at < this.#turn) this.#turn--
    consumer.willing = false
  }

  #putBack(item: Item): void {
    this.ready.giveBack(item)
    this.readyBytes += item.envelope.bodyBytes
    if (this.#bounded) this.#dropHead()
    if (!this.awake && this.#willing.length > 0) this.#host.wake(this)
  }

  #overflows(): boolean {
    const { maxLength, maxBytes } = this.settings
    return (
      (maxLength !== undefined && this.ready.length > maxLength) ||
      (maxBytes !== undefined && this.readyBytes > maxBytes)
    )
  }

  #dropHead(): void {
    if (this.settings.overflow !== 'drop-head') return
    while (this.#overflows()) {
      const item = this.ready.shift()
      if (item === undefined) return
      this.readyBytes -= item.envelope.bodyBytes
      this.#host.died(this, item, 'maxlen')
    }
  }
}
