/**
 * The way of a message through the engine: routed, told to the store, put into its queues, and out of them again:
 * settled, dead-lettered, or moved in one step with others.
 *
 *     publish   -> route -> append -> push into each queue
 *     transfer  -> all messages and all settlements: one group in the store -> push -> settle
 *     died      -> the dead letter and the settlement of its original: one record in the store -> push
 */
import { AmqpError } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import { circles, deadLetter, readableProperties } from '../queue/dead-letter.ts'
import { Envelope, type Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'
import type { DeathReason } from '../queue/queue-host.ts'
import { expiryOf, keyIn, notBeforeIn } from '../queue/timing.ts'
import type { Exchange } from '../router/exchange.ts'
import type { Addition, Note, RecordPlace, Settlement, Store } from '../store/store.ts'
import type { DirectReplies } from './direct-replies.ts'
import type { Memory } from './memory.ts'
import { exchangeMissing } from './refusal.ts'
import type { Topology } from './topology.ts'

export interface Published {
  /** How many queues took it. */
  readonly routed: number
  /** A full queue refused it (`x-overflow: reject-publish`). */
  readonly rejected: boolean
  /** The commit number to wait for; 0 when there is nothing to wait for. */
  readonly commit: number
}

/** What became of a transfer. */
export type Transferred =
  | {
      readonly done: true
      /** How many queues took each message. */
      readonly routed: readonly number[]
      /** The commit number to wait for; 0 when there is nothing to wait for. */
      readonly commit: number
    }
  | {
      /** Nothing has happened. */
      readonly done: false
      readonly reason: 'unroutable' | 'full'
      /** Which message it was, counted from 0. */
      readonly message: number
    }

/** A message and the queues it goes to. */
export interface Routed {
  readonly message: BrokerMessage
  readonly queues: readonly Queue[]
}

/** A message that is out, and the queue it was taken from. */
interface Taken {
  readonly queue: Queue
  readonly item: Item
}

const nowhere: Published = { routed: 0, rejected: false, commit: 0 }

export class Placement {
  store: Store | undefined
  readonly #vhostName: string
  readonly #topology: Topology
  readonly #replies: DirectReplies
  readonly #memory: Memory
  readonly #clock: Clock
  readonly #onUnreadable: (place: RecordPlace) => void

  constructor(
    vhost: { readonly name: string; readonly topology: Topology; readonly replies: DirectReplies },
    memory: Memory,
    clock: Clock,
    onUnreadable: (place: RecordPlace) => void,
  ) {
    this.#vhostName = vhost.name
    this.#topology = vhost.topology
    this.#replies = vhost.replies
    this.#memory = memory
    this.#clock = clock
    this.#onUnreadable = onUnreadable
  }

  /** Throws AmqpError: the exchange is absent or internal, or the message cannot be stored. */
  publish(message: BrokerMessage): Published {
    const { exchange: exchangeName, routingKey } = message
    if (exchangeName === '') {
      const queue = this.#topology.queues.get(routingKey)
      if (queue === undefined) {
        // Which counts as unroutable all the same, as in RabbitMQ.
        this.#replies.deliver(message)
        return nowhere
      }
      if (queue.full) {
        this.#refused(message, queue)
        return { routed: 1, rejected: true, commit: 0 }
      }
      return { routed: 1, rejected: false, commit: this.#pushOne(message, queue, undefined) }
    }
    const queues = this.#route(this.#exchangeFor(exchangeName), message)
    if (queues.length === 0) return nowhere
    let rejected = false
    for (const queue of queues) if (queue.full) rejected = true
    const takers = rejected ? queues.filter(queue => !queue.full) : queues
    if (rejected) for (const queue of queues) if (!takers.includes(queue)) this.#refused(message, queue)
    return {
      routed: queues.length,
      rejected,
      commit: takers.length === 0 ? 0 : this.#push(message, takers, undefined),
    }
  }

  /** Where the message would go now. Throws AmqpError. */
  route(message: BrokerMessage): readonly Queue[] {
    if (message.exchange === '') return this.#defaultRoute(message.routingKey)
    return this.#route(this.#exchangeFor(message.exchange), message)
  }

  /** The first of these that a queue has no room for, when those before it have been put in; -1 when all fit. */
  firstRefused(routed: readonly Routed[]): number {
    const added = new Map<Queue, { messages: number; bytes: number }>()
    for (const [index, { message, queues }] of routed.entries()) {
      for (const queue of queues) {
        if (!queue.mayRefuse) continue
        const before = added.get(queue) ?? { messages: 0, bytes: 0 }
        if (queue.fullWith(before.messages, before.bytes)) return index
        added.set(queue, { messages: before.messages + 1, bytes: before.bytes + message.body.byteLength })
      }
    }
    return -1
  }

  /**
   * Puts all messages into their queues and settles what was taken, in one step of the store. Answers the commit number
   * to wait for, 0 when there is nothing to wait for. Throws AmqpError, having done nothing.
   */
  transfer(routed: readonly Routed[], taken: readonly Taken[]): number {
    const additions: Addition[] = []
    const settlements: Settlement[] = []
    const envelopes = routed.map(({ message, queues }) => {
      const envelope = new Envelope(message, message.body.byteLength, undefined)
      const timed = message.timed !== false && this.#time(envelope, message, 0)
      const queueIds = message.persistent ? queues.map(({ id }) => id).filter(id => id > 0) : []
      const addition = queueIds.length === 0 ? undefined : { message, queueIds, timed }
      if (addition !== undefined) additions.push(addition)
      return { envelope, stored: addition !== undefined }
    })
    for (const { queue, item } of taken) {
      if (item.stored) settlements.push({ queueId: queue.id, place: item.envelope.place! })
    }
    let commit = 0
    if (additions.length > 0 || settlements.length > 0) {
      const places = this.store!.appendGroup(additions, settlements)
      commit = this.store!.appended
      let next = 0
      for (const { envelope, stored } of envelopes) if (stored) envelope.place = places[next++]
    }
    for (const [index, { message, queues }] of routed.entries()) {
      if (queues.length === 0) {
        if (message.exchange === '') this.#replies.deliver(message)
        continue
      }
      const { envelope } = envelopes[index]!
      this.#memory.hold(envelope)
      this.#pushed(envelope, this.#fill(envelope, queues, message.persistent))
    }
    for (const { queue, item } of taken) {
      queue.release(item)
      this.#memory.release(item.envelope)
    }
    return commit
  }

  /** The item is done with. */
  settled(queue: Queue, item: Item): void {
    const { envelope } = item
    if (item.stored) this.store!.settle(queue.id, envelope.place!)
    this.#memory.release(envelope)
  }

  died(queue: Queue, item: Item, reason: DeathReason): void {
    const exchange = this.#deadLetterExchange(queue)
    if (exchange === undefined) {
      this.settled(queue, item)
      return
    }
    if (item.envelope.message === undefined && !this.load(item)) return
    const settlement = item.stored ? { queueId: queue.id, place: item.envelope.place! } : undefined
    const moved = this.#deadLetter(item.envelope.message!, queue, exchange, reason, settlement) > 0
    if (moved && settlement !== undefined) this.#memory.release(item.envelope)
    else this.settled(queue, item)
  }

  note(queue: Queue, item: Item, what: Note): void {
    if (item.stored && !queue.deleted) this.store!.note(queue.id, item.envelope.place!, what, item.returns)
  }

  load(item: Item): boolean {
    const { envelope } = item
    envelope.message = this.store!.read(envelope.place!)
    if (envelope.message !== undefined) {
      this.#memory.loaded(envelope)
      return true
    }
    this.#onUnreadable(envelope.place!)
    this.#memory.release(envelope)
    return false
  }

  keyOf(item: Item): string {
    const message = item.envelope.message ?? this.store!.read(item.envelope.place!)
    if (message === undefined) return ''
    return (message.native === undefined ? keyIn(readableProperties(message)) : message.native.key) ?? ''
  }

  priorityOf(item: Item): number {
    const message = item.envelope.message ?? this.store?.read(item.envelope.place!)
    return (message && readableProperties(message).priority) ?? 0
  }

  idOf(item: Item): string | undefined {
    const message = item.envelope.message ?? this.store?.read(item.envelope.place!)
    if (message === undefined) return undefined
    return message.native === undefined ? readableProperties(message).messageId : message.native.id
  }

  /** An envelope for a message that the store kept, published then. */
  restored(bodyBytes: number, place: RecordPlace, timed: BrokerMessage | undefined, publishedAt: number): Envelope {
    const envelope = new Envelope(undefined, bodyBytes, place)
    if (timed !== undefined) this.#time(envelope, timed, publishedAt)
    return envelope
  }

  // Private, in order of first use

  #exchangeFor(name: string): Exchange {
    const exchange = this.#topology.exchanges.get(name)
    if (exchange === undefined) throw exchangeMissing(name, this.#vhostName)
    if (exchange.internal) {
      throw AmqpError.of('access-refused', `cannot publish to internal ${this.#topology.describe('exchange', name)}`)
    }
    return exchange
  }

  /** A message that a full queue did not take. */
  #refused(message: BrokerMessage, queue: Queue): void {
    if (queue.settings.overflow !== 'reject-publish-dlx') return
    const exchange = this.#deadLetterExchange(queue)
    if (exchange !== undefined) this.#deadLetter(message, queue, exchange, 'maxlen', undefined)
  }

  #deadLetterExchange({ settings: { deadLetterExchange } }: Queue): Exchange | undefined {
    return deadLetterExchange === undefined ? undefined : this.#topology.exchanges.get(deadLetterExchange)
  }

  /** The commit number of the dead letter, 0 when the store has nothing of it. */
  #deadLetter(
    message: BrokerMessage,
    queue: Queue,
    exchange: Exchange,
    reason: DeathReason,
    instead: Settlement | undefined,
  ): number {
    const dead = deadLetter(message, {
      queue: queue.name,
      reason,
      exchange: exchange.name,
      routingKey: queue.settings.deadLetterRoutingKey,
      now: this.#clock.now(),
    })
    const routed = exchange.name === '' ? this.#defaultRoute(dead.routingKey) : this.#route(exchange, dead)
    const targets = reason === 'rejected' ? routed : routed.filter(target => !circles(dead, target.name))
    return targets.length === 0 ? 0 : this.#push(dead, targets, instead)
  }

  /** The commit number to wait for, 0 when nothing went into the store. */
  #pushOne(message: BrokerMessage, queue: Queue, instead: Settlement | undefined): number {
    const stored = queue.id > 0 && message.persistent
    const envelope = new Envelope(message, message.body.byteLength, undefined)
    const timed = message.timed !== false && this.#time(envelope, message, 0)
    if (stored) envelope.place = this.store!.append(message, [queue.id], instead, timed)
    // Held while it is handed round, so that a queue that drops it at once does not free it for the others.
    this.#memory.hold(envelope)
    queue.push(envelope, stored)
    return this.#pushed(envelope, queue)
  }

  #push(message: BrokerMessage, queues: readonly Queue[], instead: Settlement | undefined): number {
    if (queues.length === 1) return this.#pushOne(message, queues[0]!, instead)
    const storedIn: number[] = []
    if (message.persistent) for (const queue of queues) if (queue.id > 0) storedIn.push(queue.id)
    const envelope = new Envelope(message, message.body.byteLength, undefined)
    const timed = message.timed !== false && this.#time(envelope, message, 0)
    if (storedIn.length > 0) envelope.place = this.store!.append(message, storedIn, instead, timed)
    this.#memory.hold(envelope)
    return this.#pushed(envelope, this.#fill(envelope, queues, message.persistent))
  }

  /** Puts it into each queue; the one that wants it first. */
  #fill(envelope: Envelope, queues: readonly Queue[], persistent: boolean): Queue {
    let shallowest = queues[0]!
    for (const queue of queues) {
      queue.push(envelope, persistent && queue.id > 0)
      if (queue.length < shallowest.length) shallowest = queue
    }
    return shallowest
  }

  #pushed(envelope: Envelope, shallowest: Queue): number {
    const commit = envelope.place === undefined ? 0 : this.store!.appended
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
      const next = this.#topology.exchanges.get(alternate)
      if (next === undefined || seen.has(next)) return queues
      queues = next.route(message.routingKey, message)
      if (queues.length > 0) return queues
      seen.add(next)
      from = next
    }
  }

  #defaultRoute(routingKey: string): readonly Queue[] {
    const queue = this.#topology.queues.get(routingKey)
    return queue === undefined ? [] : [queue]
  }
}
