/**
 * Whose turn it is: the consumers of a queue that may have credit, in the order in which they get their next message. Those of
 * greater priority come first, and keep the turn while they can be served (RabbitMQ, "Consumer Priorities").
 */
import type { Consumer } from './consumer.ts'

export class Rotation {
  readonly #willing: Consumer[] = []
  #turn = 0
  /** Some consumer has had a priority. */
  #prioritized = false

  get length(): number {
    return this.#willing.length
  }

  /** Puts a consumer, which is not in, at the end of those of its priority. */
  add(consumer: Consumer): void {
    if (consumer.priority !== 0) this.#prioritized = true
    consumer.willing = true
    const willing = this.#willing
    let at = willing.length
    if (this.#prioritized) while (at > 0 && willing[at - 1]!.priority < consumer.priority) at--
    if (at === willing.length) willing.push(consumer)
    else willing.splice(at, 0, consumer)
  }

  remove(consumer: Consumer): void {
    const at = this.#willing.indexOf(consumer)
    this.#willing.splice(at, 1)
    if (at < this.#turn) this.#turn--
    consumer.willing = false
  }

  /** Who is next, when so many before it in a row could not be served. There must be somebody. */
  next(unserved: number): Consumer {
    if (this.#turn >= this.#willing.length || this.#startsOver(unserved)) this.#turn = 0
    return this.#willing[this.#turn]!
  }

  /** The one that was next has had its turn. */
  advance(): void {
    this.#turn++
  }

  /** With priorities the turn stays among the first, unless those cannot be served. */
  #startsOver(unserved: number): boolean {
    const willing = this.#willing
    return this.#prioritized && unserved === 0 && willing[this.#turn]!.priority < willing[0]!.priority
  }
}
