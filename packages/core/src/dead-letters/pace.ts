/** No more than so many in any second, spread evenly. */
import { setTimeout as sleep } from 'node:timers/promises'

export class Pace {
  readonly #perSecond: number | undefined
  #nextAt = 0

  constructor(perSecond: number | undefined) {
    this.#perSecond = perSecond
  }

  /** Waits until so many more may go. Resolves `false` when the signal fires first. */
  async wait(count: number, signal: AbortSignal | undefined): Promise<boolean> {
    if (this.#perSecond === undefined || count === 0) return signal?.aborted !== true
    const now = performance.now()
    const waitMs = this.#nextAt - now
    this.#nextAt = Math.max(this.#nextAt, now) + (count * 1000) / this.#perSecond
    if (waitMs > 0) await sleep(waitMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
    return signal?.aborted !== true
  }
}
