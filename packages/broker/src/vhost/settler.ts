/**
 * The half of a session that settles: what it has unsettled, what a transaction holds back, and moves of both in one step.
 */

import { AmqpError } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { Consumer } from '../queue/consumer.ts'
import { Declarer } from './declarer.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import type { Transferred } from './placement.ts'
import { preconditionFailed } from './refusal.ts'
import { type Committed, Transaction } from './transaction.ts'
import { Unsettled } from './unsettled.ts'

export abstract class Settler extends Declarer {
  protected readonly outstanding = new Unsettled()
  /** Deliveries to consumers that are not settled; `get` does not count. */
  protected consumed = 0
  /** Present once the session is transactional. */
  #transaction: Transaction | undefined

  /** Deliveries that are not settled, also those taken with `get`. */
  get unsettled(): number {
    return this.outstanding.size
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
    this.checkOpen()
    const { placement } = this.vhost
    for (const tag of tags) if (!this.outstanding.has(tag)) throw unknownTag(tag)
    const routed = messages.map(message => ({ message, queues: placement.route(message) }))
    const unroutable = options.mandatory ? routed.findIndex(({ queues }) => queues.length === 0) : -1
    if (unroutable >= 0) return { done: false, reason: 'unroutable', message: unroutable }
    const full = placement.firstRefused(routed)
    if (full >= 0) return { done: false, reason: 'full', message: full }
    const taken = [...new Set(tags)].map(tag => this.outstanding.take(tag)!)
    let commit: number
    try {
      commit = placement.transfer(routed, taken)
    } catch (error) {
      for (const delivery of taken) this.outstanding.putBack(delivery)
      throw error
    }
    for (const delivery of taken) this.release(delivery)
    return { done: true, routed: routed.map(({ queues }) => queues.length), commit }
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
    for (const tag of tags) if (!this.outstanding.has(tag)) throw unknownTag(tag)
    for (const tag of tags) {
      const delivery = this.outstanding.take(tag)
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
      this.release(delivery)
    }
    // After the credit is back, so that it is not this item alone that decides who gets it.
    if (requeue) for (const delivery of deliveries) delivery.queue.giveBack(delivery.item, true)
  }

  /** Everything unsettled is delivered again. Without `requeue` AMQP wants the same consumer; RabbitMQ refuses that. */
  recover(requeue: boolean): void {
    if (!requeue) throw AmqpError.of('not-implemented', 'requeue=false')
    this.returnAll(true)
  }

  // Transactions (AMQP 0-9-1 section 1.9)

  /** True once `selectTransaction` was called: it stays so. */
  get transactional(): boolean {
    return this.#transaction !== undefined
  }

  /** From now on publishing with `publishLater`, and settling, wait for `commit` or `rollback`. */
  selectTransaction(): void {
    this.checkOpen()
    this.#transaction ??= new Transaction()
  }

  /** Routes the message; it goes to its queues at the commit. Throws AmqpError. */
  publishLater(message: BrokerMessage, mandatory: boolean): void {
    this.checkOpen()
    const transaction = this.#transactionOf()
    transaction.publish({ message, queues: this.vhost.placement.route(message), mandatory })
    this.vhost.reserve(message.body.byteLength)
  }

  /**
   * Everything since the last commit happens, publishes and acknowledgements in one step; what was refused goes back or
   * is dead-lettered right behind it. Throws AmqpError when a full queue refuses a message: nothing has happened then.
   */
  commit(): Committed {
    const transaction = this.#transactionOf()
    const { acknowledged, refused } = transaction
    const result = transaction.commit(this.vhost.placement)
    this.#emptied(transaction)
    this.#transaction = new Transaction()
    for (const delivery of acknowledged) this.release(delivery)
    for (const { delivery, requeue } of refused) {
      this.release(delivery)
      if (requeue) delivery.queue.giveBack(delivery.item, true)
      else delivery.queue.reject(delivery.item)
    }
    return result
  }

  /** Nothing since the last commit has happened: what was settled is unsettled again, with its old tag. */
  rollback(): void {
    const transaction = this.#transactionOf()
    this.#emptied(transaction)
    for (const delivery of transaction.takeSettled()) this.outstanding.putBack(delivery)
    this.#transaction = new Transaction()
  }

  #transactionOf(): Transaction {
    if (this.#transaction === undefined) throw preconditionFailed('channel is not transactional')
    return this.#transaction
  }

  /** What it held of messages is no longer counted. */
  #emptied(transaction: Transaction): void {
    this.vhost.reserve(-transaction.bytes)
  }

  #take(tag: number): OutgoingDelivery {
    const delivery = this.outstanding.take(tag)
    if (delivery === undefined) throw unknownTag(tag)
    return delivery
  }

  /** Tag 0 means all of them (AMQP 0-9-1 section 1.8.3.13). */
  #takeUpTo(tag: number): OutgoingDelivery[] {
    if (tag === 0) return this.outstanding.takeUpTo(this.outstanding.nextTag - 1)
    if (!this.outstanding.has(tag)) throw unknownTag(tag)
    return this.outstanding.takeUpTo(tag)
  }

  #settle(delivery: OutgoingDelivery): void {
    delivery.queue.settle(delivery.item)
    this.release(delivery)
  }

  /** Gives the consumer and the session their credit back. */
  protected release(delivery: OutgoingDelivery): void {
    const { consumer } = delivery
    if (consumer === undefined) return
    consumer.unsettled--
    this.consumed--
    this.credited(consumer)
  }

  protected returnAll(counted: boolean): void {
    const deliveries = this.outstanding.takeUpTo(this.outstanding.nextTag - 1)
    for (const delivery of deliveries) this.release(delivery)
    for (const delivery of deliveries) delivery.queue.giveBack(delivery.item, counted)
  }

  /** The consumer has one delivery less that is not settled. */
  protected abstract credited(consumer: Consumer): void
}

function unknownTag(tag: number): AmqpError {
  return preconditionFailed(`unknown delivery tag ${tag}`)
}
