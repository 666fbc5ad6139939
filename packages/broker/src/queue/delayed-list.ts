/** The messages of a queue that are not due yet: a heap by due time, then by position, and an index by message id. */
import type { Item } from './item.ts'

export class DelayedList {
  readonly #heap: Item[] = []
  readonly #byId = new Map<string, Item>()
  #length = 0

  get length(): number {
    return this.#length
  }

  /** When the first is due, in milliseconds since the epoch; undefined when there is none. */
  get nextDue(): number | undefined {
    this.#dropCancelled()
    return this.#heap[0]?.dueAt
  }

  /** Costs log2 of the number of messages. Of two with one id, `cancel` finds the later. */
  push(item: Item, id: string | undefined): void {
    const heap = this.#heap
    let index = heap.length
    heap.push(item)
    this.#length++
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (!isBefore(item, heap[parent]!)) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = item
    item.delayedId = id
    if (id !== undefined) this.#byId.set(id, item)
  }

  /** Takes out the first that is due by then. */
  shift(now: number): Item | undefined {
    this.#dropCancelled()
    const first = this.#heap[0]
    if (first === undefined || first.dueAt > now) return undefined
    this.#pop()
    this.#length--
    this.#forget(first)
    return first
  }

  /** Takes out the message with this id. */
  cancel(id: string): Item | undefined {
    const item = this.#byId.get(id)
    if (item === undefined) return undefined
    this.#byId.delete(id)
    this.#length--
    // It stays in the heap until it comes to the top.
    item.cancelled = true
    return item
  }

  /** Reads the ids of those that were pushed without one. Costs a call each. */
  name(idOf: (item: Item) => string | undefined): void {
    for (const item of this.#heap) {
      if (item.cancelled || item.delayedId !== undefined) continue
      item.delayedId = idOf(item)
      if (item.delayedId !== undefined && !this.#byId.has(item.delayedId)) this.#byId.set(item.delayedId, item)
    }
  }

  each(visit: (item: Item) => void): void {
    for (const item of this.#heap) if (!item.cancelled) visit(item)
  }

  /** Takes out what fits; the others stay. */
  remove(fits: (item: Item) => boolean): Item[] {
    const removed: Item[] = []
    const kept = this.#heap.splice(0)
    this.#length = 0
    for (const item of kept) {
      if (item.cancelled) continue
      if (fits(item)) {
        this.#forget(item)
        removed.push(item)
      } else this.push(item, item.delayedId)
    }
    return removed
  }

  #forget(item: Item): void {
    if (item.delayedId === undefined) return
    if (this.#byId.get(item.delayedId) === item) this.#byId.delete(item.delayedId)
    item.delayedId = undefined
  }

  #dropCancelled(): void {
    while (this.#heap[0]?.cancelled) this.#pop()
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const count = heap.length
    if (count === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= count) break
      if (child + 1 < count && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, last)) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
  }
}

function isBefore(a: Item, b: Item): boolean {
  return a.dueAt < b.dueAt || (a.dueAt === b.dueAt && a.position < b.position)
}
