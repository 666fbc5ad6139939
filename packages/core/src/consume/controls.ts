/** What steers a consumer beside its window: made from its options, each off and free unless asked for. */
import type { EventHub } from '../observe/events.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import type { ConsumeSettings } from './options.ts'
import { RateLimit } from './rate-limit.ts'
import { Tuning } from './tuning.ts'
import type { Gate, Watcher } from './work.ts'

export interface ControlsParts {
  readonly settings: ConsumeSettings
  readonly source: string
  readonly events: EventHub
  /** How many handlers run. */
  readonly running: () => number
  /** Begins what may begin. */
  readonly drain: () => void
  readonly setConcurrency: (concurrency: number) => void
}

export class Controls {
  readonly gates: readonly Gate[]
  readonly watchers: readonly Watcher[]
  readonly breaker: CircuitBreaker | undefined

  constructor(parts: ControlsParts) {
    const { settings, drain, running, setConcurrency } = parts
    const { rateLimit, circuitBreaker, tuning } = settings
    const gates: Gate[] = []
    const watchers: Watcher[] = []
    if (rateLimit !== undefined) gates.push(new RateLimit(rateLimit, drain))
    if (circuitBreaker !== undefined) {
      this.breaker = new CircuitBreaker({ ...parts, options: circuitBreaker })
      gates.push(this.breaker)
      watchers.push(this.breaker)
    }
    if (tuning !== undefined) watchers.push(new Tuning(tuning, running, setConcurrency))
    this.gates = gates
    this.watchers = watchers
  }

  stop(): void {
    for (const gate of this.gates) gate.stop()
  }
}
