/**
 * What messages in memory weigh, and what becomes of those that the store has too.
 *
 *     0 ... pageOutRatio: everything stays in memory
 *       ... limit:        new messages of deep queues leave memory once they are committed, and are read back when wanted
 *       above:            publishers are blocked, until below `unblockRatio`
 */
import { type Envelope, envelopeBytes } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'

/** Above this part of the limit, new messages that the store has are dropped from memory where a queue is deep. */
const pageOutRatio = 0.4
/** Waiting messages that make a queue deep: those before are wanted soon. */
const deepLength = 2000
/** Memory must fall below this part of the limit before publishers go on. */
const unblockRatio = 0.9

export class Memory {
  /** What the messages in memory weigh, in bytes. */
  bytes = 0
  /** Publishers should wait. */
  full = false
  readonly #limitBytes: number
  readonly #onFull: () => void
  /** Messages that may leave memory once they are committed, in order of commits. */
  #pageable: { readonly commit: number; readonly envelope: Envelope }[] = []

  /** `onFull`: `full` has changed. */
  constructor(limitBytes: number, onFull: () => void) {
    this.#limitBytes = limitBytes
    this.#onFull = onFull
  }

  /** A new envelope, held once by the caller. */
  hold(envelope: Envelope): void {
    envelope.references++
    this.#grow(envelope.message === undefined ? envelopeBytes : envelopeBytes + envelope.bodyBytes)
  }

  /** So many bytes more (less, when negative) are held for messages that are no envelopes yet. */
  reserve(bytes: number): void {
    if (bytes > 0) this.#grow(bytes)
    else if (bytes < 0) this.#shrink(-bytes)
  }

  /** The content has come back. */
  loaded(envelope: Envelope): void {
    this.#grow(envelope.bodyBytes)
  }

  /** One holder less; the last one frees it. */
  release(envelope: Envelope): void {
    if (--envelope.references > 0) return
    this.#shrink(envelope.message === undefined ? envelopeBytes : envelopeBytes + envelope.bodyBytes)
  }

  /** A stored message has been put into queues; `shallowest` is the one that wants it first. */
  stored(envelope: Envelope, commit: number, shallowest: Queue): void {
    if (this.bytes <= this.#limitBytes * pageOutRatio || shallowest.length + shallowest.delayed <= deepLength) return
    this.#pageable.push({ commit, envelope })
  }

  /** A message that is in memory only until the store has it at its new place. */
  rewritten(envelope: Envelope, commit: number): void {
    this.#pageable.push({ commit, envelope })
  }

  /** Drops from memory what the store has now and nobody wants soon. */
  committed(committed: number): void {
    let count = 0
    for (const { commit, envelope } of this.#pageable) {
      if (commit > committed) break
      count++
      if (envelope.references === 0 || envelope.message === undefined) continue
      envelope.message = undefined
      this.#shrink(envelope.bodyBytes)
    }
    if (count > 0) this.#pageable.splice(0, count)
  }

  #grow(bytes: number): void {
    this.bytes += bytes
    if (this.full || this.bytes <= this.#limitBytes) return
    this.full = true
    this.#onFull()
  }

  #shrink(bytes: number): void {
    this.bytes -= bytes
    if (!this.full || this.bytes >= this.#limitBytes * unblockRatio) return
    this.full = false
    this.#onFull()
  }
}
