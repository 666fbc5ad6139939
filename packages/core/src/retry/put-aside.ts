/**
 * Puts a message aside for a later attempt: a copy with its past noted goes back to the end of its own source, not to be delivered
 * before its time, and the original is acknowledged once the copy is confirmed. So the wait is the engine's: it survives this
 * process, blocks nobody, and attempts are counted across crashes.
 */
import type { Driver, Receiver, Source } from '@chasqui/driver'
import { copyThenAck } from '../settle/copy-then-ack.ts'
import type { OpenDelivery, Settlements } from '../settle/settlement.ts'
import { isLastStop } from './dead-letter.ts'
import { notedCopy } from './notes.ts'

export interface PutAsideParts {
  readonly driver: Driver
  readonly settlements: Settlements
  readonly source: Source
  readonly sendTimeoutMs: number
}

export class PutAside {
  readonly #parts: PutAsideParts
  #receiver: Receiver | undefined

  constructor(parts: PutAsideParts) {
    this.#parts = parts
  }

  attach(receiver: Receiver): void {
    this.#receiver = receiver
  }

  /** Whether the engine can keep a message back until its time. */
  get canDelay(): boolean {
    return this.#parts.driver.capabilities.operations.delay !== 'unsupported'
  }

  /**
   * Resolves to `undefined` when the copy is confirmed and the original acknowledged, or the delivery is not ours any more; else
   * to what kept the copy from being confirmed, and the original is open then. Does not reject.
   *
   * @param notBefore milliseconds since the epoch; `undefined`: the copy goes to the end of the queue.
   */
  async put(delivery: OpenDelivery, crashes: number, notBefore: number | undefined): Promise<unknown> {
    const { driver, settlements, source, sendTimeoutMs } = this.#parts
    try {
      const copy = notedCopy(delivery, crashes, notBefore)
      // What died of its time to live must not die of it again, in a dead-letter queue least of all: nothing is behind that.
      const message = isLastStop(source.name) ? { ...copy, expiresAt: undefined } : copy
      const copies = [{ to: source, message }]
      await copyThenAck(driver, this.#receiver, settlements, delivery, copies, sendTimeoutMs)
      return undefined
    } catch (error) {
      return error ?? new Error('the copy was not confirmed')
    }
  }
}
