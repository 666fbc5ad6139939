/**
 * The messages of a queue that wait for a consumer, in order.
 *
 *     returned (a heap by position)  |  fresh (a ring)
 *     everything returned was taken from the front before, so it stands before everything fresh
 */
import type { Item } from './item.ts'

const firstCapacity = 16

export class ReadyList {
  #ring: (Item | undefined)[] = new Array(firstCapacity).fill(undefined)
  #head = 0
  #fresh = 0
  readonly #returned: Item[] = []

  get length(): number {
    return this.#fresh + this.#returned.length
  }

  /** Appends an item whose position is greater than all before. */
  push(item: Item): void {
    if (this.#fresh === this.#ring.length) this.#grow()
    this.#ring[(this.#head + this.#fresh) & (this.#ring.length - 1)] = item
    this.#fresh++
  }

  /** Puts an item that was taken out back to its place. Costs log2 of the number of returned items. */
  giveBack(item: Item): void {
    const heap = this.#returned
    let index = heap.length
    heap.push(item)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (heap[parent]!.position <= item.position) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = item
  }

  peek(): Item | undefined {
    return this.#returned.length > 0 ? this.#returned[0] : this.#fresh > 0 ? this.#ring[this.#head] : undefined
  }

  shift(): Item | undefined {
    if (this.#returned.length > 0) return this.#shiftReturned()
    if (this.#fresh === 0) return undefined
    const item = this.#ring[this.#head]
    this.#ring[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#ring.length - 1)
    this.#fresh--
    if (this.#fresh === 0 && this.#ring.length > 4096) {
      this.#ring = new Array(firstCapacity).fill(undefined)
      this.#head = 0
    }
    return item
  }

  /** Calls `visit` for each item, in no order. */
  each(visit: (item: Item) => void): void {
    for (const item of this.#returned) visit(item)
    const mask = this.#ring.length - 1
    for (let index = 0; index < this.#fresh; index++) visit(this.#ring[(this.#head + index) & mask]!)
  }

  /** Takes everything out, in order. */
  clear(): Item[] {
    const all: Item[] = []
    for (let item = this.shift(); item; item = this.shift()) all.push(item)
    return all
  }

  #shiftReturned(): Item {
    const heap = this.#returned
    const first = heap[0]!
    const last = heap.pop()!
    const count = heap.length
    if (count > 0) {
      let index = 0
      for (;;) {
        let child = 2 * index + 1
        if (child >= count) break
        if (child + 1 < count && heap[child + 1]!.position < heap[child]!.position) child++
        if (heap[child]!.position >= last.position) break
        heap[index] = heap[child]!
        index = child
      }
      heap[index] = last
    }
    return first
  }

  #grow(): void {
    const old = this.#ring
    const ring: (Item | undefined)[] = new Array(old.length * 2).fill(undefined)
    for (let index = 0; index < this.#fresh; index++) ring[index] = old[(this.#head + index) & (old.length - 1)]
    this.#ring = ring
    this.#head = 0
  }
}
