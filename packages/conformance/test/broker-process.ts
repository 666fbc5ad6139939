/** `chasqui broker` in a process of its own, which can be killed and started again on its data and its ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freeze } from '../../../scripts/brokers/process.ts'

const program = join(import.meta.dirname, '..', '..', 'chasqui', 'src', 'bin.ts')

export interface BrokerArguments {
  readonly port: number
  /** Absent: nothing on disk. */
  readonly data?: string
  readonly memoryLimitBytes?: number
  readonly tls?: { readonly port: number; readonly certPath: string; readonly keyPath: string }
}

export class BrokerProcess {
  readonly urls: readonly string[]
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, urls: readonly string[]) {
    this.#child = child
    this.urls = urls
  }

  /** Resolves when the broker has printed that it is ready. */
  static async start({ port, data, memoryLimitBytes, tls }: BrokerArguments): Promise<BrokerProcess> {
    const args = ['broker', '--json', '--port', String(port)]
    args.push(...(data === undefined ? ['--memory'] : ['--data', data]))
    if (memoryLimitBytes !== undefined) args.push('--memory-limit', String(memoryLimitBytes))
    if (tls !== undefined) {
      args.push('--tls-cert', tls.certPath, '--tls-key', tls.keyPath, '--tls-port', String(tls.port))
    }
    const child = spawn(process.execPath, ['--conditions=@chasqui/source', program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let errors = ''
    child.stderr.on('data', chunk => {
      errors += String(chunk)
    })
    for await (const line of createInterface({ input: child.stdout })) {
      const report = JSON.parse(line) as { event: string; urls: string[] }
      if (report.event === 'ready') return new BrokerProcess(child, report.urls)
    }
    throw new Error(`chasqui broker ended before it was ready: ${errors}`)
  }

  async kill(): Promise<void> {
    await this.#end('SIGKILL')
  }

  async stop(): Promise<void> {
    await this.#end('SIGTERM')
  }

  async freeze(): Promise<void> {
    await freeze(this.#child.pid!)
  }

  thaw(): void {
    this.#child.kill('SIGCONT')
  }

  async #end(name: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill(name)
    await exited
  }
}
