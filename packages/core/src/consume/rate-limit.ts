/** So many messages a second, and a burst: a bucket that fills steadily and gives one token to each message that begins. */
import type { Gate } from './work.ts'

export interface RateLimitOptions {
  /** How many messages may begin in a second, on average: 0.001 to 1,000,000. */
  readonly perSecond: number
  /** How many may begin at once after a rest: 1 to 1,000,000. Default: what one second gives, at least 1. */
  readonly burst?: number
}

export class RateLimit implements Gate {
  readonly #perMs: number
  readonly #burst: number
  readonly #drain: () => void
  readonly #now: () => number
  #tokens: number
  #filledAt: number
  #timer: NodeJS.Timeout | undefined

  /** @param now milliseconds of a clock that never jumps. */
  constructor(options: RateLimitOptions, drain: () => void, now: () => number = () => performance.now()) {
    const { perSecond, burst = Math.max(Math.floor(perSecond), 1) } = options
    this.#perMs = perSecond / 1000
    this.#burst = burst
    this.#drain = drain
    this.#now = now
    this.#tokens = burst
    this.#filledAt = now()
  }

  get open(): boolean {
    // Always: what a full bucket did not take must not be given later.
    this.#fill()
    if (this.#tokens >= 1) return true
    this.#timer ??= setTimeout(
      () => {
        this.#timer = undefined
        this.#drain()
      },
      Math.ceil((1 - this.#tokens) / this.#perMs),
    )
    return false
  }

  began(): void {
    this.#tokens -= 1
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #fill(): void {
    const now = this.#now()
    this.#tokens = Math.min(this.#tokens + (now - this.#filledAt) * this.#perMs, this.#burst)
    this.#filledAt = now
  }
}
