/** The deliveries that wait here for their turn; which of them is next is what backlogs differ in. */
import { FifoQueue } from './queue.ts'
import type { Work } from './work.ts'

export interface Backlog {
  /** How many wait. */
  readonly size: number
  /** One that has arrived. */
  push(work: Work): void
  /** The next that may begin; it is taken until it is done or comes back. */
  take(): Work | undefined
  /** One that was taken waits for its turn again: its delay is over. */
  comeBack(work: Work): void
  /** One that was taken has left for good. May be called for one that is not there. */
  done(work: Work): void
  /** Takes out all that wait, those of one key in their order. */
  drain(): Work[]
}

/** First come, first served; who has waited for a delayed attempt queues up again. */
export class ArrivalOrder implements Backlog {
  readonly #queue = new FifoQueue<Work>()

  get size(): number {
    return this.#queue.size
  }

  push(work: Work): void {
    this.#queue.push(work)
  }

  take(): Work | undefined {
    return this.#queue.shift()
  }

  comeBack(work: Work): void {
    this.#queue.push(work)
  }

  done(): void {}

  drain(): Work[] {
    return this.#queue.drain()
  }
}
