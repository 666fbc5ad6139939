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
import { Backlog } from './backlog.ts'
import type { Consumer } from './consumer.ts'
import { DelayedList } from './delayed-list.ts'
import { type Envelope, Item } from './item.ts'
import { Limits } from './limits.ts'
import type { QueueHost } from './queue-host.ts'
import { Rotation } from './rotation.ts'
import { Traffic } from './traffic.ts'

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
  readonly backlog: Backlog
  readonly traffic = new Traffic()
  readonly consumers: Consumer[] = []
  /** An exclusive consumer holds it. */
  exclusivelyConsumed = false
  deleted = false
  /** Delivered and not settled. */
  unsettled = 0
  /** Waits in the virtual host's list of queues to be dispatched. */
  awake = false
  /** When the host rings, in milliseconds since the epoch. */
  alarmAt = Number.POSITIVE_INFINITY
  readonly #host: QueueHost
  /** What is not due yet. */
  readonly #delayed = new DelayedList()
  #hasUnreadIds = false
  /** Some message of it may expire. */
  #mayExpire = false
  #lastUsed = 0
  readonly #limits: Limits
  readonly #rotation = new Rotation()
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
    this.backlog = new Backlog(declared.settings.maxPriority)
    this.#host = host
    this.#limits = new Limits(declared.settings)
    if (declared.settings.expiresMs !== undefined) this.used()
  }

  /** Messages that wait for a consumer, also those behind their key. */
  get length(): number {
    return this.backlog.length
  }

  /** Messages that are not due yet. */
  get delayed(): number {
    return this.#delayed.length
  }

  /** True when `x-overflow: reject-publish` keeps one more message out. */
  get full(): boolean {
    return this.mayRefuse && this.fullWith(0, 0)
  }

  /** There is a limit at which it refuses messages. */
  get mayRefuse(): boolean {
    return this.#limits.refuses
  }

  /** As `full`, were so many messages of so many bytes added. For those that may refuse. */
  fullWith(messages: number, bytes: number): boolean {
    return this.#limits.reached(this.backlog, messages, bytes)
  }

  /** Appends a message. */
  push(envelope: Envelope, stored: boolean): Item {
    const item = new Item(envelope, ++this.#position, stored)
    envelope.references++
    this.traffic.published++
    if (this.settings.maxPriority !== undefined) this.#setLevel(item)
    if (envelope.notBefore > 0 && envelope.notBefore > this.#host.now()) {
      this.#delay(item, this.#host.idOf(item))
      return item
    }
    let mayWait = true
    if (envelope.expiresAt > 0 || this.settings.messageTtlMs !== undefined) {
      const now = this.#host.now()
      this.#expire(item, now)
      mayWait = item.expiresAt > now
    }
    this.backlog.push(item)
    // A time to live of 0: whoever is ready gets it, or nobody (RabbitMQ, "Time-To-Live and Expiration").
    if (!mayWait && this.#rotation.length > 0) this.#handOut(false)
    if (this.#limits.bounded && this.#limits.exceeded(this.backlog)) {
      // Whoever is ready to take messages gets them before the limit takes them away.
      if (this.#rotation.length > 0) this.dispatch()
      this.#dropHead()
    }
    if (!this.awake && this.#rotation.length > 0) this.#host.wake(this)
    return item
  }

  /** Appends a message that the store kept, at its place in the store's order; see `restored`. */
  restore(envelope: Envelope, order: number, redelivered: boolean, returns: number, publishedAt: number): void {
    const item = new Item(envelope, order, true)
    if (order < this.#position) this.#disordered = true
    else this.#position = order
    item.redelivered = redelivered
    item.returns = returns
    envelope.references++
    if (envelope.notBefore > 0 && envelope.notBefore > this.#host.now()) {
      this.#delay(item, undefined)
      this.#hasUnreadIds = true
      return
    }
    this.#expire(item, Math.max(publishedAt, envelope.notBefore))
    this.backlog.push(item)
  }

  /** Everything that the store kept is there: puts in order what a rewritten segment brought late. */
  restored(): void {
    const prioritized = this.settings.maxPriority !== undefined
    if (prioritized) this.each(item => this.#setLevel(item))
    if (this.#disordered || prioritized) {
      for (const item of this.backlog.clear().sort((a, b) => a.position - b.position)) this.backlog.push(item)
    }
    this.#disordered = false
    this.#watchHead()
  }

  /** Calls `visit` for each message that waits or is delayed, in no order. */
  each(visit: (item: Item) => void): void {
    this.backlog.each(visit)
    this.#delayed.each(visit)
  }

  /** Takes out what waits or is delayed and fits, without settling it. For the time before there are consumers. */
  remove(fits: (item: Item) => boolean): Item[] {
    const removed: Item[] = []
    const delayed = this.#delayed.remove(fits)
    for (const item of this.backlog.clear()) {
      if (fits(item)) removed.push(item)
      else this.backlog.push(item)
    }
    removed.push(...delayed)
    return removed
  }

  /** Takes the first message out for somebody who will settle it. */
  take(): Item | undefined {
    if (this.#mayExpire) this.#dropExpired()
    return this.#take()
  }

  #setLevel(item: Item): void {
    item.level = Math.min(this.#host.priorityOf(item), this.settings.maxPriority!)
  }

  #take(): Item | undefined {
    for (;;) {
      const item = this.backlog.takeAny()
      if (item === undefined) return undefined
      if (item.envelope.message === undefined && !this.#host.load(item)) continue
      this.unsettled++
      this.traffic.delivered++
      return item
    }
  }

  /** A delivered item is done with. */
  settle(item: Item): void {
    this.unsettled--
    this.#release(item)
    this.#host.settled(this, item)
  }

  /** A delivered item is done with, and the host knows. */
  release(item: Item): void {
    this.unsettled--
    this.#release(item)
  }

  /** A delivered item is refused for good. */
  reject(item: Item): void {
    this.unsettled--
    this.#release(item)
    if (this.deleted) this.#host.settled(this, item)
    else this.#host.died(this, item, 'rejected')
  }

  /** An item that was taken and never left goes back to its place as if nothing had happened. */
  undo(item: Item): void {
    this.unsettled--
    this.traffic.delivered--
    this.#putBack(item)
    this.#release(item)
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
    if (item.expiresAt > 0 && item.expiresAt <= this.#host.now()) {
      this.#release(item)
      this.#host.died(this, item, 'expired')
      return
    }
    const limit = this.settings.deliveryLimit
    if (limit !== undefined && item.returns > limit) {
      this.#release(item)
      this.#host.died(this, item, 'delivery_limit')
      return
    }
    this.#host.cameBack(this, item)
    this.#putBack(item)
    this.#release(item)
  }

  /** Takes the message of this id out while it is delayed; false where there is none. */
  cancelDelayed(id: string): boolean {
    // What the store brought back is read for its id only when somebody asks for one.
    if (this.#hasUnreadIds) this.#delayed.name(item => this.#host.idOf(item))
    this.#hasUnreadIds = false
    const item = this.#delayed.cancel(id)
    if (item === undefined) return false
    this.#host.settled(this, item)
    return true
  }

  /** Somebody has used it, so that `x-expires` begins anew. */
  used(): void {
    if (this.settings.expiresMs === undefined) return
    this.#lastUsed = this.#host.now()
    this.#wakeAt(this.#lastUsed + this.settings.expiresMs)
  }

  /** The moment of the alarm has come: what is due waits from now on, what has expired goes, so does an unused queue. */
  ring(now: number): void {
    this.alarmAt = Number.POSITIVE_INFINITY
    if (this.deleted) return
    const { expiresMs } = this.settings
    if (expiresMs !== undefined && this.consumers.length === 0) {
      if (now - this.#lastUsed >= expiresMs) {
        this.#host.unused(this)
        return
      }
      this.#wakeAt(this.#lastUsed + expiresMs)
    }
    for (let item = this.#delayed.shift(now); item !== undefined; item = this.#delayed.shift(now)) {
      item.position = ++this.#position
      this.#expire(item, now)
      this.backlog.push(item)
    }
    const next = this.#delayed.nextDue
    if (next !== undefined) this.#wakeAt(next)
    if (this.#mayExpire) this.#dropExpired()
    if (!this.awake && this.backlog.ready > 0 && this.#rotation.length > 0) this.#host.wake(this)
  }

  /** Everything goes, also what is delayed: the queue is being deleted. */
  discard(): void {
    this.purge()
    for (const item of this.#delayed.remove(() => true)) this.#host.settled(this, item)
  }

  /** Empties the waiting part; the number of messages that went. */
  purge(): number {
    const items = this.backlog.clear()
    for (const item of items) this.#host.settled(this, item)
    return items.length
  }

  addConsumer(consumer: Consumer): void {
    if (consumer.order !== 'none') this.backlog.keepOrder()
    this.consumers.push(consumer)
    this.offer(consumer)
  }

  removeConsumer(consumer: Consumer): void {
    const at = this.consumers.indexOf(consumer)
    if (at >= 0) this.consumers.splice(at, 1)
    if (this.consumers.length === 0) this.used()
    if (consumer.willing) this.#rotation.remove(consumer)
    if (consumer.exclusive) this.exclusivelyConsumed = false
    // The next in line becomes the active one.
    if (this.settings.singleActiveConsumer && this.consumers.length > 0) this.offer(this.consumers[0]!)
  }

  /** The consumer may have credit again. */
  offer(consumer: Consumer): void {
    if (this.settings.singleActiveConsumer && this.consumers[0] !== consumer) return
    if (!consumer.willing) this.#rotation.add(consumer)
    if (!this.awake && this.length > 0) this.#host.wake(this)
  }

  /** Hands out messages while somebody takes them, up to one turn; true when there may be more to do. */
  dispatch(): boolean {
    return this.#handOut(true)
  }

  #handOut(dropsExpired: boolean): boolean {
    let deliveries = 0
    let bytes = 0
    /** Consumers in a row that want what they cannot have now. */
    let unserved = 0
    const rotation = this.#rotation
    for (;;) {
      // Each time: behind one that stays another may have expired.
      if (dropsExpired && this.#mayExpire) this.#dropExpired()
      if (this.length === 0 || unserved >= rotation.length) return false
      if (deliveries >= turnDeliveries || bytes >= turnBytes) return true
      const consumer = rotation.next(unserved)
      if (!consumer.hasCredit) {
        rotation.remove(consumer)
        unserved = 0
        continue
      }
      const item = consumer.order === 'none' ? this.#take() : this.#claim(consumer.order)
      if (item === undefined) {
        unserved++
        rotation.advance()
        continue
      }
      unserved = 0
      bytes += item.envelope.bodyBytes
      deliveries++
      rotation.advance()
      this.#host.handedOut(this, item)
      consumer.give(item)
    }
  }

  /** Takes the first message out whose key nobody holds. */
  #claim(order: 'key' | 'strict'): Item | undefined {
    for (;;) {
      const item = this.backlog.claim(order, this.#keyOf)
      if (item === undefined) return undefined
      if (item.envelope.message === undefined && !this.#host.load(item)) {
        this.#release(item)
        continue
      }
      this.unsettled++
      this.traffic.delivered++
      return item
    }
  }

  readonly #keyOf = (item: Item): string => this.#host.keyOf(item)

  /** The item's key is free again. */
  #release(item: Item): void {
    if (this.backlog.release(item) && !this.awake && this.#rotation.length > 0) this.#host.wake(this)
  }

  #delay(item: Item, id: string | undefined): void {
    item.dueAt = item.envelope.notBefore
    this.#delayed.push(item, id)
    this.#wakeAt(item.dueAt)
  }

  /** Notes when the item, which waits since then, expires. */
  #expire(item: Item, since: number): void {
    const expiresAt = this.#limits.expiresAt(since, item.envelope.expiresAt)
    if (expiresAt === 0) return
    item.expiresAt = expiresAt
    this.#mayExpire = true
    if (this.backlog.ready === 0 || this.settings.maxPriority !== undefined) this.#wakeAt(expiresAt)
  }

  /** Only at the head, as in RabbitMQ: what has expired further behind goes when it gets there. */
  #dropExpired(): void {
    const now = this.#host.now()
    for (let head = this.backlog.peek(); head !== undefined; head = this.backlog.peek()) {
      if (head.expiresAt === 0 || head.expiresAt > now) break
      this.backlog.shift()
      this.#host.died(this, head, 'expired')
    }
    this.#watchHead()
  }

  #watchHead(): void {
    const head = this.backlog.peek()
    if (head !== undefined && head.expiresAt > 0) this.#wakeAt(head.expiresAt)
  }

  #wakeAt(at: number): void {
    if (at >= this.alarmAt) return
    this.alarmAt = at
    this.#host.alarm(this, at)
  }

  #putBack(item: Item): void {
    this.backlog.giveBack(item)
    if (item.expiresAt > 0) this.#watchHead()
    if (this.#limits.bounded) this.#dropHead()
    if (!this.awake && this.#rotation.length > 0) this.#host.wake(this)
  }

  #dropHead(): void {
    if (this.#limits.refuses) return
    while (this.#limits.exceeded(this.backlog)) {
      const item = this.backlog.takeAny()
      if (item === undefined) return
      this.#host.died(this, item, 'maxlen')
    }
  }
}
