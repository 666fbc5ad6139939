/**
 * A virtual host: exchanges, queues, bindings, and the sessions that use them. It routes what is published, decides when
 * queues hand out what they have, keeps count of memory, and tells the store.
 *
 * Dispatch: whatever gives a queue something to do puts it into a list; one microtask later each queue of the list
 * takes its turn, then each session that got something is flushed. A burst of publishes so costs one call per consumer.
 * After `turnsPerTick` turns the rest waits for the event loop, so that sockets, timers and syncs are served too.
 */
import { randomBytes } from 'node:crypto'
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import { checkSameArguments, readQueueArguments } from '../queue/arguments.ts'
import { circles, deadLetter } from '../queue/dead-letter.ts'
import { Envelope, envelopeBytes, type Item } from '../queue/item.ts'
import { type DeathReason, Queue, type QueueHost } from '../queue/queue.ts'
import { type Destination, Exchange, type ExchangeType, exchangeTypes } from '../router/exchange.ts'
import { moveKey, type RecoveryTarget } from '../store/recovery.ts'
import type { Definition, RecordPlace, RecoveredMessage, Settlement, Store } from '../store/store.ts'
import { exchangeMissing, inequivalent, preconditionFailed, queueMissing } from './refusal.ts'
import { type Published, Session, type SessionOptions } from './session.ts'

export interface QueueDeclaration {
  /** Empty: the broker makes one up. */
  readonly queue: string
  /** Only look whether it is there. */
  readonly passive?: boolean | undefined
  readonly durable?: boolean | undefined
  readonly exclusive?: boolean | undefined
  readonly autoDelete?: boolean | undefined
  readonly arguments?: FieldTable | undefined
}

export interface ExchangeDeclaration {
  readonly exchange: string
  /** `direct`, `fanout`, `topic` or `headers`. */
  readonly type: string
  readonly passive?: boolean | undefined
  readonly durable?: boolean | undefined
  readonly autoDelete?: boolean | undefined
  readonly internal?: boolean | undefined
  readonly arguments?: FieldTable | undefined
}

interface BindRequest {
  readonly kind: 'queue' | 'exchange'
  readonly source: string
  readonly destination: string
  readonly routingKey: string
  readonly arguments?: FieldTable | undefined
}

export interface QueueDepth {
  /** Messages that wait for a consumer. */
  readonly ready: number
  /** Delivered and not settled. */
  readonly unsettled: number
  readonly consumers: number
}

export interface VirtualHostOptions {
  readonly name: string
  readonly clock: Clock
  /** Bytes of messages in memory at which publishers are blocked. */
  readonly memoryLimitBytes: number
  /** Told, in a sentence, of what went wrong without anybody's call failing. */
  onWarning(sentence: string): void
  /** Told of what cannot be read from disk. */
  onUnreadable?(place: RecordPlace): void
}

/** Turns of queues in a row before the event loop gets its turn. */
const turnsPerTick = 64
/** Above this part of the limit, new messages that the store has are dropped from memory where a queue is deep. */
const pageOutRatio = 0.4
/** Waiting messages that make a queue deep: those before are wanted soon. */
const deepLength = 2000
/** Memory must fall below this part of the limit before publishers go on. */
const unblockRatio = 0.9

const predeclared: readonly (readonly [string, ExchangeType])[] = [
  ['', 'direct'],
  ['amq.direct', 'direct'],
  ['amq.fanout', 'fanout'],
  ['amq.topic', 'topic'],
  ['amq.headers', 'headers'],
  ['amq.match', 'headers'],
]
const noArguments: FieldTable = {}
const nowhere: Published = { routed: 0, rejected: false, commit: 0 }

export class VirtualHost implements QueueHost, RecoveryTarget {
  readonly name: string
  readonly #clock: Clock
  #store: Store | undefined
  readonly #onWarning: (sentence: string) => void
  readonly #onUnreadable: (place: RecordPlace) => void
  /** Queues by their number in the store, while it brings back what it has. */
  readonly #restoring = new Map<number, Queue>()
  readonly #exchanges = new Map<string, Exchange>()
  readonly #queues = new Map<string, Queue>()
  /** Which exchanges send to a destination, to find its bindings when it goes. */
  readonly #sources = new Map<Destination, Set<Exchange>>()
  readonly #routing = { value: 0 }
  readonly #sessions = new Set<Session>()
  readonly #waiting: { readonly commit: number; readonly done: () => void }[] = []
  #waitingFrom = 0
  readonly #committedListeners = new Set<(committed: number) => void>()
  readonly #blockedListeners = new Set<(blocked: boolean, reason: string) => void>()

  #awake: Queue[] = []
  #flushes: Session[] = []
  #scheduled = false
  #running = false
  #turns = 0

  readonly #memoryLimitBytes: number
  #memoryBytes = 0
  #overLimit = false
  #trouble: string | undefined
  #lastQueueId = 0
  #closed = false
  /** Messages in memory that may be dropped from it once they are committed. */
  #pageable: { readonly commit: number; readonly envelope: Envelope }[] = []
  readonly #forgotten: Settlement[] = []

  constructor(options: VirtualHostOptions) {
    this.name = options.name
    this.#clock = options.clock
    this.#memoryLimitBytes = options.memoryLimitBytes
    this.#onWarning = options.onWarning
    this.#onUnreadable = options.onUnreadable ?? (() => {})
    for (const [name, type] of predeclared) this.#addExchange(name, type, { durable: true })
  }

  /** Everything durable goes to this store from now on. */
  useStore(store: Store): void {
    this.#store = store
    this.#restoring.clear()
    store.onCommitted = committed => this.#onCommitted(committed)
    store.onTrouble = reason => {
      const before = this.blocked
      this.#trouble = reason
      this.#tellBlocked(before)
    }
    for (const forgotten of this.#forgotten) store.settle(forgotten.queueId, forgotten.place)
    this.#forgotten.length = 0
  }

  /** Throws AmqpError 320 when the broker has closed. */
  openSession(options: SessionOptions): Session {
    this.#checkOpen()
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
    return this.#overLimit || this.#trouble !== undefined
  }

  /** Why it is blocked; empty when it is not. */
  get blockedReason(): string {
    return this.#trouble ?? (this.#overLimit ? 'low on memory' : '')
  }

  /** Called when `blocked` changes; the returned function ends that. */
  onBlocked(listener: (blocked: boolean, reason: string) => void): () => void {
    this.#blockedListeners.add(listener)
    return () => this.#blockedListeners.delete(listener)
  }

  /** What the messages in memory weigh, in bytes. */
  get memoryBytes(): number {
    return this.#memoryBytes
  }

  /** The connection is gone: its exclusive queues are deleted. Close its sessions before. */
  ownerGone(owner: object): void {
    for (const queue of this.#queues.values()) if (queue.owner === owner) this.#removeQueue(queue)
  }

  inspect(queueName: string): QueueDepth | undefined {
    const queue = this.#queues.get(queueName)
    return queue && { ready: queue.ready.length, unsettled: queue.unsettled, consumers: queue.consumers.length }
  }

  queueNames(): string[] {
    return [...this.#queues.keys()]
  }

  /** What the queue was declared with; undefined where there is none. For those who look before they declare. */
  describeQueue(
    queueName: string,
  ): { durable: boolean; exclusive: boolean; autoDelete: boolean; arguments: FieldTable } | undefined {
    const queue = this.#queues.get(queueName)
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
    const exchange = this.#exchanges.get(exchangeName)
    return exchange && { type: exchange.type, durable: exchange.durable, internal: exchange.internal }
  }

  /** Hands out at once what a microtask would hand out soon: for the server at the end of what it read. */
  flush(): void {
    this.#run()
  }

  /** Ends every session; nothing can be done with it afterwards. */
  close(): void {
    this.#closed = true
    for (const session of this.#sessions) session.brokerClosed()
    this.#awake.length = 0
    this.#flushes.length = 0
  }

  // What the store brings back

  restoreDefinition(definition: Definition): void {
    switch (definition.kind) {
      case 'queue': {
        const { id, name, autoDelete, arguments: args } = definition
        const settings = readQueueArguments(args, this.describe('queue', name))
        const queue = new Queue(
          { name, id, durable: true, autoDelete, owner: undefined, arguments: args, settings },
          this,
        )
        this.#queues.set(name, queue)
        this.#restoring.set(id, queue)
        return
      }
      case 'exchange':
        if (!isExchangeType(definition.type)) {
          throw preconditionFailed(`unknown exchange type '${definition.type}' of exchange '${definition.name}'`)
        }
        this.#addExchange(definition.name, definition.type, { ...definition, durable: true })
        return
      case 'binding': {
        const source = this.#exchanges.get(definition.source)
        const destination =
          definition.destinationKind === 'queue'
            ? this.#queues.get(definition.destination)
            : this.#exchanges.get(definition.destination)
        // An end that is not there was removed after the binding was made, and the binding with it.
        if (source === undefined || destination === undefined) return
        const { routingKey, arguments: args } = definition
        if (source.bind({ source, destination, routingKey, arguments: args })) this.#noteSource(destination, source)
      }
    }
  }

  knows(queueId: number): boolean {
    return this.#restoring.has(queueId)
  }

  restore(message: RecoveredMessage): void {
    const envelope = new Envelope(undefined, message.bodyBytes, message.place)
    this.#grow(envelopeBytes)
    for (const { queueId, redelivered, returns } of message.holders) {
      this.#restoring.get(queueId)!.restore(envelope, redelivered, returns)
    }
  }

  forget(moved: ReadonlySet<string>): void {
    for (const [queueId, queue] of this.#restoring) {
      const gone = queue.remove(({ envelope: { place } }) =>
        moved.has(moveKey(queueId, place!.segment.number, place!.ordinal)),
      )
      for (const { envelope } of gone) {
        this.#forgotten.push({ queueId, place: envelope.place! })
        this.#release(envelope)
      }
    }
  }

  // Definitions, for sessions

  declareQueue(
    session: Session,
    declaration: QueueDeclaration,
  ): { queue: string; messageCount: number; consumerCount: number; commit: number } {
    this.#checkOpen()
    if (declaration.passive) return counts(this.queueFor(session, declaration.queue), 0)
    const name = declaration.queue === '' ? this.makeName('amq.gen-') : declaration.queue
    const existing = this.#queues.get(name)
    const described = this.describe('queue', name)
    const durable = declaration.durable ?? false
    const autoDelete = declaration.autoDelete ?? false
    const exclusive = declaration.exclusive ?? false
    const args = declaration.arguments ?? noArguments
    if (existing !== undefined) {
      if (existing.owner !== (exclusive ? session.owner : undefined)) throw this.#locked(name)
      if (existing.durable !== durable) throw inequivalent('durable', described, durable, existing.durable)
      if (existing.autoDelete !== autoDelete) {
        throw inequivalent('auto_delete', described, autoDelete, existing.autoDelete)
      }
      checkSameArguments(existing.arguments, args, described)
      return counts(existing, 0)
    }
    if (declaration.queue.startsWith('amq.')) {
      throw AmqpError.of('access-refused', `queue name '${name}' contains reserved prefix 'amq.*'`)
    }
    const settings = readQueueArguments(args, described)
    if (settings.type === 'quorum') {
      if (!durable) throw preconditionFailed(`invalid property 'non-durable' for ${described}`)
      if (autoDelete) throw preconditionFailed(`invalid property 'auto-delete' for ${described}`)
      if (exclusive) throw preconditionFailed(`invalid property 'exclusive-owner' for ${described}`)
    }
    const stored = durable && !exclusive && this.#store !== undefined
    const id = stored ? this.#store!.nextQueueId() : --this.#lastQueueId
    const queue = new Queue(
      { name, id, durable, autoDelete, owner: exclusive ? session.owner : undefined, arguments: args, settings },
      this,
    )
    this.#queues.set(name, queue)
    this.#routing.value++
    const commit = stored ? this.#store!.define({ kind: 'queue', id, name, autoDelete, arguments: args }) : 0
    return counts(queue, commit)
  }

  deleteQueue(
    session: Session,
    request: { queue: string; ifUnused?: boolean; ifEmpty?: boolean },
  ): { messageCount: number; commit: number } {
    const queue = this.#queues.get(request.queue)
    if (queue === undefined) return { messageCount: 0, commit: 0 }
    this.#checkOwner(session, queue)
    const described = this.describe('queue', queue.name)
    if (request.ifUnused && queue.consumers.length > 0) throw preconditionFailed(`${described} in use`)
    if (request.ifEmpty && queue.ready.length > 0) throw preconditionFailed(`${described} not empty`)
    const messageCount = queue.ready.length
    return { messageCount, commit: this.#removeQueue(queue) }
  }

  declareExchange(declaration: ExchangeDeclaration): { commit: number } {
    const { exchange: name, type } = declaration
    this.#checkNotDefault(name)
    const existing = this.#exchanges.get(name)
    if (declaration.passive) {
      if (existing === undefined) throw exchangeMissing(name, this.name)
      return { commit: 0 }
    }
    if (!isExchangeType(type)) throw AmqpError.of('command-invalid', `invalid exchange type '${type}'`)
    const described = this.describe('exchange', name)
    const durable = declaration.durable ?? false
    const autoDelete = declaration.autoDelete ?? false
    const internal = declaration.internal ?? false
    const args = declaration.arguments ?? noArguments
    if (existing !== undefined) {
      if (existing.type !== type) throw inequivalent('type', described, type, existing.type)
      if (existing.durable !== durable) throw inequivalent('durable', described, durable, existing.durable)
      if (existing.autoDelete !== autoDelete) {
        throw inequivalent('auto_delete', described, autoDelete, existing.autoDelete)
      }
      if (existing.internal !== internal) throw inequivalent('internal', described, internal, existing.internal)
      return { commit: 0 }
    }
    if (name.startsWith('amq.')) {
      throw AmqpError.of('access-refused', `exchange name '${name}' contains reserved prefix 'amq.*'`)
    }
    if (args['alternate-exchange'] !== undefined) {
      throw preconditionFailed(`arg 'alternate-exchange' for ${described} is not supported by this broker yet`)
    }
    this.#addExchange(name, type, { durable, autoDelete, internal, arguments: args })
    if (!durable || this.#store === undefined) return { commit: 0 }
    return { commit: this.#store.define({ kind: 'exchange', name, type, autoDelete, internal, arguments: args }) }
  }

  deleteExchange(request: { exchange: string; ifUnused?: boolean }): { commit: number } {
    this.#checkNotDefault(request.exchange)
    if (request.exchange.startsWith('amq.')) {
      throw AmqpError.of(
        'access-refused',
        `deletion of system ${this.describe('exchange', request.exchange)} not allowed`,
      )
    }
    const exchange = this.#exchanges.get(request.exchange)
    if (exchange === undefined) return { commit: 0 }
    if (request.ifUnused && exchange.bindingCount > 0) {
      throw preconditionFailed(`${this.describe('exchange', exchange.name)} in use`)
    }
    return { commit: this.#removeExchange(exchange) }
  }

  bind(session: Session, request: BindRequest): { commit: number } {
    const [source, destination] = this.#ends(session, request)
    if (source === undefined) throw exchangeMissing(request.source, this.name)
    if (destination === undefined) {
      throw request.kind === 'queue'
        ? queueMissing(request.destination, this.name)
        : exchangeMissing(request.destination, this.name)
    }
    const args = request.arguments ?? noArguments
    if (!source.bind({ source, destination, routingKey: request.routingKey, arguments: args })) return { commit: 0 }
    this.#noteSource(destination, source)
    const store = this.#storeOf(source, destination)
    return {
      commit: store === undefined ? 0 : store.define(bindingDefinition(source, destination, request.routingKey, args)),
    }
  }

  unbind(session: Session, request: BindRequest): { commit: number } {
    const [source, destination] = this.#ends(session, request)
    // Unbinding what is not there is no error, as in RabbitMQ.
    if (source === undefined || destination === undefined) return { commit: 0 }
    const args = request.arguments ?? noArguments
    const binding = source.unbind(destination, request.routingKey, args)
    if (binding === undefined) return { commit: 0 }
    const store = this.#storeOf(source, destination)
    const commit =
      store === undefined
        ? 0
        : store.remove(bindingDefinition(source, destination, request.routingKey, binding.arguments))
    return { commit: Math.max(commit, this.#sourceLostBinding(source)) }
  }

  /** The queue, which this session may use. */
  queueFor(session: Session, name: string): Queue {
    const queue = this.#queues.get(name)
    if (queue === undefined) throw queueMissing(name, this.name)
    this.#checkOwner(session, queue)
    return queue
  }

  describe(kind: 'queue' | 'exchange', name: string): string {
    return `${kind} '${name}' in vhost '${this.name}'`
  }

  makeName(prefix: string): string {
    return prefix + randomBytes(16).toString('base64url')
  }

  // Messages

  publish(message: BrokerMessage): Published {
    if (this.#closed) this.#checkOpen()
    const { exchange: exchangeName, routingKey } = message
    if (exchangeName === '') {
      const queue = this.#queues.get(routingKey)
      if (queue === undefined) return nowhere
      if (queue.full) return { routed: 1, rejected: true, commit: 0 }
      return { routed: 1, rejected: false, commit: this.#pushOne(message, queue, undefined) }
    }
    const exchange = this.#exchanges.get(exchangeName)
    if (exchange === undefined) throw exchangeMissing(exchangeName, this.name)
    if (exchange.internal) {
      throw AmqpError.of('access-refused', `cannot publish to internal ${this.describe('exchange', exchangeName)}`)
    }
    const queues = exchange.route(routingKey, message)
    if (queues.length === 0) return nowhere
    let rejected = false
    for (const queue of queues) if (queue.full) rejected = true
    const takers = rejected ? queues.filter(queue => !queue.full) : queues
    return { routed: queues.length, rejected, commit: this.#push(message, takers, undefined) }
  }

  whenCommitted(commit: number, done: () => void): void {
    if (commit <= this.committed && this.#waitingFrom === this.#waiting.length) done()
    else this.#waiting.push({ commit, done })
  }

  // Sessions and consumers come and go

  sessionClosed(session: Session): void {
    this.#sessions.delete(session)
  }

  /** A consumer of this queue ended. */
  consumerGone(queue: Queue): void {
    if (queue.autoDelete && !queue.deleted && queue.consumers.length === 0) this.#removeQueue(queue)
  }

  flushLater(session: Session): void {
    this.#flushes.push(session)
    this.#schedule()
  }

  // What queues ask

  wake(queue: Queue): void {
    queue.awake = true
    this.#awake.push(queue)
    this.#schedule()
  }

  settled(queue: Queue, item: Item): void {
    const { envelope } = item
    if (item.stored) this.#store!.settle(queue.id, envelope.place!)
    this.#release(envelope)
  }

  died(queue: Queue, item: Item, reason: DeathReason): void {
    const { deadLetterExchange, deadLetterRoutingKey } = queue.settings
    const exchange = deadLetterExchange === undefined ? undefined : this.#exchanges.get(deadLetterExchange)
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
    const routed = exchange.name === '' ? this.#defaultRoute(dead.routingKey) : exchange.route(dead.routingKey, dead)
    const targets = reason === 'rejected' ? routed : routed.filter(target => !circles(dead, target.name))
    const settlement = item.stored ? { queueId: queue.id, place: item.envelope.place! } : undefined
    const moved = targets.length > 0 && this.#push(dead, targets, settlement) > 0
    if (moved && settlement !== undefined) this.#release(item.envelope)
    else this.settled(queue, item)
  }

  touched(queue: Queue, item: Item): void {
    if (item.stored && !queue.deleted) this.#store!.note(queue.id, item.envelope.place!, item.returns)
  }

  load(item: Item): boolean {
    const { envelope } = item
    envelope.message = this.#store!.read(envelope.place!)
    if (envelope.message !== undefined) {
      this.#grow(envelope.bodyBytes)
      return true
    }
    this.#onUnreadable(envelope.place!)
    this.#release(envelope)
    return false
  }

  // Private, in order of first use

  #addExchange(
    name: string,
    type: ExchangeType,
    options: { durable: boolean; autoDelete?: boolean; internal?: boolean; arguments?: FieldTable },
  ): Exchange {
    const exchange = new Exchange(
      name,
      type,
      { autoDelete: false, internal: false, arguments: noArguments, ...options },
      this.#routing,
    )
    this.#exchanges.set(name, exchange)
    return exchange
  }

  #checkOpen(): void {
    if (this.#closed) throw AmqpError.of('connection-forced', 'the broker is closed')
  }

  #onCommitted(committed: number): void {
    if (this.#pageable.length > 0) this.#pageOut(committed)
    const waiting = this.#waiting
    while (this.#waitingFrom < waiting.length && waiting[this.#waitingFrom]!.commit <= committed) {
      waiting[this.#waitingFrom++]!.done()
    }
    if (this.#waitingFrom === waiting.length) {
      waiting.length = 0
      this.#waitingFrom = 0
    } else if (this.#waitingFrom > 10_000) {
      waiting.splice(0, this.#waitingFrom)
      this.#waitingFrom = 0
    }
    for (const listener of this.#committedListeners) listener(committed)
  }

  #tellBlocked(before: boolean): void {
    if (this.blocked === before) return
    for (const listener of this.#blockedListeners) listener(this.blocked, this.blockedReason)
  }

  #locked(name: string): AmqpError {
    return AmqpError.of(
      'resource-locked',
      `cannot obtain exclusive access to locked ${this.describe('queue', name)}. It could be originally declared on ` +
        'another connection or the exclusive property value does not match that of the original declaration.',
    )
  }

  #checkOwner(session: Session, queue: Queue): void {
    if (queue.owner !== undefined && queue.owner !== session.owner) throw this.#locked(queue.name)
  }

  #checkNotDefault(exchange: string): void {
    if (exchange === '') throw AmqpError.of('access-refused', 'operation not permitted on the default exchange')
  }

  #ends(session: Session, request: BindRequest): [Exchange | undefined, Destination | undefined] {
    this.#checkNotDefault(request.source)
    if (request.kind === 'exchange') {
      this.#checkNotDefault(request.destination)
      return [this.#exchanges.get(request.source), this.#exchanges.get(request.destination)]
    }
    const queue = this.#queues.get(request.destination)
    if (queue !== undefined) this.#checkOwner(session, queue)
    return [this.#exchanges.get(request.source), queue]
  }

  #noteSource(destination: Destination, source: Exchange): void {
    const sources = this.#sources.get(destination)
    if (sources === undefined) this.#sources.set(destination, new Set([source]))
    else sources.add(source)
  }

  /** The store, when a binding between these two belongs into it. */
  #storeOf(source: Exchange, destination: Destination): Store | undefined {
    if (!source.durable || !destination.durable) return undefined
    return destination.kind === 'queue' && destination.owner !== undefined ? undefined : this.#store
  }

  #removeQueue(queue: Queue): number {
    queue.deleted = true
    this.#queues.delete(queue.name)
    this.#routing.value++
    const stored = this.#store !== undefined && queue.durable && queue.owner === undefined
    let commit = stored ? this.#store!.remove(queueDefinition(queue)) : 0
    commit = Math.max(commit, this.#removeBindingsTo(queue))
    const consumers = [...queue.consumers]
    for (const consumer of consumers) {
      queue.removeConsumer(consumer)
      consumer.queueDeleted()
    }
    queue.purge()
    return commit
  }

  #removeExchange(exchange: Exchange): number {
    this.#exchanges.delete(exchange.name)
    this.#routing.value++
    for (const { destination } of exchange.bindings) this.#sources.get(destination)?.delete(exchange)
    const commit = exchange.durable && this.#store !== undefined ? this.#store.remove(exchangeDefinition(exchange)) : 0
    return Math.max(commit, this.#removeBindingsTo(exchange))
  }

  #removeBindingsTo(destination: Destination): number {
    let commit = 0
    const sources = this.#sources.get(destination)
    this.#sources.delete(destination)
    for (const source of sources ?? []) {
      let removed = 0
      for (const binding of [...source.bindings]) {
        if (binding.destination !== destination) continue
        source.unbind(destination, binding.routingKey, binding.arguments)
        removed++
      }
      if (removed > 0) commit = Math.max(commit, this.#sourceLostBinding(source))
    }
    return commit
  }

  /** An auto-delete exchange goes with its last binding. */
  #sourceLostBinding(source: Exchange): number {
    if (!source.autoDelete || source.bindingCount > 0 || !this.#exchanges.has(source.name)) return 0
    return this.#removeExchange(source)
  }

  #defaultRoute(routingKey: string): Queue[] {
    const queue = this.#queues.get(routingKey)
    return queue === undefined ? [] : [queue]
  }

  /** The commit number to wait for, 0 when nothing went into the store. */
  #pushOne(message: BrokerMessage, queue: Queue, instead: Settlement | undefined): number {
    const stored = queue.id > 0 && message.persistent
    const place = stored ? this.#store!.append(message, [queue.id], instead) : undefined
    const envelope = new Envelope(message, message.body.byteLength, place)
    // Held while it is handed round, so that a queue that drops it at once does not free it for the others.
    envelope.references = 1
    this.#grow(envelopeBytes + envelope.bodyBytes)
    queue.push(envelope, stored)
    return this.#pushed(envelope, queue)
  }

  #push(message: BrokerMessage, queues: readonly Queue[], instead: Settlement | undefined): number {
    if (queues.length === 1) return this.#pushOne(message, queues[0]!, instead)
    const storedIn: number[] = []
    if (message.persistent) for (const queue of queues) if (queue.id > 0) storedIn.push(queue.id)
    const place = storedIn.length > 0 ? this.#store!.append(message, storedIn, instead) : undefined
    const envelope = new Envelope(message, message.body.byteLength, place)
    envelope.references = 1
    this.#grow(envelopeBytes + envelope.bodyBytes)
    let shallowest = queues[0]!
    for (const queue of queues) {
      queue.push(envelope, message.persistent && queue.id > 0)
      if (queue.ready.length < shallowest.ready.length) shallowest = queue
    }
    return this.#pushed(envelope, shallowest)
  }

  /** `shallowest`: the queue that wants it first. */
  #pushed(envelope: Envelope, shallowest: Queue): number {
    const commit = envelope.place === undefined ? 0 : this.#store!.appended
    if (
      commit > 0 &&
      this.#memoryBytes > this.#memoryLimitBytes * pageOutRatio &&
      shallowest.ready.length > deepLength
    ) {
      this.#pageable.push({ commit, envelope })
    }
    this.#release(envelope)
    return commit
  }

  /** Drops from memory what the store has now and nobody wants soon. */
  #pageOut(committed: number): void {
    let count = 0
    for (const { commit, envelope } of this.#pageable) {
      if (commit > committed) break
      count++
      if (envelope.references === 0 || envelope.message === undefined) continue
      envelope.message = undefined
      this.#shrink(envelope.bodyBytes)
    }
    this.#pageable.splice(0, count)
  }

  #release(envelope: Envelope): void {
    if (--envelope.references > 0) return
    this.#shrink(envelope.message === undefined ? envelopeBytes : envelopeBytes + envelope.bodyBytes)
  }

  #grow(bytes: number): void {
    this.#memoryBytes += bytes
    if (this.#overLimit || this.#memoryBytes <= this.#memoryLimitBytes) return
    const before = this.blocked
    this.#overLimit = true
    this.#tellBlocked(before)
  }

  #shrink(bytes: number): void {
    this.#memoryBytes -= bytes
    if (!this.#overLimit || this.#memoryBytes >= this.#memoryLimitBytes * unblockRatio) return
    const before = this.blocked
    this.#overLimit = false
    this.#tellBlocked(before)
  }

  /** A listener that throws loses its session and nothing else: what it had goes back to the queues. */
  #flush(session: Session): void {
    try {
      session.flush()
    } catch (error) {
      this.#onWarning(`A session's onDeliveries threw, the session is closed: ${String(error)}`)
      session.close()
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#running) return
    this.#scheduled = true
    if (this.#turns < turnsPerTick) queueMicrotask(this.#runScheduled)
    else setImmediate(this.#runNextTick)
  }

  readonly #runScheduled = (): void => {
    this.#scheduled = false
    this.#run()
  }

  readonly #runNextTick = (): void => {
    this.#scheduled = false
    this.#turns = 0
    this.#run()
  }

  #run(): void {
    if (this.#running) return
    this.#running = true
    try {
      while (this.#awake.length > 0 || this.#flushes.length > 0) {
        if (this.#turns >= turnsPerTick) break
        const queues = this.#awake
        this.#awake = []
        for (const queue of queues) {
          this.#turns++
          // Stays awake until its turn is over, so that it does not enter the list twice.
          const more = queue.dispatch()
          queue.awake = more
          if (more) this.#awake.push(queue)
        }
        const sessions = this.#flushes
        this.#flushes = []
        for (const session of sessions) this.#flush(session)
      }
    } finally {
      this.#running = false
      if (this.#awake.length > 0 || this.#flushes.length > 0) this.#schedule()
    }
  }
}

function counts(queue: Queue, commit: number) {
  return {
    queue: queue.name,
    messageCount: queue.ready.length,
    consumerCount: queue.consumers.length,
    commit,
  }
}

function isExchangeType(type: string): type is ExchangeType {
  return (exchangeTypes as readonly string[]).includes(type)
}

function queueDefinition(queue: Queue): Definition {
  return { kind: 'queue', id: queue.id, name: queue.name, autoDelete: queue.autoDelete, arguments: queue.arguments }
}

function exchangeDefinition(exchange: Exchange): Definition {
  const { name, type, autoDelete, internal } = exchange
  return { kind: 'exchange', name, type, autoDelete, internal, arguments: exchange.arguments }
}

function bindingDefinition(
  source: Exchange,
  destination: Destination,
  routingKey: string,
  args: FieldTable,
): Definition {
  return {
    kind: 'binding',
    source: source.name,
    destinationKind: destination.kind,
    destination: destination.name,
    routingKey,
    arguments: args,
  }
}
