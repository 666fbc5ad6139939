/**
 * Stops a consumer while what its handlers need is down, so that messages do not use up their attempts against a wall.
 *
 *     closed --failures within windowMs--> open --openMs--> probing --one message succeeds--> closed
 *                                           ^------------------|  it fails
 */
import type { EventHub } from '../observe/events.ts'
import { messageOf } from '../observe/message-of.ts'
import type { RetryWhen } from '../retry/policy.ts'
import { matcher } from '../retry/policy.ts'
import type { Gate, Watcher } from './work.ts'

export interface CircuitBreakerOptions {
  /** So many failed attempts within `windowMs` open it: 1 to 100,000. Default 10. */
  readonly failures?: number
  /** How far back failures count, in milliseconds. Default 10,000. */
  readonly windowMs?: number
  /** How long it stays open before one message probes, in milliseconds. Default 30,000; at most 300,000. */
  readonly openMs?: number
  /** Which failures count: an error class, a code, or a function that says yes. Default: all. */
  readonly when?: RetryWhen
}

export interface CircuitBreakerParts {
  readonly options: Required<Omit<CircuitBreakerOptions, 'when'>> & { readonly when: RetryWhen | undefined }
  readonly source: string
  readonly events: EventHub
  /** How many handlers run. */
  readonly running: () => number
  readonly drain: () => void
  /** Milliseconds of a clock that never jumps. */
  readonly now?: () => number
}

export class CircuitBreaker implements Gate, Watcher {
  readonly #parts: CircuitBreakerParts
  readonly #counts: (error: unknown) => boolean
  readonly #now: () => number
  #state: 'closed' | 'open' | 'probing' = 'closed'
  /** When the latest failures were, at most as many as open it. */
  #failedAt: number[] = []
  #openUntil = 0
  #timer: NodeJS.Timeout | undefined
  #error: unknown

  constructor(parts: CircuitBreakerParts) {
    this.#parts = parts
    const { when } = parts.options
    this.#counts = when === undefined ? () => true : matcher(when)
    this.#now = parts.now ?? (() => performance.now())
  }

  get open(): boolean {
    if (this.#state === 'closed') return true
    return this.#state === 'probing' && this.#parts.running() === 0
  }

  /** How long an attempt that failed had better wait, in milliseconds. */
  get restMs(): number {
    return this.#state === 'open' ? Math.max(Math.ceil(this.#openUntil - this.#now()), 1) : 0
  }

  /** Why nothing is handled. */
  get reason(): string | undefined {
    if (this.#state === 'closed') return undefined
    return `the circuit is ${this.#state === 'open' ? 'open' : 'being probed'} after failures: ${messageOf(this.#error).slice(0, 200)}`
  }

  began(): void {}

  ended(_durationMs: number, error: unknown): void {
    const failed = error !== undefined && this.#isCounted(error)
    if (this.#state === 'probing') {
      if (failed) this.#break(error)
      else this.#close()
    } else if (failed && this.#state === 'closed') {
      const { failures, windowMs } = this.#parts.options
      const now = this.#now()
      this.#failedAt.push(now)
      if (this.#failedAt.length > failures) this.#failedAt.shift()
      if (this.#failedAt.length === failures && now - this.#failedAt[0]! <= windowMs) this.#break(error)
    }
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #isCounted(error: unknown): boolean {
    try {
      return this.#counts(error)
    } catch {
      // A predicate that fails on an error has not said yes to it.
      return false
    }
  }

  #break(error: unknown): void {
    const { options, source, events, drain } = this.#parts
    const { openMs } = options
    this.#state = 'open'
    this.#error = error
    this.#failedAt = []
    this.#openUntil = this.#now() + openMs
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#state = 'probing'
      events.emit({ kind: 'circuit-probing', source })
      drain()
    }, openMs)
    events.emit({ kind: 'circuit-opened', source, openMs, error })
  }

  #close(): void {
    const { source, events, drain } = this.#parts
    this.#state = 'closed'
    this.#error = undefined
    events.emit({ kind: 'circuit-closed', source })
    // Not in this call: the probe is about to leave its place.
    queueMicrotask(drain)
  }
}
