import type { Stage } from './stage.ts'

/**
 * How a scenario ended that did not fail. `refused`: the driver says `unsupported`, and the call was refused with the
 * typed error. `weaker`: the engine lacks a property, and the weaker outcome that the docs state was shown.
 */
export type Outcome = 'pass' | 'emulated' | 'refused' | 'weaker'

export interface Scenario {
  /** Stays for ever; the order is that of the list. */
  readonly number: number
  /** The rule, as a sentence. */
  readonly title: string
  /** The report that the scenario comes from, if any. */
  readonly source?: string
  /** How long it may take, in milliseconds. Default: 60,000. */
  readonly timeoutMs?: number
  /** Throws when the driver breaks the rule. `pass` when nothing is returned. */
  run(stage: Stage): Promise<Outcome | undefined>
}
