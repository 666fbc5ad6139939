/**
 * The deliveries whose handlers run, and waiting for some of them to end. Entering and leaving cost the same however many there
 * are: each knows its place, and the last one moves into the place of whoever leaves.
 */

interface Placed {
  /** Its place among the running ones, -1 when it is not among them. */
  slot: number
}

export class Running<T extends Placed> {
  readonly #items: T[] = []
  #watchers: (() => void)[] = []

  get size(): number {
    return this.#items.length
  }

  enter(item: T): void {
    item.slot = this.#items.length
    this.#items.push(item)
  }

  /** May be called for one that has left already. Who waits for it looks again. */
  leave(item: T): void {
    const { slot } = item
    if (slot < 0) return
    item.slot = -1
    const last = this.#items.pop()
    if (last !== undefined && last !== item) {
      this.#items[slot] = last
      last.slot = slot
    }
    if (this.#watchers.length > 0) this.#wake()
  }

  /** Those that the condition holds for, as they are now. */
  filter(condition: (item: T) => boolean): T[] {
    return this.#items.filter(condition)
  }

  /** Resolves when none of those that the condition holds for runs any more, or the time is over. */
  async noneLeft(condition: (item: T) => boolean, timeoutMs: number): Promise<void> {
    let over = false
    const timer = setTimeout(() => {
      over = true
      this.#wake()
    }, timeoutMs)
    while (!over && this.#items.some(condition)) await new Promise<void>(resolve => this.#watchers.push(resolve))
    clearTimeout(timer)
  }

  #wake(): void {
    const watchers = this.#watchers
    this.#watchers = []
    for (const wake of watchers) wake()
  }
}
