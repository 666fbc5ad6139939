/**
 * A virtual host: what there is (topology.ts), the way of its messages (placement.ts), the sessions that use it, what the
 * store brings back, and when publishers must wait.
 */
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import { readableProperties } from '../queue/dead-letter.ts'
import type { Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'
import type { DeathReason, QueueHost } from '../queue/queue-host.ts'
import { sentAtIn } from '../queue/timing.ts'
import { TrafficSampler } from '../queue/traffic.ts'
import type { ExchangeType } from '../router/exchange.ts'
import { moveKey, type RecoveryTarget } from '../store/recovery.ts'
import type { Definition, RecordPlace, RecoveredMessage, Settlement, Store } from '../store/store.ts'
import { Alarms } from './alarms.ts'
import { CommitWaiters } from './commit-waiters.ts'
import { DirectReplies } from './direct-replies.ts'
import { Dispatcher } from './dispatcher.ts'
import { Memory } from './memory.ts'
import { Placement } from './placement.ts'
import { Session, type SessionOptions } from './session.ts'
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

export class VirtualHost implements QueueHost, RecoveryTarget {
  readonly name: string
  readonly topology: Topology
  readonly placement: Placement
  readonly replies = new DirectReplies()
  closed = false
  readonly #clock: Clock
  readonly #onWarning: (sentence: string) => void
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
    this.#alarms = new Alarms(options.clock)
    this.topology = new Topology(options.name, this)
    this.#traffic = new TrafficSampler(() => this.topology.queues.values())
    this.#memory = new Memory(options.memoryLimitBytes, () => this.#tellBlocked())
    this.placement = new Placement(this, this.#memory, options.clock, options.onUnreadable)
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
    const first = queue.backlog.peek()
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
    const envelope = this.placement.restored(message.bodyBytes, message.place, message.timed, message.publishedAt)
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
    this.placement.store = store
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
    store.recovered()
  }

  // For sessions

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

  /** Tells, in a sentence, of what went wrong without anybody's call failing. */
  warn(sentence: string): void {
    this.#onWarning(sentence)
  }

  /** See Memory. */
  reserve(bytes: number): void {
    this.#memory.reserve(bytes)
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
    this.placement.settled(queue, item)
  }

  died(queue: Queue, item: Item, reason: DeathReason): void {
    this.placement.died(queue, item, reason)
  }

  handedOut(queue: Queue, item: Item): void {
    this.placement.note(queue, item, item.redelivered ? 'delivered-again' : 'delivered')
  }

  cameBack(queue: Queue, item: Item): void {
    this.placement.note(queue, item, 'returned')
  }

  load(item: Item): boolean {
    return this.placement.load(item)
  }

  keyOf(item: Item): string {
    return this.placement.keyOf(item)
  }

  priorityOf(item: Item): number {
    return this.placement.priorityOf(item)
  }

  idOf(item: Item): string | undefined {
    return this.placement.idOf(item)
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
}
