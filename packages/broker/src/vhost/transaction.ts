/**
 * What a transactional session has published and settled since its last commit or rollback (AMQP 0-9-1 section 1.9).
 * Nothing of it has happened yet: messages are routed and wait here, deliveries are out of the session's list and
 * can go back to it.
 */
import { AmqpError } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { Queue } from '../queue/queue.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'
import type { Placement } from './placement.ts'
import { preconditionFailed } from './refusal.ts'

/** Bytes of bodies that one transaction may hold. */
const mostBytes = 134_217_728
/** Messages and settlements that one transaction may hold. */
const mostEntries = 1_000_000

export interface Committed {
  /** The commit number to wait for; 0 when there is nothing to wait for. */
  readonly commit: number
  /** Mandatory messages that no queue took. */
  readonly unroutable: readonly BrokerMessage[]
}

interface Waiting {
  readonly message: BrokerMessage
  readonly queues: readonly Queue[]
  readonly mandatory: boolean
}

export class Transaction {
  published: Waiting[] = []
  acknowledged: OutgoingDelivery[] = []
  /** In the order in which they were refused. */
  refused: { readonly delivery: OutgoingDelivery; readonly requeue: boolean }[] = []
  /** Of the bodies that wait. */
  bytes = 0

  /** Throws AmqpError when the transaction holds too much. */
  publish(waiting: Waiting): void {
    const { byteLength } = waiting.message.body
    if (this.published.length > 0 && this.bytes + byteLength > mostBytes) {
      throw AmqpError.of('resource-error', `a transaction holds at most ${mostBytes} bytes: commit more often`)
    }
    this.#checkCount(1)
    this.published.push(waiting)
    this.bytes += byteLength
  }

  acknowledge(deliveries: readonly OutgoingDelivery[]): void {
    this.#checkCount(deliveries.length)
    for (const delivery of deliveries) this.acknowledged.push(delivery)
  }

  refuse(deliveries: readonly OutgoingDelivery[], requeue: boolean): void {
    this.#checkCount(deliveries.length)
    for (const delivery of deliveries) this.refused.push({ delivery, requeue })
  }

  /**
   * Publishes and acknowledges all of it in one step; what was refused is the caller's. Throws AmqpError when a queue has no
   * room for a message, having done nothing: RabbitMQ does the rest of it then.
   */
  commit(placement: Placement): Committed {
    // A queue may have been deleted since the message was routed to it.
    const routed = this.published.map(({ message, queues }) => ({
      message,
      queues: queues.some(queue => queue.deleted) ? queues.filter(queue => !queue.deleted) : queues,
    }))
    if (placement.firstRefused(routed) >= 0) throw preconditionFailed('partial tx completion')
    const commit = placement.transfer(routed, this.acknowledged)
    const unroutable = this.published.filter(({ mandatory }, index) => mandatory && routed[index]!.queues.length === 0)
    return { commit, unroutable: unroutable.map(({ message }) => message) }
  }

  /** Every delivery that was settled, which is none afterwards. */
  takeSettled(): OutgoingDelivery[] {
    const all = [...this.acknowledged, ...this.refused.map(({ delivery }) => delivery)]
    this.acknowledged = []
    this.refused = []
    return all
  }

  #checkCount(more: number): void {
    if (this.published.length + this.acknowledged.length + this.refused.length + more <= mostEntries) return
    throw AmqpError.of('resource-error', `a transaction holds at most ${mostEntries} steps: commit more often`)
  }
}
