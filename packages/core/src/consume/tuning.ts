/**
 * A concurrency that finds itself: up by one while attempts stay below the goal and all places are taken, down by a quarter when
 * more than a tenth of them take longer (additive increase, multiplicative decrease).
 */
import type { Watcher } from './work.ts'

export interface TuningOptions {
  /** How long nine of ten attempts should take at most, in milliseconds. */
  readonly goalMs: number
  /** The fewest handlers at once: 1 to 100,000. Default 1. */
  readonly min?: number
  /** The most handlers at once: 1 to 100,000. Default 100. */
  readonly max?: number
}

/** Rounds have at least so many attempts, so that one slow attempt alone decides nothing. */
const minRound = 10
const slowShare = 0.1
const decrease = 0.75

export class Tuning implements Watcher {
  readonly #goalMs: number
  readonly #min: number
  readonly #max: number
  readonly #set: (concurrency: number) => void
  readonly #running: () => number
  #limit: number
  #attempts = 0
  #slow = 0
  #full = false

  constructor(options: Required<TuningOptions>, running: () => number, set: (concurrency: number) => void) {
    this.#goalMs = options.goalMs
    this.#min = options.min
    this.#max = options.max
    this.#limit = options.min
    this.#running = running
    this.#set = set
  }

  ended(durationMs: number): void {
    this.#attempts += 1
    if (durationMs > this.#goalMs) this.#slow += 1
    if (this.#running() >= this.#limit) this.#full = true
    if (this.#attempts < Math.max(this.#limit, minRound)) return
    const tooSlow = this.#slow > this.#attempts * slowShare
    const next = tooSlow ? Math.floor(this.#limit * decrease) : this.#full ? this.#limit + 1 : this.#limit
    this.#attempts = 0
    this.#slow = 0
    this.#full = false
    const limit = Math.min(Math.max(next, this.#min), this.#max)
    if (limit === this.#limit) return
    this.#limit = limit
    this.#set(limit)
  }
}
