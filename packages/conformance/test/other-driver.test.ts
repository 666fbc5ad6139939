import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import type { Fixture } from '../src/fixture.ts'
import { runScenario, scenarios, startEngine } from '../src/suite.ts'
import { open } from './other-driver.ts'

const fixture: Fixture = {
  name: "somebody else's",
  open,
  module: fileURLToPath(new URL('./other-driver.ts', import.meta.url)),
  async start() {
    const directory = await mkdtemp(join(tmpdir(), 'chasqui-other-'))
    return { url: `other:${directory}`, close: () => rm(directory, { recursive: true, force: true }) }
  },
}

/** One that sends and receives, one that opens the driver itself, one with processes of its own. */
test.for([1, 16, 48])(
  "the suite judges somebody else's driver by scenario %i, workers and all",
  { timeout: 90_000 },
  async number => {
    const started = await startEngine(fixture)
    onTestFinished(() => started.engine.close())
    const scenario = scenarios.find(candidate => candidate.number === number)!
    expect(await runScenario(scenario, fixture, started)).toMatch(/^(?:pass|emulated|weaker|refused)$/)
  },
)

test('one without its module named is told so when a worker needs it', async () => {
  const { module: _, ...unnamed } = fixture
  const started = await startEngine(unnamed)
  onTestFinished(() => started.engine.close())
  const withWorker = scenarios.find(candidate => candidate.number === 16)!
  await expect(runScenario(withWorker, unnamed, started)).rejects.toThrow(/must name its `module`/)
})
