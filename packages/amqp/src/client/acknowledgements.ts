/**
 * Acknowledgements on their way out: gathered, joined where that is exact (see unsettled.ts), and written soon.
 *
 * How soon depends on how many the broker can do without. While fewer are held back than a quarter of the prefetch,
 * the broker has enough to send, and they may wait for others up to a millisecond: a broker that sends ten messages
 * at a time would otherwise cost a system call for each ten. Held back longer they could stop it from sending.
 */

import type { FlushQueue } from './flush-queue.ts'
import { Unsettled } from './unsettled.ts'

/** Up to this prefetch every acknowledgement leaves with its turn of the event loop. */
const promptPrefetch = 31
const maxHeldBack = 256

export class Acknowledgements {
  readonly #unsettled = new Unsettled()
  readonly #queue: FlushQueue
  readonly #write: (tag: number, multiple: boolean) => void
  #heldBackMax = 0
  #scheduled: 'not' | 'later' | 'soon' = 'not'
  readonly #onTime = (): void => {
    this.#scheduled = 'not'
    this.flush()
  }

  constructor(queue: FlushQueue, write: (tag: number, multiple: boolean) => void) {
    this.#queue = queue
    this.#write = write
  }

  /** The smallest prefetch that a consumer lives by: 0 for no limit, undefined where none consumes. */
  set prefetch(smallest: number | undefined) {
    if (smallest === undefined || (smallest !== 0 && smallest <= promptPrefetch)) this.#heldBackMax = 0
    else this.#heldBackMax = smallest === 0 ? maxHeldBack : Math.min(smallest >>> 2, maxHeldBack)
  }

  /** Whether acknowledgements may be joined; not in a transaction, whose rollback unsettles them again. */
  set coalescing(joined: boolean) {
    this.#unsettled.coalescing = joined
  }

  get waiting(): number {
    return this.#unsettled.ackedCount
  }

  delivered(tag: number, needsAck: boolean): void {
    this.#unsettled.delivered(tag, needsAck)
  }

  /** Takes an acknowledgement. False: nothing is known of such a delivery, so the broker must judge. */
  ack(tag: number): boolean {
    if (!this.#unsettled.ack(tag)) return false
    if (this.#scheduled !== 'soon') this.#schedule()
    return true
  }

  #schedule(): void {
    if (this.#unsettled.ackedCount > this.#heldBackMax) {
      this.#scheduled = 'soon'
      this.#queue.soon(this.#onTime)
    } else if (this.#scheduled === 'not') {
      this.#scheduled = 'later'
      this.#queue.later(this.#onTime)
    }
  }

  /** A delivery was settled otherwise; see `Unsettled.settle`. */
  settle(tag: number, multiple: boolean): void {
    this.#unsettled.settle(tag, multiple)
  }

  /** Writes what waits, now: before any other frame of the channel, so that calls keep their order. */
  flush(): void {
    this.#unsettled.flush(this.#write)
  }
}
