/** The machine-readable report of a run, and the table for people that is made from it. */
import type { Outcome, Scenario } from './scenario.ts'

export interface ScenarioResult {
  readonly number: number
  readonly outcome: Outcome | 'failed'
  readonly durationMs: number
  /** Why it failed. */
  readonly reason?: string
}

/** One driver's run of the suite. */
export interface DriverReport {
  readonly driver: string
  /** The engine's version, where the fixture knows it. */
  readonly version?: string
  /** What the disturbances of the run followed from; CHASQUI_SEED repeats them. */
  readonly seed?: number
  readonly results: readonly ScenarioResult[]
}

const words: Readonly<Record<ScenarioResult['outcome'], string>> = {
  pass: 'pass',
  emulated: 'emulated',
  refused: 'refused',
  weaker: 'weaker',
  failed: '**failed**',
}

/** A table in Markdown: a row for each scenario, with the reports that it comes from, and a column for each driver; `-` where it has not run. */
export function conformanceTable(scenarios: readonly Scenario[], reports: readonly DriverReport[]): string {
  const heads = reports.map(({ driver, version }) => (version === undefined ? driver : `${driver} ${version}`))
  const rows = scenarios.map(({ number, title, source }) => {
    const cells = reports.map(({ results }) => {
      const result = results.find(candidate => candidate.number === number)
      return result === undefined ? '-' : words[result.outcome]
    })
    const rule = source === undefined ? title : `${title} (${source})`
    return `| ${[number, rule, ...cells].join(' | ')} |`
  })
  return [`| | scenario | ${heads.join(' | ')} |`, `| --- | --- |${' --- |'.repeat(heads.length)}`, ...rows].join('\n')
}
