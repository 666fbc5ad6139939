/**
 * Order for the consumers of one queue that ask for it: at most one unsettled message per key, handed out in the queue's
 * order, whoever of them gets it; or one unsettled message at all (`strict`).
 *
 *     ready -> claim -> held (out with a consumer) -> release -> the key's next goes back to ready, to its old place
 *                |
 *                +----> behind: its key is held; it waits for its turn, in order
 *
 * Each message is looked at once on its way out and once more behind its key, however many wait. Messages without a key
 * share one. Consumers that ask for no order take what they get and hold nothing.
 */
import type { Item } from './item.ts'

/** How a consumer wants its messages. */
export type ConsumeOrder = 'none' | 'key' | 'strict'

/** One key, while a message of it is out, or others wait behind it. */
export class HeldKey {
  readonly key: string
  /** Out with a consumer. */
  holder: Item | undefined
  /** The next of those that waited, in the queue's ready list again. */
  promoted: Item | undefined
  /** Those behind it, by position. */
  readonly behind: Item[] = []
  /** Where `behind` begins. */
  first = 0

  constructor(key: string) {
    this.key = key
  }
}

export class KeyLock {
  readonly #keys = new Map<string, HeldKey>()
  #held = 0
  #strict: Item | undefined
  #waiting = 0

  /** Messages that wait behind their key. */
  get waiting(): number {
    return this.#waiting
  }

  /** False while nothing can be given to a consumer of this order, whatever waits. */
  open(order: ConsumeOrder): boolean {
    if (order === 'none') return true
    return this.#strict === undefined && (order === 'key' || this.#held === 0)
  }

  /** Takes the key for this item, or puts the item behind it and answers false. */
  claim(item: Item, key: string): boolean {
    let held = this.#keys.get(key)
    if (held === undefined) {
      held = new HeldKey(key)
      this.#keys.set(key, held)
    } else if (held.holder !== undefined) {
      if (held.promoted === item) held.promoted = undefined
      item.held = undefined
      this.#putBehind(held, item)
      return false
    }
    if (held.promoted === item) held.promoted = undefined
    item.held = held
    held.holder = item
    this.#held++
    return true
  }

  claimAll(item: Item): void {
    this.#strict = item
  }

  /** The item is out no more, or out with somebody who asks for no order: who goes back to ready now. */
  release(item: Item): Item | undefined {
    if (this.#strict === item) this.#strict = undefined
    const { held } = item
    if (held?.holder !== item) return undefined
    item.held = undefined
    held.holder = undefined
    this.#held--
    return this.#promote(held)
  }

  /** The item left the ready list without a claim: who goes back to ready in its place. */
  left(item: Item): Item | undefined {
    const { held } = item
    if (held?.promoted !== item) return undefined
    item.held = undefined
    held.promoted = undefined
    return held.holder === undefined ? this.#promote(held) : undefined
  }

  /** Takes out one of those that wait, for somebody who asks for no order. */
  steal(): Item | undefined {
    if (this.#waiting === 0) return undefined
    for (const held of this.#keys.values()) {
      if (held.first === held.behind.length) continue
      return this.#next(held)
    }
    return undefined
  }

  /** Takes out all that wait, in no order. What is out stays held. */
  clear(): Item[] {
    const all: Item[] = []
    for (let item = this.steal(); item !== undefined; item = this.steal()) all.push(item)
    for (const [key, held] of this.#keys) {
      held.promoted = undefined
      if (held.holder === undefined) this.#keys.delete(key)
    }
    return all
  }

  each(visit: (item: Item) => void): void {
    for (const { behind, first } of this.#keys.values()) {
      for (let index = first; index < behind.length; index++) visit(behind[index]!)
    }
  }

  #promote(held: HeldKey): Item | undefined {
    if (held.promoted !== undefined) return undefined
    if (held.first === held.behind.length) {
      this.#keys.delete(held.key)
      return undefined
    }
    const item = this.#next(held)
    item.held = held
    held.promoted = item
    return item
  }

  #next(held: HeldKey): Item {
    const { behind } = held
    const item = behind[held.first++]!
    this.#waiting--
    if (held.first === behind.length || (held.first > 1024 && held.first * 2 > behind.length)) {
      behind.splice(0, held.first)
      held.first = 0
    }
    return item
  }

  #putBehind(held: HeldKey, item: Item): void {
    const { behind } = held
    this.#waiting++
    // Nearly always it is the last; one that came back from elsewhere goes to its place.
    let at = behind.length
    while (at > held.first && behind[at - 1]!.position > item.position) at--
    if (at === behind.length) behind.push(item)
    else behind.splice(at, 0, item)
  }
}
