/** What the arguments of a queue allow to wait in it: how many, how many bytes, how long. */
import type { QueueSettings } from './arguments.ts'
import type { Backlog } from './backlog.ts'

export class Limits {
  /** How many or how many bytes is limited. */
  readonly bounded: boolean
  /** At the limit new messages are refused; else old ones go. */
  readonly refuses: boolean
  readonly #maxLength: number
  readonly #maxBytes: number
  readonly #messageTtlMs: number | undefined

  constructor({ maxLength, maxBytes, overflow, messageTtlMs }: QueueSettings) {
    this.bounded = maxLength !== undefined || maxBytes !== undefined
    this.refuses = this.bounded && overflow !== 'drop-head'
    this.#maxLength = maxLength ?? Number.POSITIVE_INFINITY
    this.#maxBytes = maxBytes ?? Number.POSITIVE_INFINITY
    this.#messageTtlMs = messageTtlMs
  }

  /** There would be no room, were so many messages of so many bytes added. */
  reached({ length, bytes }: Backlog, messages: number, moreBytes: number): boolean {
    return length + messages >= this.#maxLength || bytes + moreBytes >= this.#maxBytes
  }

  /** More waits than may. */
  exceeded({ length, bytes }: Backlog): boolean {
    return length > this.#maxLength || bytes > this.#maxBytes
  }

  /** When a message expires that waits since then, and says so itself (0: never), in milliseconds since the epoch. */
  expiresAt(since: number, itself: number): number {
    if (this.#messageTtlMs === undefined) return itself
    const at = Math.max(1, since + this.#messageTtlMs)
    return itself === 0 || at < itself ? at : itself
  }
}
