/**
 * What waits in a queue: those that are ready, and, once a consumer has asked for order, those behind their key. Whoever takes one
 * out owes its end: `release`, or `giveBack` and then `release`.
 */
import type { Item } from './item.ts'
import { type ConsumeOrder, KeyLock } from './key-lock.ts'
import { PriorityList } from './priority-list.ts'
import { ReadyList } from './ready-list.ts'

export class Backlog {
  /** Of the bodies of all that wait. */
  bytes = 0
  readonly #ready: ReadyList
  #lock: KeyLock | undefined

  /** `maxPriority`: the queue has priorities, up to this one. */
  constructor(maxPriority: number | undefined) {
    this.#ready = maxPriority === undefined ? new ReadyList() : new PriorityList(maxPriority + 1)
  }

  /** Also those behind their key. */
  get length(): number {
    return this.#lock === undefined ? this.#ready.length : this.#ready.length + this.#lock.waiting
  }

  /** Without those behind their key. */
  get ready(): number {
    return this.#ready.length
  }

  /** From now on keys are held by what is taken with `claim`. */
  keepOrder(): void {
    this.#lock ??= new KeyLock()
  }

  /** Appends an item whose position is greater than all before. */
  push(item: Item): void {
    this.#ready.push(item)
    this.bytes += item.envelope.bodyBytes
  }

  /** Puts an item that was taken out back to its place. */
  giveBack(item: Item): void {
    this.#ready.giveBack(item)
    this.bytes += item.envelope.bodyBytes
  }

  /** The first of those that are ready. */
  peek(): Item | undefined {
    return this.#ready.peek()
  }

  /** Takes the first of those that are ready, for somebody who claims no key. */
  shift(): Item | undefined {
    const item = this.#ready.shift()
    if (item === undefined) return undefined
    this.bytes -= item.envelope.bodyBytes
    if (this.#lock === undefined) return item
    const next = this.#lock.left(item)
    if (next !== undefined) this.#ready.giveBack(next)
    return item
  }

  /** As `shift`; when none is ready, one of those behind their key. */
  takeAny(): Item | undefined {
    const item = this.shift()
    if (item !== undefined || this.#lock === undefined) return item
    const stolen = this.#lock.steal()
    if (stolen !== undefined) this.bytes -= stolen.envelope.bodyBytes
    return stolen
  }

  /** Takes the first whose key nobody holds, and the key with it (`strict`: all keys). After `keepOrder`. */
  claim(order: Exclude<ConsumeOrder, 'none'>, keyOf: (item: Item) => string): Item | undefined {
    const lock = this.#lock!
    if (!lock.open(order)) return undefined
    for (let item = this.#ready.shift(); item !== undefined; item = this.#ready.shift()) {
      if (order === 'key' && !lock.claim(item, keyOf(item))) continue
      if (order === 'strict') {
        const next = lock.left(item)
        if (next !== undefined) this.#ready.giveBack(next)
        lock.claimAll(item)
      }
      this.bytes -= item.envelope.bodyBytes
      return item
    }
    return undefined
  }

  /** The item's key is free again. True when something may be ready by that. */
  release(item: Item): boolean {
    if (this.#lock === undefined) return false
    const next = this.#lock.release(item)
    if (next !== undefined) this.#ready.giveBack(next)
    return this.#ready.length > 0
  }

  /** Calls `visit` for each, in no order. */
  each(visit: (item: Item) => void): void {
    this.#ready.each(visit)
    this.#lock?.each(visit)
  }

  /** Takes all out. */
  clear(): Item[] {
    const items = this.#ready.clear()
    if (this.#lock !== undefined) items.push(...this.#lock.clear())
    this.bytes = 0
    return items
  }
}
