/**
 * Which deliveries of a channel wait for an answer, so that single acknowledgements of one turn of the event loop can
 * leave as one `basic.ack` with `multiple`: it is used only where everything unsettled up to its tag is to be
 * acknowledged, and so acknowledges exactly what was asked for.
 *
 *   tags   ... #first                                    #next
 *          |   [unsettled][acked][settled][acked][unsettled] |
 *                         a byte each, in a ring
 *
 * One that stays unsettled while ten thousands of others go by would make the ring grow without end: then it moves
 * to the set of stragglers, and while there is one, `multiple` is not used.
 */

const settled = 0
const unsettled = 1
/** The user acknowledged it; the frame is still to be written. */
const acked = 2

const startSlots = 256
const maxSlots = 65_536

export class Unsettled {
  #slots = new Uint8Array(startSlots)
  #mask = startSlots - 1
  #first = 1
  #next = 1
  readonly #stragglers = new Set<number>()
  /** Tags acknowledged and not written, in the order in which that happened. */
  #acked: number[] = []
  /** Whether acknowledgements may be joined; not in a transaction, whose rollback unsettles them again. */
  coalescing = true

  /** How many acknowledgements wait to be written. */
  get ackedCount(): number {
    return this.#acked.length
  }

  /** A delivery came in. Tags rise by one from 1 on each channel. */
  delivered(tag: number, needsAck: boolean): void {
    if (tag < this.#next) return
    if (tag - this.#first > this.#mask) this.#makeRoom(tag)
    for (let skipped = this.#next; skipped < tag; skipped++) this.#slots[skipped & this.#mask] = settled
    this.#slots[tag & this.#mask] = needsAck ? unsettled : settled
    this.#next = tag + 1
  }

  /** Notes an acknowledgement. False: nothing is known of such a delivery, so the broker must judge. */
  ack(tag: number): boolean {
    if (tag >= this.#first && tag < this.#next) {
      const at = tag & this.#mask
      if (this.#slots[at] !== unsettled) return false
      this.#slots[at] = acked
    } else if (!this.#stragglers.delete(tag)) {
      return false
    }
    this.#acked.push(tag)
    return true
  }

  /** A delivery was settled otherwise (nack, reject); with `multiple` all up to it, where 0 stands for all. */
  settle(tag: number, multiple: boolean): void {
    if (!multiple) {
      if (tag >= this.#first && tag < this.#next) this.#slots[tag & this.#mask] = settled
      else this.#stragglers.delete(tag)
      return
    }
    const last = tag === 0 ? this.#next - 1 : Math.min(tag, this.#next - 1)
    for (const straggler of this.#stragglers) if (straggler <= last) this.#stragglers.delete(straggler)
    while (this.#first <= last) this.#slots[this.#first++ & this.#mask] = settled
  }

  /** Writes what waits, as few acknowledgements as are sure to mean the same. */
  flush(write: (tag: number, multiple: boolean) => void): void {
    const tags = this.#acked
    if (tags.length === 0) return
    this.#acked = []
    if (!this.coalescing) {
      for (const tag of tags) {
        this.settle(tag, false)
        write(tag, false)
      }
      return
    }
    const { last, count } = this.#closeRun()
    // With no straggler, everything below the run's end is settled or among `tags`.
    const joined = count > 1 && this.#stragglers.size === 0
    if (joined) write(last, true)
    if (joined && count === tags.length) return
    for (const tag of tags) {
      if (joined && tag <= last) continue
      if (tag >= this.#first) this.#slots[tag & this.#mask] = settled
      write(tag, false)
    }
  }

  /** Moves `#first` over everything settled and acknowledged; returns the last acknowledged of them, and how many. */
  #closeRun(): { last: number; count: number } {
    let last = 0
    let count = 0
    while (this.#first < this.#next) {
      const state = this.#slots[this.#first & this.#mask]
      if (state === unsettled) break
      if (state === acked) {
        last = this.#first
        count++
        this.#slots[this.#first & this.#mask] = settled
      }
      this.#first++
    }
    return { last, count }
  }

  #makeRoom(tag: number): void {
    while (this.#first < this.#next && this.#slots[this.#first & this.#mask] === settled) this.#first++
    if (this.#first === this.#next) this.#first = this.#next = tag
    while (tag - this.#first > this.#mask && this.#mask + 1 < maxSlots) this.#grow()
    while (this.#first < this.#next && tag - this.#first > this.#mask) {
      if (this.#slots[this.#first & this.#mask] === unsettled) this.#stragglers.add(this.#first)
      this.#first++
    }
    if (this.#first === this.#next) this.#first = this.#next = tag
  }

  #grow(): void {
    const slots = new Uint8Array((this.#mask + 1) * 2)
    const mask = slots.length - 1
    for (let tag = this.#first; tag < this.#next; tag++) slots[tag & mask] = this.#slots[tag & this.#mask]!
    this.#slots = slots
    this.#mask = mask
  }
}
