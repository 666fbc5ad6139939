/** What a scenario works with: buses that are closed after it, names of its own, processes of its own. */
import { type Bus, type ConnectOptions, connect, type Drivers, schemes } from '@chasqui/core'
import type { Capabilities, Driver } from '@chasqui/driver'
import { settled } from './eventually.ts'
import type { Engine, EngineProcess, Fixture } from './fixture.ts'
import { startWorker, type Task, type Worker } from './worker-process.ts'

export class Stage {
  readonly engine: Engine
  readonly capabilities: Capabilities
  /** What the scenario's disturbances follow from. */
  readonly seed: number
  readonly #fixture: Fixture
  readonly #prefix: string
  readonly #undo: (() => Promise<unknown>)[] = []

  constructor(engine: Engine, capabilities: Capabilities, fixture: Fixture, prefix: string, seed: number) {
    this.engine = engine
    this.capabilities = capabilities
    this.#fixture = fixture
    this.#prefix = prefix
    this.seed = seed
  }

  /** A name that no other scenario or run uses. */
  name(suffix: string): string {
    return `${this.#prefix}.${suffix}`
  }

  /** A bus on the engine, closed after the scenario. Its log is silent: scenarios provoke failures. */
  async connect(options: ConnectOptions = {}, url: string | readonly string[] = this.engine.url): Promise<Bus> {
    const bus = await connect(url, { logger: false, drivers: driversFor(url, this.#fixture.open), ...options })
    this.#undo.push(() => bus.close({ deadlineMs: 0 }))
    return bus
  }

  /** The driver itself, for what the face does not show. */
  async driver(): Promise<Driver> {
    const driver = await this.#fixture.open({ urls: [this.engine.url], name: 'conformance', connectTimeoutMs: 10_000 })
    this.#undo.push(() => driver.close())
    return driver
  }

  /** Another process that does the task on the engine; ended after the scenario. */
  async worker(task: Task): Promise<Worker> {
    const worker = await startWorker(task, driversFor(task.url, this.#fixture.module))
    this.#undo.push(() => worker.kill())
    return worker
  }

  /** The engine's process, where it has one that can die alone. */
  get process(): EngineProcess | undefined {
    if (!this.capabilities.properties.separateProcess) return undefined
    if (this.engine.process === undefined) {
      throw new Error('The driver says `separateProcess`, so its fixture must offer `process`.')
    }
    return this.engine.process
  }

  async close(): Promise<void> {
    const failures: unknown[] = []
    for (const undo of this.#undo.splice(0).reverse()) {
      await settled(undo(), 'a bus, driver or worker of the scenario to close').catch(error => failures.push(error))
    }
    if (failures.length > 0) throw new AggregateError(failures, `Cleaning up failed: ${String(failures[0])}`)
  }
}

/** For `connect`, where the scheme is that of a driver that Chasqui does not know. */
function driversFor<D extends Drivers[string]>(
  url: string | readonly string[],
  driver: D | undefined,
): Record<string, D> {
  const scheme = String(url).split(':', 1)[0]!.toLowerCase()
  if (Object.hasOwn(schemes, scheme)) return {}
  if (driver === undefined)
    throw new Error(`The fixture must name its \`module\`: Chasqui knows no driver for ${scheme}:`)
  return { [scheme]: driver }
}
