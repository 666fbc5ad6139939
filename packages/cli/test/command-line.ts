/** `chasqui` as people start it: a process of its own, run from the sources. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished, vi } from 'vitest'
import { run } from '../src/run.ts'

const bin = fileURLToPath(new URL('../../chasqui/src/bin.ts', import.meta.url))

/** What a wrong use of the command line is answered with. In this process: it comes before anything is opened or sent. */
export async function refusal(...words: string[]): Promise<{ code: number; out: string; err: string }> {
  const written = { out: '', err: '' }
  const spies = (['out', 'err'] as const).map(name =>
    vi.spyOn(process[`std${name}`], 'write').mockImplementation(text => {
      written[name] += String(text)
      return true
    }),
  )
  try {
    return { code: await run(words, '0.0.0'), ...written }
  } finally {
    for (const spy of spies) spy.mockRestore()
  }
}

/** An empty directory that goes with the test. */
export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'chasqui-cli-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export class CommandLine {
  readonly child: ChildProcess
  readonly directory: string
  out = ''
  err = ''
  readonly #ended: Promise<number>
  #wake: () => void = () => undefined

  /** Starts it in an empty directory of its own, which goes with the test, as the process does. */
  constructor(...words: string[]) {
    this.directory = mkdtempSync(join(tmpdir(), 'chasqui-cli-'))
    const { CHASQUI_URL: _url, NODE_ENV: _mode, COLUMNS: _columns, ...env } = process.env
    this.child = spawn(process.execPath, ['--conditions=@chasqui/source', bin, ...words], { cwd: this.directory, env })
    this.child.stdout!.on('data', text => {
      this.out += text
      this.#wake()
    })
    this.child.stderr!.on('data', text => {
      this.err += text
      this.#wake()
    })
    this.#ended = once(this.child, 'close').then(([code, signal]) => {
      this.#wake()
      return code ?? signal
    })
    onTestFinished(async () => {
      this.child.kill('SIGKILL')
      await this.#ended
      rmSync(this.directory, { recursive: true, force: true })
    })
  }

  /** The exit code, or the signal that ended it. */
  get ended(): Promise<number> {
    return this.#ended
  }

  /** Runs it to its end, with this on its standard input. */
  static async run(words: readonly string[], input = ''): Promise<{ code: number; out: string; err: string }> {
    const command = new CommandLine(...words)
    command.child.stdin!.end(input)
    const code = await command.ended
    return { code, out: command.out, err: command.err }
  }

  /** The first whole line on standard output. */
  line(): Promise<string> {
    return this.#when(() => /^(.*)\n/.exec(this.out)?.[1])
  }

  /** Where it says that its metrics are. */
  metricsUrl(): Promise<string> {
    return this.#when(() => /metrics at (http\S+)\n/.exec(this.err)?.[1])
  }

  async #when(look: () => string | undefined): Promise<string> {
    for (;;) {
      const found = look()
      if (found !== undefined) return found
      if (this.child.exitCode !== null) throw new Error(`it ended with ${this.child.exitCode}: ${this.err}`)
      await new Promise<void>(resolve => {
        this.#wake = resolve
      })
    }
  }
}
