/** Runs the Python programs beside this file, with a Python that has pika. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

/** Where that Python is; empty where the machine has none. */
export const pikaPython = process.env.CHASQUI_PYTHON ?? ''

export interface Program {
  /** The next line of its output; rejects when it ends before. */
  line(): Promise<string>
  /** The exit code. */
  readonly ended: Promise<number>
}

export function python(name: string, port: number): Program {
  const path = fileURLToPath(new URL(name, import.meta.url))
  const child = spawn(pikaPython, [path, String(port)], { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', text => {
    errors += text
  })
  const ended = once(child, 'close').then(([code]) => code)
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  onTestFinished(async () => {
    child.kill('SIGKILL')
    await ended
  })
  return {
    ended,
    async line() {
      const { value, done } = await lines.next()
      if (done) throw new Error(`${name} ended with ${await ended}: ${errors}`)
      return value
    },
  }
}
