/** The operations on dead letters that run on one bus, so that closing it ends them in good order. */
import { closedError } from '../send/sender.ts'
import type { Walk } from './walk.ts'

export class RunningWalks {
  readonly #walks = new Set<Walk>()
  readonly #moves = new Set<Promise<unknown>>()
  #ended = false

  /** Throws `closed` once the bus closes: what a walk gave until then is not all. */
  check(): void {
    if (this.#ended) throw closedError()
  }

  add(walk: Walk): void {
    this.#walks.add(walk)
    if (this.#ended) walk.interrupt()
  }

  remove(walk: Walk): void {
    this.#walks.delete(walk)
  }

  /** Gives the promise back, and waits for it when the bus closes. */
  async move<T>(running: Promise<T>): Promise<T> {
    this.#moves.add(running)
    try {
      return await running
    } finally {
      this.#moves.delete(running)
    }
  }

  /** No walk goes on. Resolves when the moves have settled what they had begun. */
  async end(): Promise<void> {
    this.#ended = true
    for (const walk of this.#walks) walk.interrupt()
    await Promise.allSettled(this.#moves)
  }
}
