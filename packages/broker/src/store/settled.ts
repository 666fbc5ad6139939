/**
 * What became of the messages of one segment, in the file beside its log. All numbers are little endian.
 *
 *   entry    [queue id u32][first ordinal u32][kind << 24 | value u32][check u32]       16 bytes
 *   kind 1   settled: `value` messages from the ordinal on, each of them this queue's
 *   kind 2   handed out: `value` messages from the ordinal on, none of which came back before
 *   kind 3   came back: the one message of this ordinal, `value` times by now
 *   kind 4   handed out again: the one message of this ordinal, which came back `value` times
 *
 * Appended in any order and without a sync: a crash of the machine may lose the last ones, and their messages come
 * again. The check is there because a page that the disk never wrote must not settle anything.
 */
export const entryBytes = 16
export const kindSettled = 1
export const kindDelivered = 2
export const kindReturned = 3
export const kindDeliveredAgain = 4
const mostValue = 0xff_ffff
/** Entries that are remembered for making runs of, per kind; beyond it runs start anew. */
const mostRuns = 1024

function check(queueId: number, ordinal: number, kindAndValue: number): number {
  let mixed = Math.imul(queueId ^ 0x43485153, 0x9e3779b1)
  mixed = Math.imul((mixed ^ (mixed >>> 15)) + ordinal, 0x85ebca77)
  mixed = Math.imul((mixed ^ (mixed >>> 13)) + kindAndValue, 0xc2b2ae3d)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/** The entries that wait to be written. Neighbours become one entry while they wait. */
export class SettledEntries {
  #entries = new Uint32Array(64)
  #count = 0
  readonly #settledRuns = new Map<number, number>()
  readonly #deliveredRuns = new Map<number, number>()

  get count(): number {
    return this.#count
  }

  settled(queueId: number, ordinal: number): void {
    this.#run(this.#settledRuns, kindSettled, queueId, ordinal)
  }

  delivered(queueId: number, ordinal: number): void {
    this.#run(this.#deliveredRuns, kindDelivered, queueId, ordinal)
  }

  deliveredAgain(queueId: number, ordinal: number, returns: number): void {
    this.#add(queueId, ordinal, kindDeliveredAgain, Math.min(returns, mostValue))
  }

  returned(queueId: number, ordinal: number, returns: number): void {
    this.#add(queueId, ordinal, kindReturned, Math.min(returns, mostValue))
  }

  /** The waiting entries as they stand in the file. */
  bytes(): Buffer {
    const bytes = Buffer.allocUnsafe(this.#count * entryBytes)
    for (let index = 0; index < this.#count; index++) {
      const queueId = this.#entries[index * 3]!
      const ordinal = this.#entries[index * 3 + 1]!
      const kindAndValue = this.#entries[index * 3 + 2]!
      const at = index * entryBytes
      bytes.writeUInt32LE(queueId, at)
      bytes.writeUInt32LE(ordinal, at + 4)
      bytes.writeUInt32LE(kindAndValue, at + 8)
      bytes.writeUInt32LE(check(queueId, ordinal, kindAndValue), at + 12)
    }
    return bytes
  }

  /** They are written. */
  clear(): void {
    this.#count = 0
    this.#settledRuns.clear()
    this.#deliveredRuns.clear()
    if (this.#entries.length > 65_536) this.#entries = new Uint32Array(64)
  }

  #run(runs: Map<number, number>, kind: number, queueId: number, ordinal: number): void {
    const last = runs.get(queueId)
    if (last !== undefined) {
      const at = last * 3
      const length = this.#entries[at + 2]! & mostValue
      if (this.#entries[at + 1]! + length === ordinal && length < mostValue) {
        this.#entries[at + 2]!++
        return
      }
    }
    if (runs.size >= mostRuns) runs.clear()
    runs.set(queueId, this.#count)
    this.#add(queueId, ordinal, kind, 1)
  }

  #add(queueId: number, ordinal: number, kind: number, value: number): void {
    const at = this.#count * 3
    if (at + 3 > this.#entries.length) {
      const larger = new Uint32Array(this.#entries.length * 2)
      larger.set(this.#entries)
      this.#entries = larger
    }
    this.#entries[at] = queueId
    this.#entries[at + 1] = ordinal
    this.#entries[at + 2] = ((kind << 24) | value) >>> 0
    this.#count++
  }
}

/** Calls `found` for each sound entry; entries that are not (never written, torn) say nothing. */
export function readEntries(
  bytes: Buffer,
  start: number,
  found: (queueId: number, ordinal: number, kind: number, value: number) => void,
): void {
  for (let at = start; at + entryBytes <= bytes.length; at += entryBytes) {
    const queueId = bytes.readUInt32LE(at)
    const ordinal = bytes.readUInt32LE(at + 4)
    const kindAndValue = bytes.readUInt32LE(at + 8)
    if (bytes.readUInt32LE(at + 12) !== check(queueId, ordinal, kindAndValue)) continue
    const kind = kindAndValue >>> 24
    if (kind >= kindSettled && kind <= kindDeliveredAgain) found(queueId, ordinal, kind, kindAndValue & mostValue)
  }
}
