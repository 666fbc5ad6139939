/**
 * The waiting messages of a queue with priorities (RabbitMQ, "Classic Queues Support Priorities"): a ready list per level,
 * the greatest level first. What is said of the head of a queue holds for the head of that: it is what a length limit drops
 * and where messages expire.
 */
import type { Item } from './item.ts'
import { ReadyList } from './ready-list.ts'

export class PriorityList extends ReadyList {
  /** Level 0 is the ready list itself. */
  readonly #above: ReadyList[]
  #aboveLength = 0

  constructor(levels: number) {
    super()
    this.#above = Array.from({ length: levels - 1 }, () => new ReadyList())
  }

  override get length(): number {
    return super.length + this.#aboveLength
  }

  override push(item: Item): void {
    if (item.level <= 0) {
      super.push(item)
      return
    }
    this.#above[item.level - 1]!.push(item)
    this.#aboveLength++
  }

  override giveBack(item: Item): void {
    if (item.level <= 0) {
      super.giveBack(item)
      return
    }
    this.#above[item.level - 1]!.giveBack(item)
    this.#aboveLength++
  }

  override peek(): Item | undefined {
    return this.#highest()?.peek() ?? super.peek()
  }

  override shift(): Item | undefined {
    const highest = this.#highest()
    if (highest === undefined) return super.shift()
    this.#aboveLength--
    return highest.shift()
  }

  override each(visit: (item: Item) => void): void {
    super.each(visit)
    for (const level of this.#above) level.each(visit)
  }

  /** The greatest level above 0 on which something waits. */
  #highest(): ReadyList | undefined {
    if (this.#aboveLength === 0) return undefined
    return this.#above.findLast(level => level.length > 0)
  }
}
