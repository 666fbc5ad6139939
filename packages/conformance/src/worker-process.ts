/** Starts `worker.ts` as a process of its own and reads the JSON lines that it writes. */
import { type ChildProcess, spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { eventually } from './eventually.ts'

/** What the process does once it is connected to `url`. */
export type Task =
  /** Stays connected until it is ended. */
  | { readonly do: 'stay'; readonly url: string }
  /** Takes messages, reports each as an effect, and never returns from its handler. */
  | { readonly do: 'hang'; readonly url: string; readonly queue: string; readonly concurrency: number }
  /**
   * Handles messages, each for `workMs`, and reports its beginning and its end; the body `deadly` kills it with SIGKILL. First it
   * sends `own` messages itself. SIGTERM makes it close its bus and end, as the guide for deployments says.
   */
  | {
      readonly do: 'serve'
      readonly url: string
      readonly queue: string
      readonly concurrency: number
      readonly workMs?: number
      readonly deadly?: string
      readonly own?: number
    }
  /** Sends `from`, `from + 1`, ... as bodies from that many callers at once; reports what was confirmed. */
  | {
      readonly do: 'produce'
      readonly url: string
      readonly queue: string
      readonly callers: number
      readonly from: number
      readonly to: number
    }
  /** Sends dead letters back, at most so many a second; reports each group of them. */
  | { readonly do: 'redrive'; readonly url: string; readonly queue: string; readonly ratePerSecond: number }
  /** Reports which destinations exist for it. */
  | { readonly do: 'look'; readonly url: string; readonly queue: string }

export type Report =
  | { readonly event: 'ready' }
  | { readonly event: 'effect'; readonly id: string | undefined; readonly body: unknown }
  | { readonly event: 'handled'; readonly id: string | undefined; readonly body: unknown }
  | { readonly event: 'dead-lettered'; readonly id: string | undefined; readonly code: string }
  | { readonly event: 'drained' }
  | { readonly event: 'confirmed'; readonly body: number }
  | { readonly event: 'refused'; readonly body: number; readonly code: string }
  | { readonly event: 'redriven'; readonly done: number }
  | { readonly event: 'looked'; readonly exists: boolean }
  | { readonly event: 'done' }
  | { readonly event: 'failed'; readonly message: string }

export class Worker {
  readonly reports: Report[] = []
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #errors = ''

  constructor(child: ChildProcess) {
    this.#child = child
    this.#exited = new Promise(resolve => child.once('close', () => resolve()))
    createInterface({ input: child.stdout! }).on('line', line => this.reports.push(JSON.parse(line) as Report))
    child.stderr!.on('data', chunk => {
      this.#errors = (this.#errors + String(chunk)).slice(-4000)
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** What it ended with; `null` while it runs, and after a signal that ended it. */
  get exitCode(): number | null {
    return this.#child.exitCode
  }

  /** Resolves when it has ended by itself. */
  get ended(): Promise<void> {
    return this.#exited
  }

  /** What it reported of that kind so far, in order. */
  seen<Event extends Report['event']>(event: Event): Extract<Report, { event: Event }>[] {
    return this.reports.filter((report): report is Extract<Report, { event: Event }> => report.event === event)
  }

  /** Waits for a report of that kind; fails with what the process printed if it ends or fails before. */
  async reported(event: Report['event'], count = 1): Promise<void> {
    const seen = () => this.seen(event).length
    const failed = () => this.reports.find(report => report.event === 'failed')
    await eventually(
      () => seen() >= count || failed() !== undefined || !this.running,
      () => `a worker process to report "${event}" ${count} times; it did ${seen()} times`,
    )
    if (seen() >= count) return
    throw new Error(`The worker process ended early: ${JSON.stringify(failed() ?? {})} ${this.#errors}`)
  }

  /** SIGKILL; resolves when the process and its output have ended. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  signal(name: 'SIGCONT' | 'SIGTERM'): void {
    this.#child.kill(name)
  }

  /** Lets it close its bus and leave. */
  async end(): Promise<void> {
    this.#child.stdin!.end()
    await this.#exited
  }
}

/** Resolves when the process is connected and at work. `drivers`: the modules of those that Chasqui does not know, by scheme. */
export async function startWorker(task: Task, drivers: Readonly<Record<string, string>> = {}): Promise<Worker> {
  // Beside this file, with the same ending: .ts in the sources, .js in the package.
  const program = fileURLToPath(new URL(import.meta.url.replace(/worker-process\.(\w+)$/, 'worker.$1')))
  const child = spawn(
    process.execPath,
    [...conditionsOf(process.execArgv), program, JSON.stringify(task), JSON.stringify(drivers)],
    {
      stdio: ['pipe', 'pipe', 'pipe'],
    },
  )
  const worker = new Worker(child)
  await worker.reported('ready')
  return worker
}

/** The package conditions this process runs under, so that the other resolves packages in the same way. */
function conditionsOf(execArgv: readonly string[]): string[] {
  return execArgv.flatMap((arg, index) => {
    if (arg === '--conditions' || arg === '-C') return [`--conditions=${execArgv[index + 1]}`]
    return arg.startsWith('--conditions=') ? [arg] : []
  })
}
