/**
 * The deliveries that wait in this process for their next attempt, each with its own timer. Their messages stay unsettled, so
 * the engine still has them and hands them out again should this process die.
 */
import type { Work } from './work.ts'

export class Held {
  readonly #items = new Set<Work>()

  get size(): number {
    return this.#items.size
  }

  /** Calls `due` after the delay, unless the delivery was taken out before. */
  add(work: Work, delayMs: number, due: (work: Work) => void): void {
    this.#items.add(work)
    work.timer = setTimeout(() => {
      work.timer = undefined
      this.#items.delete(work)
      due(work)
    }, delayMs)
  }

  /** May be called for one that is not there. */
  remove(work: Work): void {
    if (this.#items.delete(work)) work.clearTimer()
  }

  /** Takes those out that the condition holds for. */
  take(condition: (work: Work) => boolean): Work[] {
    const taken = [...this.#items].filter(condition)
    for (const work of taken) this.remove(work)
    return taken
  }
}
