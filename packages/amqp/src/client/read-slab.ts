/**
 * What the socket reads, moved into memory of its own. The socket reads into one buffer over and over; what came is
 * copied side by side into slabs that are never written to again, so that bodies can be views of them.
 *
 * A copy of a few kilobytes costs less than what Node does for each read otherwise: 64 KiB allocated, and shrunk to
 * what came.
 */

const slabBytes = 65_536

export class ReadSlab {
  #slab: Buffer = Buffer.allocUnsafeSlow(slabBytes)
  #offset = 0

  /** The first `length` bytes of `source`, where nobody overwrites them. */
  take(source: Uint8Array, length: number): Buffer {
    if (this.#offset + length > this.#slab.length) {
      this.#slab = Buffer.allocUnsafeSlow(Math.max(slabBytes, length))
      this.#offset = 0
    }
    const start = this.#offset
    this.#offset += length
    this.#slab.set(length === source.length ? source : source.subarray(0, length), start)
    return this.#slab.subarray(start, this.#offset)
  }
}
