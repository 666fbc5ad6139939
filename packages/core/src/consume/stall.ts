/**
 * Health by progress. A consumer that is connected, has its window open and messages waiting for it, and yet begins and ends
 * nothing for `stallMs`, is stalled, whatever its socket says: it is rebuilt (its receiver stopped and opened anew), a bounded number
 * of times. A handler that runs, however long, is progress; its limit is `timeoutMs`. An engine that does not answer for `stallMs` (its
 * process stands still) makes the consumer unhealthy too; rebuilding would not help there.
 */
import type { EventHub } from '../observe/events.ts'

export interface StallParts {
  readonly sourceName: string
  readonly stallMs: number
  readonly events: EventHub
  /** True while the consumer should get messages: it runs, its engine is up, nothing of its own keeps it from taking more. */
  readonly ready: () => boolean
  /** There is no receiver: the last rebuilding failed. */
  readonly broken: () => boolean
  /** Changes with everything that begins or ends. */
  readonly progress: () => number
  /** Whether there are messages that wait for this consumer, and not for another that keeps their order. Rejects as the engine does. */
  readonly waiting: () => Promise<boolean>
  readonly rebuild: () => Promise<void>
}

/** Looks so often within `stallMs`, so that a stall is noticed soon after it is one. */
const looks = 4
/** So many times a consumer that makes no progress is rebuilt. */
const maxRebuilds = 5

export class StallWatch {
  readonly #parts: StallParts
  readonly #timer: NodeJS.Timeout
  #progress = -1
  /** How many looks in a row found messages and no progress. */
  #idle = 0
  #rebuilds = 0
  #stalled = false
  /** When the question was asked that is not answered yet. */
  #askedAt: number | undefined
  #unanswered = false

  constructor(parts: StallParts) {
    this.#parts = parts
    this.#timer = setInterval(() => void this.#look(), Math.max(parts.stallMs / looks, 1))
    // Watching alone keeps no process alive.
    this.#timer.unref()
  }

  /** Why the consumer is not healthy. */
  get reason(): string | undefined {
    const { stallMs } = this.#parts
    if (this.#unanswered) return `the engine has not answered for ${stallMs} ms`
    if (!this.#stalled) return undefined
    const what =
      this.#rebuilds < maxRebuilds ? 'it is being rebuilt' : `rebuilding it ${maxRebuilds} times did not help`
    return `messages wait and none was handled for ${stallMs} ms; ${what}`
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  async #look(): Promise<void> {
    if (this.#askedAt !== undefined) {
      this.#unanswered ||= performance.now() - this.#askedAt >= this.#parts.stallMs
      return
    }
    this.#askedAt = performance.now()
    try {
      if (await this.#isIdle()) this.#idle += 1
      else this.#idle = 0
      if (this.#idle > looks) await this.#stalledNow()
    } catch (error) {
      // An engine that cannot be asked tells nothing about the consumer.
      this.#idle = 0
      const { events, sourceName } = this.#parts
      events.emit({ kind: 'driver-failed', doing: `looking after the consumer of ${sourceName}`, error })
    } finally {
      this.#askedAt = undefined
      this.#unanswered = false
    }
  }

  async #isIdle(): Promise<boolean> {
    const { ready, broken, progress, waiting } = this.#parts
    const before = progress()
    if (before !== this.#progress) {
      this.#progress = before
      this.#recovered()
      return false
    }
    if (!ready()) return false
    if (broken()) return true
    return (await waiting()) && progress() === before && ready()
  }

  #recovered(): void {
    this.#rebuilds = 0
    this.#stalled = false
  }

  async #stalledNow(): Promise<void> {
    const { events, sourceName, stallMs, rebuild } = this.#parts
    this.#stalled = true
    this.#idle = 0
    if (this.#rebuilds >= maxRebuilds) return
    this.#rebuilds += 1
    events.emit({ kind: 'consumer-stalled', source: sourceName, stallMs, rebuilds: this.#rebuilds })
    await rebuild()
  }
}
