/**
 * Which exchanges and queues there are and who is bound to whom: declaring, deleting, binding, with every refusal in
 * RabbitMQ's words. What is durable is told to the store, and each change answers the commit number to wait for.
 */

import { randomBytes } from 'node:crypto'
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import { amqpType, checkSameAlternate, checkSameArguments, readQueueArguments } from '../queue/arguments.ts'
import { Queue } from '../queue/queue.ts'
import type { QueueHost } from '../queue/queue-host.ts'
import { type Destination, Exchange, type ExchangeType, exchangeTypes } from '../router/exchange.ts'
import type { Definition, Store } from '../store/store.ts'
import { exchangeMissing, inequivalent, preconditionFailed, queueMissing } from './refusal.ts'
import { bindingDefinition, exchangeDefinition, queueDefinition } from './stored-definitions.ts'

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

/** Who asks: exclusive queues are their owner's alone. */
export interface Asker {
  readonly owner: object
}

const predeclared: readonly (readonly [string, ExchangeType])[] = [
  ['', 'direct'],
  ['amq.direct', 'direct'],
  ['amq.fanout', 'fanout'],
  ['amq.topic', 'topic'],
  ['amq.headers', 'headers'],
  ['amq.match', 'headers'],
]
const noArguments: FieldTable = {}

export class Topology {
  readonly exchanges = new Map<string, Exchange>()
  readonly queues = new Map<string, Queue>()
  /** Where durable definitions go; absent: everything is in memory. */
  store: Store | undefined
  readonly #vhostName: string
  readonly #host: QueueHost
  /** Which exchanges send to a destination, to find its bindings when it goes. */
  readonly #sources = new Map<Destination, Set<Exchange>>()
  readonly #routing = { value: 0 }
  /** Queues that are not stored get negative numbers. */
  #lastQueueId = 0

  constructor(vhostName: string, host: QueueHost) {
    this.#vhostName = vhostName
    this.#host = host
    for (const [name, type] of predeclared) this.#addExchange(name, type, { durable: true })
  }

  declareQueue(
    asker: Asker,
    declaration: QueueDeclaration,
  ): { queue: string; messageCount: number; consumerCount: number; commit: number } {
    if (declaration.passive) return counts(this.queueFor(asker, declaration.queue), 0)
    const name = declaration.queue === '' ? this.makeName('amq.gen-') : declaration.queue
    const existing = this.queues.get(name)
    const described = this.describe('queue', name)
    const durable = declaration.durable ?? false
    const autoDelete = declaration.autoDelete ?? false
    const exclusive = declaration.exclusive ?? false
    const args = declaration.arguments ?? noArguments
    if (existing !== undefined) {
      if (existing.owner !== (exclusive ? asker.owner : undefined)) throw this.#locked(name)
      if (existing.durable !== durable) throw inequivalent('durable', described, durable, existing.durable)
      if (existing.autoDelete !== autoDelete) {
        throw inequivalent('auto_delete', described, autoDelete, existing.autoDelete)
      }
      checkSameArguments(existing.arguments, args, described)
      existing.used()
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
    const stored = durable && !exclusive && this.store !== undefined
    const id = stored ? this.store!.nextQueueId() : --this.#lastQueueId
    const queue = new Queue(
      { name, id, durable, autoDelete, owner: exclusive ? asker.owner : undefined, arguments: args, settings },
      this.#host,
    )
    this.queues.set(name, queue)
    this.#routing.value++
    const commit = stored ? this.store!.define({ kind: 'queue', id, name, autoDelete, arguments: args }) : 0
    return counts(queue, commit)
  }

  deleteQueue(
    asker: Asker,
    request: { queue: string; ifUnused?: boolean; ifEmpty?: boolean },
  ): { messageCount: number; commit: number } {
    const queue = this.queues.get(request.queue)
    if (queue === undefined) return { messageCount: 0, commit: 0 }
    this.#checkOwner(asker, queue)
    const described = this.describe('queue', queue.name)
    if (request.ifUnused && queue.consumers.length > 0) throw preconditionFailed(`${described} in use`)
    if (request.ifEmpty && queue.length > 0) throw preconditionFailed(`${described} not empty`)
    const messageCount = queue.length
    return { messageCount, commit: this.removeQueue(queue) }
  }

  declareExchange(declaration: ExchangeDeclaration): { commit: number } {
    const { exchange: name, type } = declaration
    this.#checkNotDefault(name)
    const existing = this.exchanges.get(name)
    if (declaration.passive) {
      if (existing === undefined) throw exchangeMissing(name, this.#vhostName)
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
      checkSameAlternate(existing.arguments, args, described)
      return { commit: 0 }
    }
    if (name.startsWith('amq.')) {
      throw AmqpError.of('access-refused', `exchange name '${name}' contains reserved prefix 'amq.*'`)
    }
    const alternate = args['alternate-exchange']
    if (alternate !== undefined && typeof alternate !== 'string') {
      throw preconditionFailed(`invalid type '${amqpType(alternate)}' for arg 'alternate-exchange' in ${described}`)
    }
    this.#addExchange(name, type, { durable, autoDelete, internal, arguments: args })
    if (!durable || this.store === undefined) return { commit: 0 }
    return { commit: this.store.define({ kind: 'exchange', name, type, autoDelete, internal, arguments: args }) }
  }

  deleteExchange(request: { exchange: string; ifUnused?: boolean }): { commit: number } {
    this.#checkNotDefault(request.exchange)
    if (request.exchange.startsWith('amq.')) {
      throw AmqpError.of(
        'access-refused',
        `deletion of system ${this.describe('exchange', request.exchange)} not allowed`,
      )
    }
    const exchange = this.exchanges.get(request.exchange)
    if (exchange === undefined) return { commit: 0 }
    if (request.ifUnused && exchange.bindingCount > 0) {
      throw preconditionFailed(`${this.describe('exchange', exchange.name)} in use`)
    }
    return { commit: this.#removeExchange(exchange) }
  }

  bind(asker: Asker, request: BindRequest): { commit: number } {
    const [source, destination] = this.#ends(asker, request)
    if (source === undefined) throw exchangeMissing(request.source, this.#vhostName)
    if (destination === undefined) {
      throw request.kind === 'queue'
        ? queueMissing(request.destination, this.#vhostName)
        : exchangeMissing(request.destination, this.#vhostName)
    }
    const args = request.arguments ?? noArguments
    if (!source.bind({ source, destination, routingKey: request.routingKey, arguments: args })) return { commit: 0 }
    this.#noteSource(destination, source)
    const store = this.#storeOf(source, destination)
    return {
      commit: store === undefined ? 0 : store.define(bindingDefinition(source, destination, request.routingKey, args)),
    }
  }

  unbind(asker: Asker, request: BindRequest): { commit: number } {
    const [source, destination] = this.#ends(asker, request)
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

  /** The queue, which this asker may use. */
  queueFor(asker: Asker, name: string): Queue {
    const queue = this.queues.get(name)
    if (queue === undefined) throw queueMissing(name, this.#vhostName)
    this.#checkOwner(asker, queue)
    return queue
  }

  describe(kind: 'queue' | 'exchange', name: string): string {
    return `${kind} '${name}' in vhost '${this.#vhostName}'`
  }

  makeName(prefix: string): string {
    return prefix + randomBytes(16).toString('base64url')
  }

  /** The connection is gone: its exclusive queues are deleted. */
  ownerGone(owner: object): void {
    for (const queue of this.queues.values()) if (queue.owner === owner) this.removeQueue(queue)
  }

  /** A definition that the store kept. */
  restore(definition: Definition): void {
    switch (definition.kind) {
      case 'queue': {
        const { id, name, autoDelete, arguments: args } = definition
        const settings = readQueueArguments(args, this.describe('queue', name))
        const queue = new Queue(
          { name, id, durable: true, autoDelete, owner: undefined, arguments: args, settings },
          this.#host,
        )
        this.queues.set(name, queue)
        return
      }
      case 'exchange':
        if (!isExchangeType(definition.type)) {
          throw preconditionFailed(`unknown exchange type '${definition.type}' of exchange '${definition.name}'`)
        }
        this.#addExchange(definition.name, definition.type, { ...definition, durable: true })
        return
      case 'binding': {
        const source = this.exchanges.get(definition.source)
        const destination =
          definition.destinationKind === 'queue'
            ? this.queues.get(definition.destination)
            : this.exchanges.get(definition.destination)
        // An end that is not there was removed after the binding was made, and the binding with it.
        if (source === undefined || destination === undefined) return
        const { routingKey, arguments: args } = definition
        if (source.bind({ source, destination, routingKey, arguments: args })) this.#noteSource(destination, source)
      }
    }
  }

  removeQueue(queue: Queue): number {
    queue.deleted = true
    this.queues.delete(queue.name)
    this.#routing.value++
    const stored = this.store !== undefined && queue.durable && queue.owner === undefined
    let commit = stored ? this.store!.remove(queueDefinition(queue)) : 0
    commit = Math.max(commit, this.#removeBindingsTo(queue))
    const consumers = [...queue.consumers]
    for (const consumer of consumers) {
      queue.removeConsumer(consumer)
      consumer.queueDeleted()
    }
    queue.discard()
    return commit
  }

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
    this.exchanges.set(name, exchange)
    return exchange
  }

  #locked(name: string): AmqpError {
    return AmqpError.of(
      'resource-locked',
      `cannot obtain exclusive access to locked ${this.describe('queue', name)}. It could be originally declared on ` +
        'another connection or the exclusive property value does not match that of the original declaration.',
    )
  }

  #checkOwner(asker: Asker, queue: Queue): void {
    if (queue.owner !== undefined && queue.owner !== asker.owner) throw this.#locked(queue.name)
  }

  #checkNotDefault(exchange: string): void {
    if (exchange === '') throw AmqpError.of('access-refused', 'operation not permitted on the default exchange')
  }

  #ends(asker: Asker, request: BindRequest): [Exchange | undefined, Destination | undefined] {
    this.#checkNotDefault(request.source)
    if (request.kind === 'exchange') {
      this.#checkNotDefault(request.destination)
      return [this.exchanges.get(request.source), this.exchanges.get(request.destination)]
    }
    const queue = this.queues.get(request.destination)
    if (queue !== undefined) this.#checkOwner(asker, queue)
    return [this.exchanges.get(request.source), queue]
  }

  #noteSource(destination: Destination, source: Exchange): void {
    const sources = this.#sources.get(destination)
    if (sources === undefined) this.#sources.set(destination, new Set([source]))
    else sources.add(source)
  }

  /** The store, when a binding between these two belongs into it. */
  #storeOf(source: Exchange, destination: Destination): Store | undefined {
    if (!source.durable || !destination.durable) return undefined
    return destination.kind === 'queue' && destination.owner !== undefined ? undefined : this.store
  }

  #removeExchange(exchange: Exchange): number {
    this.exchanges.delete(exchange.name)
    this.#routing.value++
    for (const { destination } of exchange.bindings) this.#sources.get(destination)?.delete(exchange)
    const commit = exchange.durable && this.store !== undefined ? this.store.remove(exchangeDefinition(exchange)) : 0
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
    if (!source.autoDelete || source.bindingCount > 0 || !this.exchanges.has(source.name)) return 0
    return this.#removeExchange(source)
  }
}

function counts(queue: Queue, commit: number) {
  return {
    queue: queue.name,
    messageCount: queue.length,
    consumerCount: queue.consumers.length,
    commit,
  }
}

function isExchangeType(type: string): type is ExchangeType {
  return (exchangeTypes as readonly string[]).includes(type)
}
