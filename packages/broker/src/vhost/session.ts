/**
 * What an AMQP channel is, without the wire: declares, publishes, consumes and settles on behalf of one user of the
 * broker. Every method is synchronous and refuses with an `AmqpError` that bears RabbitMQ's code, text and scope. After
 * a refusal the owner closes the session (or all of its sessions, for the scope `connection`).
 */
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import type { BrokerMessage, Delivery } from '../message.ts'
import { Consumer, type ConsumerSession } from '../queue/consumer.ts'
import type { Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'
import { type Consume, orderIn, priorityIn } from './consume.ts'
import { directReplyName, isReplyName, ReplyConsumer } from './direct-replies.ts'
import { OutgoingDelivery } from './outgoing-delivery.ts'
import type { Published } from './placement.ts'
import { preconditionFailed, queueMissing } from './refusal.ts'
import type { ExchangeDeclaration, QueueDeclaration } from './topology.ts'
import { Transaction } from './transaction.ts'
import { Unsettled } from './unsettled.ts'
import type { VirtualHost } from './vhost.ts'

export interface SessionOptions {
  /** The connection's identity: exclusive queues belong to it. */
  readonly owner: object
  /** Who publishes, for the check of `user-id`. */
  readonly user?: string | undefined
  /** Takes deliveries of one consumer, in order. It may settle, publish and cancel at once. */
  onDeliveries(deliveries: readonly Delivery[]): void
  /** The queue of this consumer was deleted; nothing more comes for it. */
  onCancelled(consumerTag: string): void
  /** The broker has closed and this session with it. */
  onClosed?(): void
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

export class Session implements ConsumerSession {
  readonly owner: object
  readonly user: string | undefined
  closed = false
  readonly #vhost: VirtualHost
  readonly #options: SessionOptions
  readonly #consumers = new Map<string, Consumer>()
  readonly #batches = new Map<Consumer, OutgoingDelivery[]>()
  readonly #unsettled = new Unsettled()
  /** The queue declared last: what an empty name stands for. */
  #lastQueue: string | undefined
  #prefetch = 0
  #globalPrefetch = 0
  /** Deliveries to consumers that are not settled; `get` does not count. */
  #consumed = 0
  #flowing = true
  #waitsForFlush = false
  #replies: ReplyConsumer | undefined
  /** Present once the session is transactional. */
  #transaction: Transaction | undefined

  constructor(vhost: VirtualHost, options: SessionOptions) {
    this.#vhost = vhost
    this.#options = options
    this.owner = options.owner
    this.user = options.user
  }

  /** Deliveries that are not settled, also those taken with `get`. */
  get unsettled(): number {
    return this.#unsettled.size
  }

  get hasCredit(): boolean {
    return this.#flowing && (this.#globalPrefetch === 0 || this.#consumed < this.#globalPrefetch)
  }

  // Definitions

  declareQueue(declaration: QueueDeclaration): {
    queue: string
    messageCount: number
    consumerCount: number
    commit: number
  } {
    this.#checkOpen()
    if (isReplyName(declaration.queue)) {
      // Whatever is asked for, it is only looked at (RabbitMQ, "Direct Reply-to").
      if (!this.#vhost.replies.has(declaration.queue)) throw queueMissing(declaration.queue, this.#vhost.name)
      return { queue: declaration.queue, messageCount: 0, consumerCount: 1, commit: 0 }
    }
    const result = this.#vhost.topology.declareQueue(this, declaration)
    this.#lastQueue = result.queue
    return result
  }

  deleteQueue(request: { queue: string; ifUnused?: boolean; ifEmpty?: boolean }): {
    messageCount: number
    commit: number
  } {
    this.#checkOpen()
    return this.#vhost.topology.deleteQueue(this, { ...request, queue: this.#named(request.queue) })
  }

  purgeQueue(request: { queue: string }): { messageCount: number; commit: number } {
    this.#checkOpen()
    const queue = this.#vhost.topology.queueFor(this, this.#named(request.queue))
    return { messageCount: queue.purge(), commit: 0 }
  }

  bindQueue(request: { queue: string; exchange: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.#checkOpen()
    const queue = this.#named(request.queue)
    // An empty key beside an empty queue name stands for the queue's own (AMQP 0-9-1 section 1.7.2.3).
    const routingKey = request.queue === '' && request.routingKey === '' ? queue : request.routingKey
    return this.#vhost.topology.bind(this, {
      ...request,
      kind: 'queue',
      destination: queue,
      source: request.exchange,
      routingKey,
    })
  }

  unbindQueue(request: { queue: string; exchange: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    const queue = this.#named(request.queue)
    const routingKey = request.queue === '' && request.routingKey === '' ? queue : request.routingKey
    return this.#vhost.topology.unbind(this, {
      ...request,
      kind: 'queue',
      destination: queue,
      source: request.exchange,
      routingKey,
    })
  }

  declareExchange(declaration: ExchangeDeclaration): { commit: number } {
    this.#checkOpen()
    return this.#vhost.topology.declareExchange(declaration)
  }

  deleteExchange(request: { exchange: string; ifUnused?: boolean }): { commit: number } {
    this.#checkOpen()
    return this.#vhost.topology.deleteExchange(request)
  }

  bindExchange(request: { destination: string; source: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.#checkOpen()
    return this.#vhost.topology.bind(this, { ...request, kind: 'exchange' })
  }

  unbindExchange(request: { destination: string; source: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.#checkOpen()
    return this.#vhost.topology.unbind(this, { ...request, kind: 'exchange' })
  }

  // Publishing

  /** Routes a message and puts it into its queues. Consumers get it one microtask later. */
  publish(message: BrokerMessage, _options?: { mandatory?: boolean }): Published {
    if (this.closed) this.#checkOpen()
    return this.#vhost.placement.publish(message)
  }

  /**
   * Publishes all messages and acknowledges all of these tags, as one step: after a crash all of it has happened or nothing.
   * Nothing happens either when a queue is full (`x-overflow: reject-publish`) or, with `mandatory`, when a message has no
   * queue to go to. Throws AmqpError, having done nothing: an unknown tag, an absent exchange, too much for one step.
   */
  transfer(
    tags: readonly number[],
    messages: readonly BrokerMessage[],
    options: { readonly mandatory?: boolean } = {},
  ): Transferred {
    this.#checkOpen()
    const { placement } = this.#vhost
    for (const tag of tags) if (!this.#unsettled.has(tag)) throw unknownTag(tag)
    const routed = messages.map(message => ({ message, queues: placement.route(message) }))
    const unroutable = options.mandatory ? routed.findIndex(({ queues }) => queues.length === 0) : -1
    if (unroutable >= 0) return { done: false, reason: 'unroutable', message: unroutable }
    const full = placement.firstRefused(routed)
    if (full >= 0) return { done: false, reason: 'full', message: full }
    const taken = [...new Set(tags)].map(tag => this.#unsettled.take(tag)!)
    let commit: number
    try {
      commit = placement.transfer(routed, taken)
    } catch (error) {
      for (const delivery of taken) this.#unsettled.putBack(delivery)
      throw error
    }
    for (const delivery of taken) this.#release(delivery)
    return { done: true, routed: routed.map(({ queues }) => queues.length), commit }
  }

  /** Calls `done` once the store has committed that number: at once when it has already. Calls come in order. */
  whenCommitted(commit: number, done: () => void): void {
    this.#vhost.whenCommitted(commit, done)
  }

  // Consuming

  consume(request: Consume): string {
    this.#checkOpen()
    if (request.queue === directReplyName) return this.#consumeReplies(request)
    const queue = this.#vhost.topology.queueFor(this, this.#named(request.queue))
    const tag = this.#newTag(request)
    const isShared = queue.consumers.length > 0 || queue.settings.singleActiveConsumer
    if (queue.exclusivelyConsumed || (request.exclusive && isShared)) {
      throw AmqpError.of('access-refused', `${this.#vhost.topology.describe('queue', queue.name)} in exclusive use`)
    }
    if (queue.settings.type === 'quorum' && this.#globalPrefetch > 0) {
      throw AmqpError.of(
        'not-implemented',
        `${this.#vhost.topology.describe('queue', queue.name)} does not support global qos`,
      )
    }
    const consumer = new Consumer(this, queue, {
      tag,
      noAck: request.noAck ?? false,
      exclusive: request.exclusive ?? false,
      prefetch: request.prefetch ?? this.#prefetch,
      order: request.order ?? orderIn(request.arguments),
      priority: priorityIn(request.arguments, this.#vhost.topology.describe('queue', queue.name)),
    })
    this.#consumers.set(tag, consumer)
    if (consumer.exclusive) queue.exclusivelyConsumed = true
    queue.addConsumer(consumer)
    return tag
  }

  /** Ends the consumer; what it has unsettled stays its session's. An unknown tag is no error. */
  cancel(consumerTag: string): void {
    if (this.#replies?.tag === consumerTag) {
      this.#closeReplies()
      return
    }
    const consumer = this.#consumers.get(consumerTag)
    if (consumer === undefined) return
    this.#consumers.delete(consumerTag)
    this.#giveBackBatch(consumer)
    consumer.queue.removeConsumer(consumer)
    this.#vhost.consumerGone(consumer.queue)
  }

  get(queueName: string, noAck: boolean): (Delivery & { readonly remaining: number }) | undefined {
    this.#checkOpen()
    const queue = this.#vhost.topology.queueFor(this, this.#named(queueName))
    queue.used()
    const item = queue.take()
    if (item === undefined) return undefined
    const delivery = new OutgoingDelivery(this.#unsettled.nextTag, item, queue, undefined)
    if (noAck) {
      this.#unsettled.skip()
      queue.settle(item)
    } else {
      this.#unsettled.add(delivery)
      this.#vhost.handedOut(queue, item)
      this.#vhost.noteDelivered()
    }
    return Object.assign(delivery, { remaining: queue.length })
  }

  /** Where replies to this session go; undefined while it does not consume `amq.rabbitmq.reply-to`. */
  get replyAddress(): string | undefined {
    return this.#replies?.address
  }

  /** Takes back a message that is not due yet, by its id; false where the queue has none of it. */
  cancelDelayed(queueName: string, messageId: string): boolean {
    this.#checkOpen()
    return this.#vhost.topology.queueFor(this, queueName).cancelDelayed(messageId)
  }

  /** `global` false: for each consumer made from now on. True: for the session as a whole, from now on. 0: no limit. */
  qos(prefetch: number, global: boolean): void {
    if (!global) {
      this.#prefetch = prefetch
      return
    }
    this.#globalPrefetch = prefetch
    this.#offerAll()
  }

  /** Changes one consumer's limit while it runs. 0 is no limit here too; see `flow` for a pause. */
  setConsumerPrefetch(consumerTag: string, prefetch: number): void {
    const consumer = this.#consumers.get(consumerTag)
    if (consumer === undefined) return
    consumer.prefetch = prefetch
    consumer.queue.offer(consumer)
  }

  /** `false`: no deliveries until `true`. What is on its way already still comes. */
  flow(active: boolean): void {
    this.#flowing = active
    if (!active) return
    this.#offerAll()
    if (this.#replies !== undefined) this.#flushLater()
  }

  // Settling

  ack(tag: number, multiple: boolean): void {
    if (this.#transaction !== undefined) {
      this.#transaction.acknowledge(multiple ? this.#takeUpTo(tag) : [this.#take(tag)])
    } else if (multiple) for (const delivery of this.#takeUpTo(tag)) this.#settle(delivery)
    else this.#settle(this.#take(tag))
  }

  /** Acknowledges these tags and no others. Refused as a whole when one of them is unknown. */
  ackMany(tags: readonly number[]): void {
    for (const tag of tags) if (!this.#unsettled.has(tag)) throw unknownTag(tag)
    for (const tag of tags) {
      const delivery = this.#unsettled.take(tag)
      if (delivery !== undefined) this.#settle(delivery)
    }
  }

  nack(tag: number, multiple: boolean, requeue: boolean): void {
    const deliveries = multiple ? this.#takeUpTo(tag) : [this.#take(tag)]
    if (this.#transaction !== undefined) {
      this.#transaction.refuse(deliveries, requeue)
      return
    }
    for (const delivery of deliveries) {
      if (!requeue) delivery.queue.reject(delivery.item)
      this.#release(delivery)
    }
    // After the credit is back, so that it is not this item alone that decides who gets it.
    if (requeue) for (const delivery of deliveries) delivery.queue.giveBack(delivery.item, true)
  }

  /** Everything unsettled is delivered again. Without `requeue` AMQP wants the same consumer; RabbitMQ refuses that. */
  recover(requeue: boolean): void {
    if (!requeue) throw AmqpError.of('not-implemented', 'requeue=false')
    this.#returnAll(true)
  }

  // Transactions (AMQP 0-9-1 section 1.9)

  /** True once `selectTransaction` was called: it stays so. */
  get transactional(): boolean {
    return this.#transaction !== undefined
  }

  /** From now on publishing with `publishLater`, and settling, wait for `commit` or `rollback`. */
  selectTransaction(): void {
    this.#checkOpen()
    this.#transaction ??= new Transaction()
  }

  /** Routes the message; it goes to its queues at the commit. Throws AmqpError. */
  publishLater(message: BrokerMessage, mandatory: boolean): void {
    this.#checkOpen()
    const transaction = this.#transactionOf()
    transaction.publish({ message, queues: this.#vhost.placement.route(message), mandatory })
    this.#vhost.reserve(message.body.byteLength)
  }

  /**
   * Everything since the last commit happens, publishes and acknowledgements in one step; what was refused goes back or
   * is dead-lettered right behind it. `unroutable`: mandatory messages that no queue took. Throws AmqpError when a full
   * queue refuses a message: nothing has happened then.
   */
  commit(): { readonly commit: number; readonly unroutable: readonly BrokerMessage[] } {
    const transaction = this.#transactionOf()
    const { published, acknowledged, refused } = transaction
    const { placement } = this.#vhost
    const routed = published.map(({ message, queues }) => ({
      message,
      queues: queues.some(queue => queue.deleted) ? queues.filter(queue => !queue.deleted) : queues,
    }))
    if (placement.firstRefused(routed) >= 0) throw preconditionFailed('partial tx completion')
    const commit = placement.transfer(routed, acknowledged)
    this.#emptied(transaction)
    this.#transaction = new Transaction()
    for (const delivery of acknowledged) this.#release(delivery)
    for (const { delivery, requeue } of refused) {
      this.#release(delivery)
      if (requeue) delivery.queue.giveBack(delivery.item, true)
      else delivery.queue.reject(delivery.item)
    }
    const unroutable = published.filter(({ mandatory }, index) => mandatory && routed[index]!.queues.length === 0)
    return { commit, unroutable: unroutable.map(({ message }) => message) }
  }

  /** Nothing since the last commit has happened: what was settled is unsettled again, with its old tag. */
  rollback(): void {
    const transaction = this.#transactionOf()
    this.#emptied(transaction)
    for (const delivery of transaction.takeSettled()) this.#unsettled.putBack(delivery)
    this.#transaction = new Transaction()
  }

  /** Unsettled deliveries go back in order, consumers end. May be called twice. */
  close(): void {
    if (this.closed) return
    if (this.#transaction !== undefined) this.rollback()
    this.closed = true
    this.#flowing = false
    this.#closeReplies()
    const queues = new Set<Queue>()
    for (const consumer of this.#consumers.values()) {
      this.#giveBackBatch(consumer)
      consumer.queue.removeConsumer(consumer)
      queues.add(consumer.queue)
    }
    this.#consumers.clear()
    this.#returnAll(true)
    for (const queue of queues) this.#vhost.consumerGone(queue)
    this.#vhost.sessionClosed(this)
  }

  // For the queue and the virtual host

  /** The broker closes: as `close`, and tells the session's user. */
  brokerClosed(): void {
    if (this.closed) return
    this.close()
    this.#options.onClosed?.()
  }

  give(consumer: Consumer, item: Item): void {
    const { queue } = consumer
    const delivery = new OutgoingDelivery(
      consumer.noAck ? this.#unsettled.skip() : this.#unsettled.nextTag,
      item,
      queue,
      consumer,
    )
    if (!consumer.noAck) {
      this.#unsettled.add(delivery)
      consumer.unsettled++
      this.#consumed++
    }
    const batch = this.#batches.get(consumer)
    if (batch === undefined) this.#batches.set(consumer, [delivery])
    else batch.push(delivery)
    this.#flushLater()
  }

  /** A reply for this session, see direct-replies.ts. */
  takeReply(message: BrokerMessage): void {
    const replies = this.#replies!
    // The tag is that of the next delivery that may be settled, as RabbitMQ has it: this one cannot be.
    if (replies.add(this.#unsettled.nextTag, message)) {
      this.#flushLater()
    } else if (!replies.dropping) {
      replies.dropping = true
      this.#vhost.warn(`Replies to the consumer ${replies.tag} are dropped until its client reads what it is sent.`)
    }
  }

  /** Hands the gathered batches over. */
  flush(): void {
    this.#waitsForFlush = false
    if (this.#replies !== undefined && this.#flowing) {
      const replies = this.#replies.take()
      if (replies.length > 0) this.#options.onDeliveries(replies)
    }
    for (const [consumer, batch] of this.#batches) {
      this.#batches.delete(consumer)
      if (consumer.noAck) for (const delivery of batch) delivery.queue.settle(delivery.item)
      this.#options.onDeliveries(batch)
    }
  }

  /** The consumer's queue is deleted. */
  queueDeleted(consumer: Consumer): void {
    this.#batches.delete(consumer)
    if (!this.#consumers.delete(consumer.tag)) return
    this.#options.onCancelled(consumer.tag)
  }

  #checkOpen(): void {
    if (!this.closed) return
    if (this.#vhost.closed) throw AmqpError.of('connection-forced', 'the broker is closed')
    throw AmqpError.of('channel-error', 'the session is closed')
  }

  #newTag({ consumerTag }: Consume): string {
    if (consumerTag && this.#consumers.has(consumerTag)) {
      throw AmqpError.of('not-allowed', `attempt to reuse consumer tag '${consumerTag}'`)
    }
    return consumerTag || this.#vhost.topology.makeName('amq.ctag-')
  }

  #consumeReplies(request: Consume): string {
    const tag = this.#newTag(request)
    if (!request.noAck) throw preconditionFailed('reply consumer cannot acknowledge')
    if (this.#replies !== undefined) throw preconditionFailed('reply consumer already set')
    this.#replies = new ReplyConsumer(tag, this.#vhost.replies.open(this))
    return tag
  }

  #closeReplies(): void {
    if (this.#replies === undefined) return
    this.#vhost.replies.close(this.#replies.address)
    this.#replies = undefined
  }

  #flushLater(): void {
    if (this.#waitsForFlush) return
    this.#waitsForFlush = true
    this.#vhost.flushLater(this)
  }

  #transactionOf(): Transaction {
    if (this.#transaction === undefined) throw preconditionFailed('channel is not transactional')
    return this.#transaction
  }

  /** What it held of messages is no longer counted. */
  #emptied(transaction: Transaction): void {
    this.#vhost.reserve(-transaction.bytes)
  }

  #named(queue: string): string {
    if (queue !== '') return queue
    if (this.#lastQueue === undefined) throw AmqpError.of('not-found', 'no previously declared queue')
    return this.#lastQueue
  }

  #take(tag: number): OutgoingDelivery {
    const delivery = this.#unsettled.take(tag)
    if (delivery === undefined) throw unknownTag(tag)
    return delivery
  }

  /** Tag 0 means all of them (AMQP 0-9-1 section 1.8.3.13). */
  #takeUpTo(tag: number): OutgoingDelivery[] {
    if (tag === 0) return this.#unsettled.takeUpTo(this.#unsettled.nextTag - 1)
    if (!this.#unsettled.has(tag)) throw unknownTag(tag)
    return this.#unsettled.takeUpTo(tag)
  }

  #settle(delivery: OutgoingDelivery): void {
    delivery.queue.settle(delivery.item)
    this.#release(delivery)
  }

  /** Gives the consumer and the session their credit back. */
  #release(delivery: OutgoingDelivery): void {
    const { consumer } = delivery
    if (consumer === undefined) return
    consumer.unsettled--
    this.#consumed--
    if (this.#globalPrefetch > 0) this.#offerAll()
    else if (!consumer.willing && this.#consumers.has(consumer.tag)) consumer.queue.offer(consumer)
  }

  #offerAll(): void {
    for (const consumer of this.#consumers.values()) consumer.queue.offer(consumer)
  }

  #returnAll(counted: boolean): void {
    const deliveries = this.#unsettled.takeUpTo(this.#unsettled.nextTag - 1)
    for (const delivery of deliveries) this.#release(delivery)
    for (const delivery of deliveries) delivery.queue.giveBack(delivery.item, counted)
  }

  /** What was gathered for a consumer and never left goes back as if it had not been taken. */
  #giveBackBatch(consumer: Consumer): void {
    const batch = this.#batches.get(consumer)
    if (batch === undefined) return
    this.#batches.delete(consumer)
    for (const delivery of batch) {
      if (!consumer.noAck) {
        this.#unsettled.take(delivery.tag)
        this.#release(delivery)
      }
      delivery.queue.undo(delivery.item)
    }
  }
}

function unknownTag(tag: number): AmqpError {
  return preconditionFailed(`unknown delivery tag ${tag}`)
}
