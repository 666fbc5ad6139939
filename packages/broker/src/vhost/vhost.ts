/**
 * A virtual host: what there is (topology.ts), the sessions that use it, and the way of a message: routed, kept in its
 * queues, told to the store, dead-lettered, freed.
 */
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import { circles, deadLetter, readableProperties } from '../queue/dead-letter.ts'
import { Envelope, type Item } from '../queue/item.ts'
import type { DeathReason, Queue, QueueHost } from '../queue/queue.ts'
import { expiryOf, keyIn, notBeforeIn, sentAtIn } from '../queue/timing.ts'
import { TrafficSampler } from '../queue/traffic.ts'
import type { Exchange, ExchangeType } from '../router/exchange.ts'
import { moveKey, type RecoveryTarget } from '../store/recovery.ts'
import type { Definition, Note, RecordPlace, RecoveredMessage, Settlement, Store } from '../store/store.ts'
import { Alarms } from './alarms.ts'
import { CommitWaiters } from './commit-waiters.ts'
import { Dispatcher } from './dispatcher.ts'
import { Memory } from './memory.ts'
import { exchangeMissing } from './refusal.ts'
import { type Published, Session, type SessionOptions } from './session.ts'
import { rewriteSparse } from './sparse.ts'
import { Topology } from './topology.ts'

export interface QueueStatus {
  /** Messages that wait for a consumer. */
  readonly ready: number
  /** Delivered and not settled. */
  readonly unsettled: number
  readonly consumers: number
  /** Not due yet. */
  readonly delayed: number
  /** Messages a second over the last seconds; undefined in the first of them. */
  readonly publishRate: number | undefined
  readonly deliverRate: number | undefined
  /** Milliseconds since the first of those that wait was sent, or due; undefined where none waits or its sender did not say. */
  readonly oldestAgeMs: number | undefined
}

export interface VirtualHostOptions {
  readonly name: string
  readonly clock: Clock
  /** Bytes of messages in memory at which publishers are blocked. */
  readonly memoryLimitBytes: number
  /** Told, in a sentence, of what went wrong without anybody's call failing. */
  onWarning(sentence: string): void
  /** Told of what cannot be read from disk. */
  onUnreadable(place: RecordPlace): void
}

const nowhere: Published = { routed: 0, rejected: false, commit: 0 }

export class VirtualHost implements QueueHost, RecoveryTarget {
  readonly name: string
  readonly topology: Topology
  closed = false
  readonly #clock: Clock
  readonly #onWarning: (sentence: string) => void
  readonly #onUnreadable: (place: RecordPlace) => void
  readonly #dispatcher: Dispatcher
  readonly #memory: Memory
  readonly #alarms: Alarms
  readonly #traffic: TrafficSampler
  readonly #waiters = new CommitWaiters()
  readonly #sessions = new Set<Session>()
  readonly #committedListeners = new Set<(committed: number) => void>()
  readonly #blockedListeners = new Set<(blocked: boolean, reason: string) => void>()
  #store: Store | undefined
  /** Why the store cannot write. */
  #trouble: string | undefined
  #wasBlocked = false
  /** Queues by their number in the store, while it brings back what it has. */
  readonly #restoring = new Map<number, Queue>()
  readonly #forgotten: Settlement[] = []

  constructor(options: VirtualHostOptions) {
    this.name = options.name
    this.#clock = options.clock
    this.#onWarning = options.onWarning
    this.#onUnreadable = options.onUnreadable
    this.#alarms = new Alarms(options.clock)
    this.topology = new Topology(options.name, this)
    this.#traffic = new TrafficSampler(() => this.topology.queues.values())
    this.#memory = new Memory(options.memoryLimitBytes, () => this.#tellBlocked())
    this.#dispatcher = new Dispatcher(
      () => this.noteDelivered(),
      (session, error) => {
        // It loses its session and nothing else: what it had goes back to the queues.
        this.#onWarning(`A session's onDeliveries threw, the session is closed: ${String(error)}`)
        session.close()
      },
    )
  }

  /** Throws AmqpError 320 when the broker has closed. */
  openSession(options: SessionOptions): Session {
    if (this.closed) throw AmqpError.of('connection-forced', 'the broker is closed')
    const session = new Session(this, options)
    this.#sessions.add(session)
    return session
  }

  /** The last commit number that is on disk. */
  get committed(): number {
    return this.#store === undefined ? 0 : this.#store.committed
  }

  /** Called after each sync with the new `committed`; the returned function ends that. */
  onCommitted(listener: (committed: number) => void): () => void {
    this.#committedListeners.add(listener)
    return () => this.#committedListeners.delete(listener)
  }

  /** Publishers should wait: memory is full, or the store cannot write. */
  get blocked(): boolean {
    return this.#memory.full || this.#trouble !== undefined
  }

  /** Why it is blocked; empty when it is not. */
  get blockedReason(): string {
    return this.#trouble ?? (this.#memory.full ? 'low on memory' : '')
  }

  /** Called when `blocked` changes; the returned function ends that. */
  onBlocked(listener: (blocked: boolean, reason: string) => void): () => void {
    this.#blockedListeners.add(listener)
    return () => this.#blockedListeners.delete(listener)
  }

  /** What the messages in memory weigh, in bytes. */
  get memoryBytes(): number {
    return this.#memory.bytes
  }

  /** The connection is gone: its exclusive queues are deleted. Close its sessions before. */
  ownerGone(owner: object): void {
    this.topology.ownerGone(owner)
  }

  /** Reads the first message from disk where it is not in memory. */
  inspect(queueName: string): QueueStatus | undefined {
    const queue = this.topology.queues.get(queueName)
    if (queue === undefined) return undefined
    const { publishRate, deliverRate } = queue.traffic
    const first = queue.ready.peek()
    const sentAt = first === undefined ? undefined : this.#sentAt(first)
    return {
      ready: queue.length,
      unsettled: queue.unsettled,
      consumers: queue.consumers.length,
      delayed: queue.delayed,
      publishRate,
      deliverRate,
      oldestAgeMs: sentAt === undefined ? undefined : Math.max(0, this.#clock.now() - sentAt),
    }
  }

  queueNames(): string[] {
    return [...this.topology.queues.keys()]
  }

  /** What the queue was declared with; undefined where there is none. For those who look before they declare. */
  describeQueue(
    queueName: string,
  ): { durable: boolean; exclusive: boolean; autoDelete: boolean; arguments: FieldTable } | undefined {
    const queue = this.topology.queues.get(queueName)
    return (
      queue && {
        durable: queue.durable,
        exclusive: queue.owner !== undefined,
        autoDelete: queue.autoDelete,
        arguments: queue.arguments,
      }
    )
  }

  describeExchange(exchangeName: string): { type: ExchangeType; durable: boolean; internal: boolean } | undefined {
    const exchange = this.topology.exchanges.get(exchangeName)
    return exchange && { type: exchange.type, durable: exchange.durable, internal: exchange.internal }
  }

  /** Hands out at once what a microtask would hand out soon: for the server at the end of what it read. */
  flush(): void {
    this.#dispatcher.run()
  }

  /** Ends every session; nothing can be done with it afterwards. */
  close(): void {
    this.closed = true
    for (const session of this.#sessions) session.brokerClosed()
    this.#dispatcher.stop()
    this.#alarms.stop()
    this.#traffic.stop()
  }

  // What the store brings back, before it is used

  restoreDefinition(definition: Definition): void {
    this.topology.restore(definition)
    if (definition.kind !== 'queue') return
    this.#restoring.set(definition.id, this.topology.queues.get(definition.name)!)
  }

  knows(queueId: number): boolean {
    return this.#restoring.has(queueId)
  }

  restore(message: RecoveredMessage): void {
    const envelope = new Envelope(undefined, message.bodyBytes, message.place)
    if (message.timed !== undefined) this.#time(envelope, message.timed, message.publishedAt)
    this.#memory.hold(envelope)
    for (const { queueId, redelivered, returns } of message.holders) {
      this.#restoring.get(queueId)!.restore(envelope, message.order, redelivered, returns, message.publishedAt)
    }
    this.#memory.release(envelope)
  }

  forget(moved: ReadonlySet<string>): void {
    for (const [queueId, queue] of this.#restoring) {
      const gone = queue.remove(({ envelope: { place } }) =>
        moved.has(moveKey(queueId, place!.segment.number, place!.ordinal)),
      )
      for (const { envelope } of gone) {
        this.#forgotten.push({ queueId, place: envelope.place! })
        this.#memory.release(envelope)
      }
    }
  }

  /** Everything durable goes to this store from now on. */
  useStore(store: Store): void {
    this.#store = store
    this.topology.store = store
    for (const queue of this.#restoring.values()) queue.restored()
    this.#restoring.clear()
    store.onCommitted = committed => this.#onCommitted(committed)
    store.onTrouble = reason => {
      this.#trouble = reason
      this.#tellBlocked()
    }
    store.onSparse = segments => rewriteSparse(segments, this.topology.queues.values(), store, this.#memory)
    for (const { queueId, place } of this.#forgotten) store.settle(queueId, place)
    this.#forgotten.length = 0
  }

  // For sessions

  publish(message: BrokerMessage): Published {
    const { exchange: exchangeName, routingKey } = message
    if (exchangeName === '') {
      const queue = this.topology.queues.get(routingKey)
      if (queue === undefined) return nowhere
      if (queue.full) return { routed: 1, rejected: true, commit: 0 }
      return { routed: 1, rejected: false, commit: this.#pushOne(message, queue, undefined) }
    }
    const exchange = this.topology.exchanges.get(exchangeName)
    if (exchange === undefined) throw exchangeMissing(exchangeName, this.name)
    if (exchange.internal) {
      const described = this.topology.describe('exchange', exchangeName)
      throw AmqpError.of('access-refused', `cannot publish to internal ${described}`)
    }
    const queues = this.#route(exchange, message)
    if (queues.length === 0) return nowhere
    let rejected = false
    for (const queue of queues) if (queue.full) rejected = true
    const takers = rejected ? queues.filter(queue => !queue.full) : queues
    return {
      routed: queues.length,
      rejected,
      commit: takers.length === 0 ? 0 : this.#push(message, takers, undefined),
    }
  }

  whenCommitted(commit: number, done: () => void): void {
    if (commit <= this.committed && this.#waiters.empty) done()
    else this.#waiters.add(commit, done)
  }

  sessionClosed(session: Session): void {
    this.#sessions.delete(session)
  }

  /** A consumer of this queue ended. */
  consumerGone(queue: Queue): void {
    if (queue.autoDelete && !queue.deleted && queue.consumers.length === 0) this.topology.removeQueue(queue)
  }

  flushLater(session: Session): void {
    this.#dispatcher.flushLater(session)
  }

  /** A message that was handed out is known as such after a kill: the store is told before anybody gets it. */
  noteDelivered(): void {
    this.#store?.writeNotes()
  }

  // For queues

  wake(queue: Queue): void {
    this.#dispatcher.wake(queue)
  }

  settled(queue: Queue, item: Item): void {
    const { envelope } = item
    if (item.stored) this.#store!.settle(queue.id, envelope.place!)
    this.#memory.release(envelope)
  }

  died(queue: Queue, item: Item, reason: DeathReason): void {
    const { deadLetterExchange, deadLetterRoutingKey } = queue.settings
    const exchange = deadLetterExchange === undefined ? undefined : this.topology.exchanges.get(deadLetterExchange)
    if (exchange === undefined) {
      this.settled(queue, item)
      return
    }
    if (item.envelope.message === undefined && !this.load(item)) return
    const dead = deadLetter(item.envelope.message!, {
      queue: queue.name,
      reason,
      exchange: exchange.name,
      routingKey: deadLetterRoutingKey,
      now: this.#clock.now(),
    })
    const routed = exchange.name === '' ? this.#defaultRoute(dead.routingKey) : this.#route(exchange, dead)
    const targets = reason === 'rejected' ? routed : routed.filter(target => !circles(dead, target.name))
    const settlement = item.stored ? { queueId: queue.id, place: item.envelope.place! } : undefined
    const moved = targets.length > 0 && this.#push(dead, targets, settlement) > 0
    if (moved && settlement !== undefined) this.#memory.release(item.envelope)
    else this.settled(queue, item)
  }

  handedOut(queue: Queue, item: Item): void {
    this.#note(queue, item, item.redelivered ? 'delivered-again' : 'delivered')
  }

  cameBack(queue: Queue, item: Item): void {
    this.#note(queue, item, 'returned')
  }

  load(item: Item): boolean {
    const { envelope } = item
    envelope.message = this.#store!.read(envelope.place!)
    if (envelope.message !== undefined) {
      this.#memory.loaded(envelope)
      return true
    }
    this.#onUnreadable(envelope.place!)
    this.#memory.release(envelope)
    return false
  }

  keyOf(item: Item): string {
    const message = item.envelope.message ?? this.#store!.read(item.envelope.place!)
    if (message === undefined) return ''
    return (message.native === undefined ? keyIn(readableProperties(message)) : message.native.key) ?? ''
  }

  idOf(item: Item): string | undefined {
    const message = item.envelope.message ?? this.#store?.read(item.envelope.place!)
    if (message === undefined) return undefined
    return message.native === undefined ? readableProperties(message).messageId : message.native.id
  }

  now(): number {
    return this.#clock.now()
  }

  alarm(queue: Queue, at: number): void {
    this.#alarms.set(queue, at)
  }

  unused(queue: Queue): void {
    this.topology.removeQueue(queue)
  }

  // Private, in order of first use

  #sentAt({ envelope }: Item): number | undefined {
    const message = envelope.message ?? this.#store?.read(envelope.place!)
    if (message === undefined) return undefined
    const sentAt = message.native === undefined ? sentAtIn(readableProperties(message)) : message.native.time
    // It has waited since it was due.
    return sentAt === undefined ? undefined : Math.max(sentAt, envelope.notBefore)
  }

  #onCommitted(committed: number): void {
    this.#memory.committed(committed)
    this.#waiters.committed(committed)
    for (const listener of this.#committedListeners) listener(committed)
  }

  #tellBlocked(): void {
    if (this.blocked === this.#wasBlocked) return
    this.#wasBlocked = this.blocked
    for (const listener of this.#blockedListeners) listener(this.blocked, this.blockedReason)
  }

  /** The commit number to wait for, 0 when nothing went into the store. */
  #pushOne(message: BrokerMessage, queue: Queue, instead: Settlement | undefined): number {
    const stored = queue.id > 0 && message.persistent
    const envelope = new Envelope(message, message.body.byteLength, undefined)
    const timed = message.timed !== false && this.#time(envelope, message, 0)
    if (stored) envelope.place = this.#store!.append(message, [queue.id], instead, timed)
    // Held while it is handed round, so that a queue that drops it at once does not free it for the others.
    this.#memory.hold(envelope)
    queue.push(envelope, stored)
    return this.#pushed(envelope, queue)
  }

  #note(queue: Queue, item: Item, what: Note): void {
    if (item.stored && !queue.deleted) this.#store!.note(queue.id, item.envelope.place!, what, item.returns)
  }

  #push(message: BrokerMessage, queues: readonly Queue[], instead: Settlement | undefined): number {
    if (queues.length === 1) return this.#pushOne(message, queues[0]!, instead)
    const storedIn: number[] = []
    if (message.persistent) for (const queue of queues) if (queue.id > 0) storedIn.push(queue.id)
    const envelope = new Envelope(message, message.body.byteLength, undefined)
    const timed = message.timed !== false && this.#time(envelope, message, 0)
    if (storedIn.length > 0) envelope.place = this.#store!.append(message, storedIn, instead, timed)
    this.#memory.hold(envelope)
    let shallowest = queues[0]!
    for (const queue of queues) {
      queue.push(envelope, message.persistent && queue.id > 0)
      if (queue.length < shallowest.length) shallowest = queue
    }
    return this.#pushed(envelope, shallowest)
  }

  #pushed(envelope: Envelope, shallowest: Queue): number {
    const commit = envelope.place === undefined ? 0 : this.#store!.appended
    if (commit > 0) this.#memory.stored(envelope, commit, shallowest)
    this.#memory.release(envelope)
    return commit
  }

  /** Notes when the message, published then (0: now), is due and expires; false when it says neither. */
  #time(envelope: Envelope, message: BrokerMessage, publishedAt: number): boolean {
    const { native } = message
    if (native !== undefined) {
      envelope.notBefore = native.notBefore ?? 0
      envelope.expiresAt = native.expiresAt ?? 0
    } else {
      const properties = readableProperties(message)
      envelope.notBefore = notBeforeIn(properties)
      const expiresMs = expiryOf(properties)
      if (expiresMs !== undefined) envelope.expiresAt = (publishedAt || this.#clock.now()) + expiresMs
    }
    return envelope.notBefore > 0 || envelope.expiresAt > 0
  }

  /** Where no queue is bound for the message, its alternate exchange decides, and that one's (RabbitMQ, "Alternate Exchanges"). */
  #route(first: Exchange, message: BrokerMessage): readonly Queue[] {
    let queues = first.route(message.routingKey, message)
    if (queues.length > 0) return queues
    const seen = new Set([first])
    for (let from = first; ; ) {
      const alternate = from.arguments['alternate-exchange']
      if (typeof alternate !== 'string') return queues
      if (alternate === '') return this.#defaultRoute(message.routingKey)
      const next = this.topology.exchanges.get(alternate)
      if (next === undefined || seen.has(next)) return queues
      queues = next.route(message.routingKey, message)
      if (queues.length > 0) return queues
      seen.add(next)
      from = next
    }
  }

  #defaultRoute(routingKey: string): readonly Queue[] {
    const queue = this.topology.queues.get(routingKey)
    return queue === undefined ? [] : [queue]
  }
}
