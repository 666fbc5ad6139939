/**
 * Processes and ports of the brokers that we started: a process is known by its id and the moment it started, so
 * that an id which the system gave to somebody else is never signalled.
 */
import { execFile } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** A failure to be told in one sentence, without a stack. */
export class BrokerScriptError extends Error {
  override readonly name = 'BrokerScriptError'
}

export interface StartedProcess {
  readonly pid: number
  /** Clock ticks after boot, from /proc/PID/stat; empty where there is no /proc. */
  readonly startedAt: string
}

export function identify(pid: number): StartedProcess {
  // 0 and negative numbers would name whole groups of processes.
  if (!Number.isInteger(pid) || pid <= 0) throw new BrokerScriptError(`${pid} is no process id.`)
  return { pid, startedAt: startTicks(pid) ?? '' }
}

export function isRunning(process_: StartedProcess): boolean {
  try {
    process.kill(process_.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
    throw error
  }
  return process_.startedAt === '' || startTicks(process_.pid) === process_.startedAt
}

/** Sends the signal if the process is still the one that was started. */
export function signal(process_: StartedProcess, name: NodeJS.Signals): boolean {
  if (!isRunning(process_)) return false
  process.kill(process_.pid, name)
  return true
}

export async function waitForExit(process_: StartedProcess, timeoutMs: number): Promise<boolean> {
  return await poll(() => !isRunning(process_), timeoutMs)
}

/** SIGSTOP; resolves when none of its threads runs any more, which on a busy machine is later than the signal. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP')
  const tasks = `/proc/${pid}/task`
  if (!existsSync(tasks)) return
  const stands = () => readdirSync(tasks).every(task => / [TtZX] /.test(statOf(`${tasks}/${task}/stat`)))
  if (!(await poll(stands, 10_000))) throw new BrokerScriptError(`Process ${pid} goes on after SIGSTOP.`)
}

/** What follows the name, which may itself hold anything; a thread that has ended counts as such. */
function statOf(path: string): string {
  try {
    const stat = readFileSync(path, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 1)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return ' X '
    throw error
  }
}

/** Asks `ready` every 50 ms until it says true; false when the time is over. */
export async function poll(ready: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    if (await ready()) return true
    if (Date.now() >= deadline) return false
    await sleep(50)
  }
}

/** The process's state and start; a zombie counts as gone, since nobody can be served by it. */
function startTicks(pid: number): string | undefined {
  if (!existsSync('/proc/self/stat')) return ''
  const fields = statOf(`/proc/${pid}/stat`).split(' ')
  return fields[1] === 'Z' || fields[1] === 'X' ? undefined : fields[20]
}

/** A port of the loopback interface that was free a moment ago. */
export async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0))
    })
  })
}

export async function portIsTaken(port: number): Promise<boolean> {
  return await new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

/** True when what listens there answers the AMQP 0-9-1 protocol header with a method frame (connection.start). */
export async function speaksAmqp(port: number, timeoutMs = 2000): Promise<boolean> {
  return await new Promise(resolve => {
    const socket = connect({ host: '127.0.0.1', port })
    const answer = (value: boolean) => {
      socket.destroy()
      resolve(value)
    }
    socket.setTimeout(timeoutMs, () => answer(false))
    socket.once('connect', () => socket.write(Buffer.from('AMQP\0\0\x09\x01', 'latin1')))
    socket.once('data', chunk => answer(chunk[0] === 1))
    socket.once('close', () => answer(false))
    socket.once('error', () => answer(false))
  })
}

export interface CommandOutput {
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end; a failure carries what it printed. */
export async function run(
  program: string,
  args: readonly string[],
  options: { readonly env?: NodeJS.ProcessEnv; readonly cwd?: string; readonly timeoutMs?: number } = {},
): Promise<CommandOutput> {
  return await new Promise((resolve, reject) => {
    execFile(
      program,
      [...args],
      { env: options.env ?? process.env, cwd: options.cwd, timeout: options.timeoutMs ?? 60_000, maxBuffer: 1 << 24 },
      (error, stdout, stderr) => {
        if (error === null) return resolve({ stdout, stderr })
        const said = `${stderr}\n${stdout}`.trim().split('\n').slice(-15).join('\n')
        reject(
          new BrokerScriptError(`\`${program} ${args.join(' ')}\` failed: ${said || error.message}`, { cause: error }),
        )
      },
    )
  })
}

export async function succeeds(program: string, args: readonly string[], timeoutMs = 10_000): Promise<boolean> {
  return await run(program, args, { timeoutMs }).then(
    () => true,
    () => false,
  )
}
