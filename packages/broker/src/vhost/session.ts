/**
 * What an AMQP channel is, without the wire: declares, publishes, consumes and settles on behalf of one user of the
 * broker. Every method is synchronous and refuses with an `AmqpError` that bears RabbitMQ's code, text and scope. After
 * a refusal the owner closes the session (or all of its sessions, for the scope `connection`).
 */
import { AmqpError } from '@chasqui/amqp'
import type { BrokerMessage, Delivery } from '../message.ts'
import { Consumer, type ConsumerSession } from '../queue/consumer.ts'
import type { Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'
import { type Consume, orderIn, priorityIn } from './consume.ts'
import { directReplyName, ReplyConsumer } from './direct-replies.ts'
import { OutgoingDelivery } from './outgoing-delivery.ts'
import type { Published } from './placement.ts'
import { preconditionFailed } from './refusal.ts'
import { Settler } from './settler.ts'
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

/** Deliveries of one consumer that follow each other; without a consumer once they are over. */
interface Run {
  readonly consumer: Consumer | undefined
  readonly deliveries: OutgoingDelivery[]
}

const handedOver: Run = { consumer: undefined, deliveries: [] }

export class Session extends Settler implements ConsumerSession {
  readonly user: string | undefined
  readonly #options: SessionOptions
  readonly #consumers = new Map<string, Consumer>()
  /** What is to be handed over next, in the order of the tags, for a client takes a tag that was left out for settled. */
  readonly #runs: Run[] = []
  #prefetch = 0
  #globalPrefetch = 0
  #flowing = true
  #waitsForFlush = false
  #replies: ReplyConsumer | undefined

  constructor(vhost: VirtualHost, options: SessionOptions) {
    super(vhost, options.owner)
    this.#options = options
    this.user = options.user
  }

  get hasCredit(): boolean {
    return this.#flowing && (this.#globalPrefetch === 0 || this.consumed < this.#globalPrefetch)
  }

  // Publishing

  /** Routes a message and puts it into its queues. Consumers get it one microtask later. */
  publish(message: BrokerMessage, _options?: { mandatory?: boolean }): Published {
    if (this.closed) this.checkOpen()
    return this.vhost.placement.publish(message)
  }

  /** Calls `done` once the store has committed that number: at once when it has already. Calls come in order. */
  whenCommitted(commit: number, done: () => void): void {
    this.vhost.whenCommitted(commit, done)
  }

  // Consuming

  consume(request: Consume): string {
    this.checkOpen()
    if (request.queue === directReplyName) return this.#consumeReplies(request)
    const queue = this.vhost.topology.queueFor(this, this.named(request.queue))
    const tag = this.#newTag(request)
    const isShared = queue.consumers.length > 0 || queue.settings.singleActiveConsumer
    if (queue.exclusivelyConsumed || (request.exclusive && isShared)) {
      throw AmqpError.of('access-refused', `${this.vhost.topology.describe('queue', queue.name)} in exclusive use`)
    }
    if (queue.settings.type === 'quorum' && this.#globalPrefetch > 0) {
      throw AmqpError.of(
        'not-implemented',
        `${this.vhost.topology.describe('queue', queue.name)} does not support global qos`,
      )
    }
    const consumer = new Consumer(this, queue, {
      tag,
      noAck: request.noAck ?? false,
      exclusive: request.exclusive ?? false,
      prefetch: request.prefetch ?? this.#prefetch,
      order: request.order ?? orderIn(request.arguments),
      priority: priorityIn(request.arguments, this.vhost.topology.describe('queue', queue.name)),
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
    this.vhost.consumerGone(consumer.queue)
  }

  get(queueName: string, noAck: boolean): (Delivery & { readonly remaining: number }) | undefined {
    this.checkOpen()
    const queue = this.vhost.topology.queueFor(this, this.named(queueName))
    queue.used()
    const item = queue.take()
    if (item === undefined) return undefined
    const delivery = new OutgoingDelivery(this.outstanding.nextTag, item, queue, undefined)
    if (noAck) {
      this.outstanding.skip()
      queue.settle(item)
    } else {
      this.outstanding.add(delivery)
      this.vhost.handedOut(queue, item)
      this.vhost.noteDelivered()
    }
    return Object.assign(delivery, { remaining: queue.length })
  }

  /** Where replies to this session go; undefined while it does not consume `amq.rabbitmq.reply-to`. */
  get replyAddress(): string | undefined {
    return this.#replies?.address
  }

  /** Takes back a message that is not due yet, by its id; false where the queue has none of it. */
  cancelDelayed(queueName: string, messageId: string): boolean {
    this.checkOpen()
    return this.vhost.topology.queueFor(this, queueName).cancelDelayed(messageId)
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

  /** Unsettled deliveries go back in order, consumers end. May be called twice. */
  close(): void {
    if (this.closed) return
    if (this.transactional) this.rollback()
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
    this.returnAll(true)
    for (const queue of queues) this.vhost.consumerGone(queue)
    this.vhost.sessionClosed(this)
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
      consumer.noAck ? this.outstanding.skip() : this.outstanding.nextTag,
      item,
      queue,
      consumer,
    )
    if (!consumer.noAck) {
      this.outstanding.add(delivery)
      consumer.unsettled++
      this.consumed++
    }
    const last = this.#runs.at(-1)
    if (last?.consumer === consumer) last.deliveries.push(delivery)
    else this.#runs.push({ consumer, deliveries: [delivery] })
    this.#flushLater()
  }

  /** A reply for this session, see direct-replies.ts. */
  takeReply(message: BrokerMessage): void {
    const replies = this.#replies!
    // The tag is that of the next delivery that may be settled, as RabbitMQ has it: this one cannot be.
    if (replies.add(this.outstanding.nextTag, message)) {
      this.#flushLater()
    } else if (!replies.dropping) {
      replies.dropping = true
      this.vhost.warn(`Replies to the consumer ${replies.tag} are dropped until its client reads what it is sent.`)
    }
  }

  /** Hands over what was gathered. Whoever takes it may make more, and may cancel what is to follow. */
  flush(): void {
    this.#waitsForFlush = false
    if (this.#replies !== undefined && this.#flowing) {
      const replies = this.#replies.take()
      if (replies.length > 0) this.#options.onDeliveries(replies)
    }
    for (let at = 0; at < this.#runs.length; at++) {
      const { consumer, deliveries } = this.#runs[at]!
      this.#runs[at] = handedOver
      if (consumer === undefined) continue
      if (consumer.noAck) for (const delivery of deliveries) delivery.queue.settle(delivery.item)
      this.#options.onDeliveries(deliveries)
    }
    this.#runs.length = 0
  }

  /** The consumer's queue is deleted. */
  queueDeleted(consumer: Consumer): void {
    this.#takeRuns(consumer)
    if (!this.#consumers.delete(consumer.tag)) return
    this.#options.onCancelled(consumer.tag)
  }

  #newTag({ consumerTag }: Consume): string {
    if (consumerTag && this.#consumers.has(consumerTag)) {
      throw AmqpError.of('not-allowed', `attempt to reuse consumer tag '${consumerTag}'`)
    }
    return consumerTag || this.vhost.topology.makeName('amq.ctag-')
  }

  #consumeReplies(request: Consume): string {
    const tag = this.#newTag(request)
    if (!request.noAck) throw preconditionFailed('reply consumer cannot acknowledge')
    if (this.#replies !== undefined) throw preconditionFailed('reply consumer already set')
    this.#replies = new ReplyConsumer(tag, this.vhost.replies.open(this))
    return tag
  }

  #closeReplies(): void {
    if (this.#replies === undefined) return
    this.vhost.replies.close(this.#replies.address)
    this.#replies = undefined
  }

  #flushLater(): void {
    if (this.#waitsForFlush) return
    this.#waitsForFlush = true
    this.vhost.flushLater(this)
  }

  protected override credited(consumer: Consumer): void {
    if (this.#globalPrefetch > 0) this.#offerAll()
    else if (!consumer.willing && this.#consumers.has(consumer.tag)) consumer.queue.offer(consumer)
  }

  #offerAll(): void {
    for (const consumer of this.#consumers.values()) consumer.queue.offer(consumer)
  }

  /** Takes out what was gathered for a consumer. */
  #takeRuns(consumer: Consumer): OutgoingDelivery[] {
    const taken: OutgoingDelivery[] = []
    for (let at = 0; at < this.#runs.length; at++) {
      const run = this.#runs[at]!
      if (run.consumer !== consumer) continue
      for (const delivery of run.deliveries) taken.push(delivery)
      this.#runs[at] = handedOver
    }
    return taken
  }

  /** What was gathered for a consumer and never left goes back as if it had not been taken. */
  #giveBackBatch(consumer: Consumer): void {
    for (const delivery of this.#takeRuns(consumer)) {
      if (!consumer.noAck) {
        this.outstanding.take(delivery.tag)
        this.release(delivery)
      }
      delivery.queue.undo(delivery.item)
    }
  }
}
