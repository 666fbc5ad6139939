/**
 * A message's routing key in, queues out. An exchange knows what is bound to it; the answer for a key is kept until
 * any binding of the virtual host changes, so that a busy key costs one lookup.
 */
import type { BasicProperties, FieldTable } from '@chasqui/amqp'
import type { Queue } from '../queue/queue.ts'
import { headersMatch } from './headers.ts'
import { TopicTree } from './topic.ts'

export const exchangeTypes = ['direct', 'fanout', 'topic', 'headers'] as const
export type ExchangeType = (typeof exchangeTypes)[number]

export type Destination = Queue | Exchange

export interface Binding {
  readonly source: Exchange
  readonly destination: Destination
  readonly routingKey: string
  readonly arguments: FieldTable
}

/** Bindings change rarely and messages come often: one number that grows with each change makes cached routes stale. */
export interface RoutingEpoch {
  value: number
}

/** Keys remembered per exchange; beyond it the memory starts anew, so that keys without end cost no memory. */
const mostRoutes = 4096
const nothing: readonly Queue[] = []

export class Exchange {
  readonly kind = 'exchange'
  readonly name: string
  readonly type: ExchangeType
  readonly durable: boolean
  readonly autoDelete: boolean
  readonly internal: boolean
  readonly arguments: FieldTable
  readonly #epoch: RoutingEpoch
  readonly #bindings = new Map<string, Binding>()
  readonly #byKey = new Map<string, Destination[]>()
  readonly #topics = new TopicTree()
  #routes = new Map<string, readonly Queue[]>()
  #routesEpoch = -1
  #cacheable = true

  constructor(
    name: string,
    type: ExchangeType,
    options: { durable: boolean; autoDelete: boolean; internal: boolean; arguments: FieldTable },
    epoch: RoutingEpoch,
  ) {
    this.name = name
    this.type = type
    this.durable = options.durable
    this.autoDelete = options.autoDelete
    this.internal = options.internal
    this.arguments = options.arguments
    this.#epoch = epoch
  }

  get bindings(): Iterable<Binding> {
    return this.#bindings.values()
  }

  get bindingCount(): number {
    return this.#bindings.size
  }

  /** False when the very same binding is there already. */
  bind(binding: Binding): boolean {
    const key = bindingKey(binding.destination, binding.routingKey, binding.arguments)
    if (this.#bindings.has(key)) return false
    this.#bindings.set(key, binding)
    if (this.type === 'topic') this.#topics.add(binding.routingKey, binding.destination)
    else if (this.type === 'direct') {
      const list = this.#byKey.get(binding.routingKey)
      if (list === undefined) this.#byKey.set(binding.routingKey, [binding.destination])
      else list.push(binding.destination)
    }
    this.#epoch.value++
    return true
  }

  /** The binding that was removed, if there was one. */
  unbind(destination: Destination, routingKey: string, args: FieldTable): Binding | undefined {
    const key = bindingKey(destination, routingKey, args)
    const binding = this.#bindings.get(key)
    if (binding === undefined) return undefined
    this.#bindings.delete(key)
    if (this.type === 'topic') this.#topics.remove(routingKey, destination)
    else if (this.type === 'direct') {
      const list = this.#byKey.get(routingKey)!
      list.splice(list.indexOf(destination), 1)
      if (list.length === 0) this.#byKey.delete(routingKey)
    }
    this.#epoch.value++
    return binding
  }

  /** Every queue that a message of this key goes to, each once. The list is shared: do not change it. */
  route(routingKey: string, properties: { readonly properties: BasicProperties }): readonly Queue[] {
    if (this.#routesEpoch !== this.#epoch.value) {
      this.#routes = new Map()
      this.#routesEpoch = this.#epoch.value
      this.#cacheable = !reachesHeaders(this, new Set())
    } else {
      const known = this.#routes.get(routingKey)
      if (known !== undefined) return known
    }
    const found = new Set<Destination>()
    this.#collect(routingKey, properties, found, new Set())
    const queues: Queue[] = []
    for (const destination of found) if (destination.kind === 'queue') queues.push(destination)
    const route = queues.length === 0 ? nothing : queues
    if (this.#cacheable) {
      if (this.#routes.size >= mostRoutes) this.#routes.clear()
      this.#routes.set(routingKey, route)
    }
    return route
  }

  #collect(
    routingKey: string,
    message: { readonly properties: BasicProperties },
    found: Set<Destination>,
    seen: Set<Exchange>,
  ): void {
    seen.add(this)
    const here = new Set<Destination>()
    switch (this.type) {
      case 'direct':
        for (const destination of this.#byKey.get(routingKey) ?? nothing) here.add(destination)
        break
      case 'fanout':
        for (const binding of this.#bindings.values()) here.add(binding.destination)
        break
      case 'topic':
        this.#topics.match(routingKey, here)
        break
      case 'headers':
        for (const binding of this.#bindings.values()) {
          if (headersMatch(binding.arguments, message.properties.headers)) here.add(binding.destination)
        }
    }
    for (const destination of here) {
      if (destination.kind === 'queue') found.add(destination)
      else if (!seen.has(destination)) destination.#collect(routingKey, message, found, seen)
    }
  }
}

function reachesHeaders(exchange: Exchange, seen: Set<Exchange>): boolean {
  if (exchange.type === 'headers') return true
  seen.add(exchange)
  for (const { destination } of exchange.bindings) {
    if (destination.kind === 'exchange' && !seen.has(destination) && reachesHeaders(destination, seen)) return true
  }
  return false
}

function bindingKey(destination: Destination, routingKey: string, args: FieldTable): string {
  const names = Object.keys(args)
  const shown = names.length === 0 ? '' : JSON.stringify(names.sort().map(name => [name, String(args[name])]))
  return `${destination.kind}\0${destination.name}\0${routingKey}\0${shown}`
}
