/**
 * The deliveries of one session that are not settled yet, by tag. Tags count up, and most are settled soon and
 * nearly in order, so a ring indexed by tag does; what stays behind while many others pass moves to a map, so that
 * one forgotten delivery does not make the ring as long as everything that came after.
 */
import type { OutgoingDelivery } from './outgoing-delivery.ts'

/** The ring is never smaller, in slots. */
const leastSlots = 64
/** The ring may be so many times longer than what it holds before stragglers are moved out of it. */
const slack = 16

export class Unsettled {
  #ring: (OutgoingDelivery | undefined)[] = new Array(leastSlots).fill(undefined)
  /** The tag of the ring's first slot in use. */
  #first = 1
  /** The next tag. */
  #next = 1
  #inRing = 0
  readonly #stragglers = new Map<number, OutgoingDelivery>()

  get size(): number {
    return this.#inRing + this.#stragglers.size
  }

  get nextTag(): number {
    return this.#next
  }

  /** Adds a delivery under `nextTag`. */
  add(delivery: OutgoingDelivery): void {
    if (this.#next - this.#first === this.#ring.length) this.#makeRoom()
    this.#ring[this.#next & (this.#ring.length - 1)] = delivery
    this.#next++
    this.#inRing++
  }

  /** Uses up a tag for a delivery that needs no settling. */
  skip(): number {
    if (this.#inRing === 0) this.#first = this.#next + 1
    else if (this.#next - this.#first === this.#ring.length) this.#makeRoom()
    return this.#next++
  }

  has(tag: number): boolean {
    return this.#isInRing(tag) || this.#stragglers.has(tag)
  }

  take(tag: number): OutgoingDelivery | undefined {
    if (this.#isInRing(tag)) {
      const slot = tag & (this.#ring.length - 1)
      const delivery = this.#ring[slot]
      this.#ring[slot] = undefined
      this.#inRing--
      if (tag === this.#first) this.#advance()
      return delivery
    }
    const straggler = this.#stragglers.get(tag)
    if (straggler !== undefined) this.#stragglers.delete(tag)
    return straggler
  }

  /** Puts a delivery back that was taken. */
  putBack(delivery: OutgoingDelivery): void {
    this.#stragglers.set(delivery.tag, delivery)
  }

  /** Takes everything up to and including `tag`, in order of tags. */
  takeUpTo(tag: number): OutgoingDelivery[] {
    const taken: OutgoingDelivery[] = []
    for (const [straggler, delivery] of this.#stragglers) {
      if (straggler > tag) continue
      taken.push(delivery)
      this.#stragglers.delete(straggler)
    }
    taken.sort((a, b) => a.tag - b.tag)
    const last = Math.min(tag, this.#next - 1)
    const mask = this.#ring.length - 1
    for (let at = this.#first; at <= last; at++) {
      const delivery = this.#ring[at & mask]
      if (delivery === undefined) continue
      this.#ring[at & mask] = undefined
      this.#inRing--
      taken.push(delivery)
    }
    if (last >= this.#first) {
      this.#first = last + 1
      this.#advance()
    }
    return taken
  }

  #isInRing(tag: number): boolean {
    return tag >= this.#first && tag < this.#next && this.#ring[tag & (this.#ring.length - 1)] !== undefined
  }

  #advance(): void {
    if (this.#inRing === 0) {
      this.#first = this.#next
      return
    }
    const mask = this.#ring.length - 1
    while (this.#first < this.#next && this.#ring[this.#first & mask] === undefined) this.#first++
  }

  #makeRoom(): void {
    const span = this.#next - this.#first
    const mask = this.#ring.length - 1
    if (span > leastSlots && this.#inRing * slack < span) {
      for (let tag = this.#first; tag < this.#next; tag++) {
        const delivery = this.#ring[tag & mask]
        if (delivery === undefined) continue
        this.#stragglers.set(tag, delivery)
        this.#ring[tag & mask] = undefined
      }
      this.#inRing = 0
      this.#first = this.#next
      return
    }
    const ring: (OutgoingDelivery | undefined)[] = new Array(this.#ring.length * 2).fill(undefined)
    for (let tag = this.#first; tag < this.#next; tag++) ring[tag & (ring.length - 1)] = this.#ring[tag & mask]
    this.#ring = ring
  }
}
