/**
 * The backlog of an ordered source: deliveries of one key begin one after another, each when the one before has left for good.
 * Where a delivery waits for a delayed attempt its key waits with it, and the other keys go on.
 *
 *     ready   [ b1 ]--[ d1 ]              heads whose turn is next
 *     heads   a -> a1 (taken) -> a2 -> a3
 *             b -> b1
 *             d -> d1 -> d2
 *
 * Invariants: `heads` has one entry for each key in hand; its head is ready or taken, its followers are neither. A delivery
 * costs one entry in a map and no object of its own.
 */
import type { Backlog } from './backlog.ts'
import { FifoQueue } from './queue.ts'
import type { Work } from './work.ts'

export class KeyOrder implements Backlog {
  readonly #keyOf: (work: Work) => string
  readonly #heads = new Map<string, Work>()
  readonly #ready = new FifoQueue<Work>()
  /** Heads that had been taken and come again; they go first. */
  readonly #again = new FifoQueue<Work>()
  #size = 0

  constructor(keyOf: (work: Work) => string) {
    this.#keyOf = keyOf
  }

  get size(): number {
    return this.#size
  }

  push(work: Work): void {
    const key = this.#keyOf(work)
    const head = this.#heads.get(key)
    this.#size += 1
    if (head === undefined) {
      this.#heads.set(key, work)
      work.last = work
      this.#ready.push(work)
    } else {
      head.last!.next = work
      head.last = work
    }
  }

  take(): Work | undefined {
    const work = this.#again.shift() ?? this.#ready.shift()
    if (work !== undefined) this.#size -= 1
    return work
  }

  comeBack(work: Work): void {
    const key = this.#keyOf(work)
    // It was drained with the others, and its followers come after it.
    if (!this.#heads.has(key)) {
      this.#heads.set(key, work)
      work.last ??= work
    }
    this.#size += 1
    this.#again.push(work)
  }

  done(work: Work): void {
    const key = this.#keyOf(work)
    // Left already: it was drained, or another of its key is at the head.
    if (this.#heads.get(key) !== work) return
    const { next } = work
    if (next === undefined) {
      this.#heads.delete(key)
      return
    }
    next.last = work.last
    work.next = undefined
    this.#heads.set(key, next)
    this.#ready.push(next)
  }

  drain(): Work[] {
    const drained: Work[] = []
    for (const head of [...this.#again.drain(), ...this.#ready.drain()]) {
      this.#heads.delete(this.#keyOf(head))
      drained.push(head)
      follow(head, drained)
    }
    // What is left are heads that are taken: they keep their keys, their followers go.
    for (const head of this.#heads.values()) follow(head, drained)
    this.#size = 0
    return drained
  }
}

/** One handler at a time for the whole source. */
export function strictOrder(): KeyOrder {
  return new KeyOrder(() => '')
}

/** One handler at a time for each key; messages without key share one. */
export function keyOrder(): KeyOrder {
  return new KeyOrder(work => work.item.message.key ?? '')
}

/** Takes the followers of a head off it. */
function follow(head: Work, into: Work[]): void {
  let work = head.next
  head.next = undefined
  head.last = head
  while (work !== undefined) {
    into.push(work)
    const { next } = work
    work.next = undefined
    work = next
  }
}
