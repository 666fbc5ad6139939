/** Runs scenarios on a fixture: alone, or as tests of a test runner. */
import { randomBytes, randomInt } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Capabilities } from '@chasqui/driver'
import { batches } from './batches.ts'
import { crashes } from './crashes.ts'
import { deadLetters } from './dead-letters.ts'
import { delivery } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { failures } from './failures.ts'
import { faults } from './faults.ts'
import type { Engine, Fixture } from './fixture.ts'
import { handling } from './handling.ts'
import { lifecycle } from './lifecycle.ts'
import { limits } from './limits.ts'
import { liveness } from './liveness.ts'
import { network } from './network.ts'
import { order } from './order.ts'
import { patterns } from './patterns.ts'
import type { DriverReport, ScenarioResult } from './report.ts'
import type { Outcome, Scenario } from './scenario.ts'
import { settlement } from './settlement.ts'
import { Stage } from './stage.ts'
import { streams } from './streams.ts'

/** All scenarios, in the order of their numbers. */
export const scenarios: readonly Scenario[] = [
  ...delivery,
  ...settlement,
  ...handling,
  ...failures,
  ...deadLetters,
  ...batches,
  ...order,
  ...lifecycle,
  ...faults,
  ...network,
  ...patterns,
  ...crashes,
  ...limits,
  ...liveness,
  ...streams,
].sort((a, b) => a.number - b.number)

const defaultTimeoutMs = 60_000
const engineTimeoutMs = 120_000

/** An engine that was started for the suite and has told its capabilities. */
export interface StartedEngine {
  readonly engine: Engine
  readonly capabilities: Capabilities
}

export async function startEngine(fixture: Fixture): Promise<StartedEngine> {
  const engine = await fixture.start()
  try {
    const driver = await fixture.open({ urls: [engine.url], name: 'conformance', connectTimeoutMs: 30_000 })
    const { capabilities } = driver
    await driver.close()
    return { engine, capabilities }
  } catch (error) {
    await engine.close()
    throw error
  }
}

/** What disturbances follow from: CHASQUI_SEED, so that a failure can be repeated, else a number of this run's own. */
function chooseSeed(given: string | undefined = process.env.CHASQUI_SEED): number {
  if (given === undefined || given === '') return randomInt(2 ** 32)
  const seed = Number(given)
  if (Number.isInteger(seed) && seed >= 0 && seed < 2 ** 32) return seed
  throw new Error(`CHASQUI_SEED is a whole number from 0 to ${2 ** 32 - 1}, not "${given}".`)
}

/** Runs one scenario on a started engine, within its time, and cleans up after it. Throws what the scenario, or the cleaning, throws. */
export async function runScenario(
  scenario: Scenario,
  fixture: Fixture,
  started: StartedEngine,
  seed: number = chooseSeed(),
): Promise<Outcome> {
  const prefix = `conformance.${scenario.number}.${randomBytes(4).toString('hex')}`
  const stage = new Stage(started.engine, started.capabilities, fixture, prefix, seed)
  let outcome: Outcome
  try {
    const timeoutMs = scenario.timeoutMs ?? defaultTimeoutMs
    outcome = (await settled(scenario.run(stage), `the end of scenario ${scenario.number}`, timeoutMs)) ?? 'pass'
  } catch (error) {
    // The scenario's own failure says more than what it left behind.
    await stage.close().catch(() => undefined)
    throw error
  }
  await stage.close()
  return outcome
}

/** Runs the suite, or the scenarios given, on an engine of its own; failures are results, not rejections. */
export async function runConformance(
  fixture: Fixture,
  chosen: readonly Scenario[] = scenarios,
  seed: number = chooseSeed(),
): Promise<DriverReport> {
  const started = await startEngine(fixture)
  const results: ScenarioResult[] = []
  try {
    for (const scenario of chosen) results.push(await resultOf(scenario, fixture, started, seed))
  } finally {
    await started.engine.close()
  }
  return reportOf(fixture, started, results, seed)
}

/** The functions of a test runner that registration needs; vitest's and jest's fit. */
export interface TestRunner {
  readonly test: (title: string, run: () => Promise<void>, timeoutMs: number) => unknown
  readonly beforeAll: (run: () => Promise<void>, timeoutMs: number) => unknown
  readonly afterAll: (run: () => Promise<void>, timeoutMs: number) => unknown
}

/**
 * Registers each scenario as a test titled `NUMBER. TITLE`. The engine starts before the first and is stopped after the last,
 * when no socket may be left open. With the variable CHASQUI_CONFORMANCE_REPORTS set to a folder, the run's report
 * is written there as JSON.
 */
export function registerConformance(
  fixture: Fixture,
  { test, beforeAll, afterAll }: TestRunner,
  chosen: readonly Scenario[] = scenarios,
): void {
  const results: ScenarioResult[] = []
  const seed = chooseSeed()
  const socketsBefore = openSockets()
  let started: StartedEngine | undefined
  beforeAll(async () => {
    started = await startEngine(fixture)
  }, engineTimeoutMs)
  for (const scenario of chosen) {
    const run = async () => {
      if (started === undefined) throw new Error('The engine did not start.')
      const result = await resultOf(scenario, fixture, started, seed)
      results.push(result)
      if (result.outcome === 'failed') throw result.cause
    }
    test(`${scenario.number}. ${scenario.title}`, run, (scenario.timeoutMs ?? defaultTimeoutMs) + 30_000)
  }
  afterAll(async () => {
    if (started === undefined) return
    await started.engine.close()
    await eventually(
      () => openSockets() <= socketsBefore,
      () => `every socket to be closed; ${openSockets() - socketsBefore} are open: ${process.getActiveResourcesInfo()}`,
      10_000,
    )
    const folder = process.env.CHASQUI_CONFORMANCE_REPORTS
    if (folder === undefined || folder === '') return
    const path = join(folder, `${fixture.name.replaceAll(/[^a-z0-9]+/gi, '-')}.json`)
    await writeFile(path, `${JSON.stringify(reportOf(fixture, started, results, seed), null, 2)}\n`)
  }, engineTimeoutMs)
}

async function resultOf(
  scenario: Scenario,
  fixture: Fixture,
  started: StartedEngine,
  seed: number,
): Promise<ScenarioResult & { readonly cause?: unknown }> {
  const { number } = scenario
  const start = performance.now()
  const durationMs = () => Math.round(performance.now() - start)
  try {
    const outcome = await runScenario(scenario, fixture, started, seed)
    return { number, outcome, durationMs: durationMs() }
  } catch (cause) {
    return { number, outcome: 'failed', durationMs: durationMs(), reason: String(cause), cause }
  }
}

function reportOf(
  fixture: Fixture,
  { engine }: StartedEngine,
  results: readonly ScenarioResult[],
  seed: number,
): DriverReport {
  return {
    driver: fixture.name,
    ...(engine.version === undefined ? {} : { version: engine.version }),
    seed,
    results: results.map(({ number, outcome, durationMs, reason }) => ({
      number,
      outcome,
      durationMs,
      ...(reason === undefined ? {} : { reason }),
    })),
  }
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter(kind => /^(TCP|TLS|Pipe)/.test(kind)).length
}
