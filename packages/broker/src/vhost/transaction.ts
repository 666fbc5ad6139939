/**
 * What a transactional session has published and settled since its last commit or rollback (AMQP 0-9-1 section 1.9).
 * Nothing of it has happened yet: messages are routed and wait here, deliveries are out of the session's list and
 * can go back to it.
 */
import { AmqpError } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { Queue } from '../queue/queue.ts'
import type { OutgoingDelivery } from './outgoing-delivery.ts'

/** Bytes of bodies that one transaction may hold. */
const mostBytes = 134_217_728
/** Messages and settlements that one transaction may hold. */
const mostEntries = 1_000_000

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
