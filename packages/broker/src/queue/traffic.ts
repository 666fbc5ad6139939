/**
 * How fast the messages of queues come and go: two counts a queue, and one look at all of them every few seconds that makes
 * rates of what was counted since the last one.
 */
import type { Queue } from './queue.ts'

/** Between two looks, in milliseconds: the rates are those of the last few seconds, not of a moment. */
const sampleMs = 2000

/** The counts of one queue. */
export class Traffic {
  published = 0
  /** Handed out, also for the second time. */
  delivered = 0
  /** Messages a second. Undefined before the first look. */
  publishRate: number | undefined = undefined
  deliverRate: number | undefined = undefined
  #published = 0
  #delivered = 0

  sample(seconds: number): void {
    this.publishRate = (this.published - this.#published) / seconds
    this.deliverRate = (this.delivered - this.#delivered) / seconds
    this.#published = this.published
    this.#delivered = this.delivered
  }
}

export class TrafficSampler {
  readonly #queues: () => Iterable<Queue>
  readonly #timer: NodeJS.Timeout
  #lastAt = performance.now()

  constructor(queues: () => Iterable<Queue>) {
    this.#queues = queues
    this.#timer = setInterval(() => this.#sample(), sampleMs)
    // A broker that nobody closes does not keep its process.
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #sample(): void {
    const now = performance.now()
    const seconds = (now - this.#lastAt) / 1000
    this.#lastAt = now
    for (const queue of this.#queues()) queue.traffic.sample(seconds)
  }
}
