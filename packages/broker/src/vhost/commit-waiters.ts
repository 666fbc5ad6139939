/** Who waits for which commit, in order: numbers only grow, so the first in line is the first to be done. */

/** Settled entries are cut off the list when there are so many. */
const cutAt = 10_000

export class CommitWaiters {
  readonly #waiting: { readonly commit: number; readonly done: () => void }[] = []
  #first = 0

  get empty(): boolean {
    return this.#first === this.#waiting.length
  }

  add(commit: number, done: () => void): void {
    this.#waiting.push({ commit, done })
  }

  /** Calls everybody whose number has been reached. */
  committed(committed: number): void {
    const waiting = this.#waiting
    while (this.#first < waiting.length && waiting[this.#first]!.commit <= committed) waiting[this.#first++]!.done()
    if (this.empty) {
      waiting.length = 0
      this.#first = 0
    } else if (this.#first > cutAt) {
      waiting.splice(0, this.#first)
      this.#first = 0
    }
  }
}
