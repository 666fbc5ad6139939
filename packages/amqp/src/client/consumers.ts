/** The consumers of a channel by their tags. */

import type { Delivery } from './delivery.ts'

export interface Consumer {
  readonly tag: string
  readonly noAck: boolean
  /** How many deliveries it may have unsettled; 0: no limit. */
  readonly prefetch: number
  readonly onDelivery: (delivery: Delivery) => void
}

export class Consumers {
  readonly #byTag = new Map<string, Consumer>()
  /** The one that was asked for last: most deliveries follow one of the same consumer. */
  #last: Consumer | undefined

  add(consumer: Consumer): void {
    this.#byTag.set(consumer.tag, consumer)
  }

  /** False: there was none. */
  remove(tag: string): boolean {
    this.#last = undefined
    return this.#byTag.delete(tag)
  }

  clear(): void {
    this.#last = undefined
    this.#byTag.clear()
  }

  get(tag: string): Consumer | undefined {
    if (this.#last?.tag === tag) return this.#last
    const consumer = this.#byTag.get(tag)
    this.#last = consumer
    return consumer
  }

  /** The smallest prefetch of those that acknowledge, 0 where none has a limit, undefined where there is none. */
  get smallestPrefetch(): number | undefined {
    let smallest: number | undefined
    for (const { noAck, prefetch } of this.#byTag.values()) {
      if (noAck) continue
      if (smallest === undefined || smallest === 0) smallest = prefetch
      else if (prefetch !== 0) smallest = Math.min(smallest, prefetch)
    }
    return smallest
  }
}
