/**
 * The directory of one broker: who owns it, and which format it has.
 *
 *     lock               an SQLite database; its exclusive transaction is held while the broker runs
 *     owner              the process that has the lock, by its number; left behind by a kill
 *     format             one line: `chasqui 1`
 *     definitions.log    exchanges, queues, bindings
 *     messages/          segments
 *     run/               the local socket
 *
 * The kernel releases the lock when its process dies, and only then: a frozen owner stays the owner. The lock file is
 * never opened by other means: POSIX locks vanish when any descriptor of their file is closed.
 */
import { createHash } from 'node:crypto'
import * as fs from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { BrokerError } from '../errors.ts'
import { formatVersion } from './header.ts'

export interface DataDirectory {
  /** As the kernel knows it: absolute, without symbolic links. */
  readonly path: string
  /** Lets go of the directory. May be called twice. */
  release(): void
}

/** The longest path of a local socket on Linux, in bytes. */
const longestSocketPath = 107
const ownerFile = 'owner'
/** SQLite's result code for a database that somebody else has locked. */
const sqliteBusy = 5

/** Creates the directory (mode 0700) when it is not there, locks it and checks its format. Throws BrokerError. */
export function openDataDirectory(directory: string): DataDirectory {
  const path = unusable(directory, () => {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 })
    const real = fs.realpathSync(directory)
    fs.accessSync(real, fs.constants.R_OK | fs.constants.W_OK | fs.constants.X_OK)
    return real
  })
  const unlock = lock(path)
  const release = (): void => {
    // Before the lock, or it would be the next owner's that goes.
    fs.rmSync(join(path, ownerFile), { force: true })
    unlock()
  }
  try {
    unusable(path, () => checkFormat(path))
    unusable(path, () => fs.mkdirSync(join(path, 'messages'), { recursive: true, mode: 0o700 }))
    unusable(path, () => tellOwner(path))
    return { path, release: once(release) }
  } catch (error) {
    release()
    throw error
  }
}

/** The process that serves the data directory, as far as it has said so and is there: for messages to people. */
export function ownerOf(dataDirectory: string): number | undefined {
  let text: string
  try {
    text = fs.readFileSync(join(dataDirectory, ownerFile), 'utf8')
  } catch {
    // Nobody serves it, or has not come to saying so.
    return undefined
  }
  const pid = /^[1-9]\d{0,9}\n$/.test(text) ? Number(text) : 0
  return pid > 0 && isRunning(pid) ? pid : undefined
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/**
 * Where the owner of a data directory listens for the other processes of this machine: inside the directory, or, where
 * that path is too long for a socket, in a private directory of the user's (`XDG_RUNTIME_DIR`, else the one for temporary
 * files). The folder has mode 0700. The directory must exist. Throws BrokerError `directory-unusable`.
 */
export function localSocketPath(dataDirectory: string): string {
  return unusable(dataDirectory, () => {
    const real = fs.realpathSync(dataDirectory)
    const inside = join(real, 'run', 'amqp.sock')
    if (Buffer.byteLength(inside) <= longestSocketPath) {
      makePrivate(join(real, 'run'))
      return inside
    }
    const user = process.getuid?.() ?? 0
    const runtime = process.env.XDG_RUNTIME_DIR
    const name = `${createHash('sha256').update(real).digest('hex').slice(0, 32)}.sock`
    const folders = [join(tmpdir(), `chasqui-${user}`), join('/tmp', `chasqui-${user}`)]
    if (runtime !== undefined && fs.existsSync(runtime)) folders.unshift(join(runtime, 'chasqui'))
    const folder = folders.find(candidate => Buffer.byteLength(join(candidate, name)) <= longestSocketPath)
    if (folder === undefined) throw new Error('no folder for the local socket has a path short enough')
    makePrivate(folder)
    return join(folder, name)
  })
}

/** A folder that is this user's alone. Somebody else's, or an open one, is refused and not mended. */
function makePrivate(folder: string): void {
  fs.mkdirSync(folder, { recursive: true, mode: 0o700 })
  const state = fs.lstatSync(folder)
  const user = process.getuid?.()
  if (!state.isDirectory() || (user !== undefined && state.uid !== user) || (state.mode & 0o077) !== 0) {
    throw new Error(`${folder} must be a directory of this user's with mode 0700`)
  }
}

/** A full disk must not keep a broker from starting: then nobody can be told who it is. */
function tellOwner(path: string): void {
  try {
    fs.writeFileSync(join(path, ownerFile), `${process.pid}\n`, { mode: 0o600 })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

function lock(path: string): () => void {
  const file = join(path, 'lock')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(file, { timeout: 0 })
    // No journal on disk: nothing is ever written to it, and a full disk must not keep a broker from starting.
    database.exec('PRAGMA journal_mode = MEMORY')
    database.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    database?.close()
    if (error instanceof Error && 'errcode' in error && error.errcode === sqliteBusy) {
      throw new BrokerError(
        'directory-in-use',
        `Another process serves the data directory ${path}. Connect to it, stop it, or use another directory.`,
        error,
      )
    }
    throw new BrokerError('directory-unusable', `The lock ${file} cannot be used: ${reason(error)}.`, error)
  }
  const held = database
  return () => held.close()
}

function once(work: () => void): () => void {
  let isDone = false
  return () => {
    if (isDone) return
    isDone = true
    work()
  }
}

function checkFormat(path: string): void {
  const file = join(path, 'format')
  if (!fs.existsSync(file)) {
    const temporary = `${file}.new`
    fs.writeFileSync(temporary, `chasqui ${formatVersion}\n`, { mode: 0o600, flush: true })
    fs.renameSync(temporary, file)
    return
  }
  const text = fs.readFileSync(file, 'utf8')
  const version = /^chasqui (\d{1,9})\n?$/.exec(text)?.[1]
  if (version === undefined) {
    throw new BrokerError(
      'directory-corrupt',
      `${file} does not say which format the data directory has. It should read 'chasqui ${formatVersion}'.`,
    )
  }
  if (Number(version) > formatVersion) {
    throw new BrokerError(
      'directory-newer',
      `The data directory ${path} has format ${version}, this version reads up to ${formatVersion}: use the version that wrote it, or a newer one.`,
    )
  }
}

function unusable<T>(directory: string, attempt: () => T): T {
  try {
    return attempt()
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw new BrokerError(
      'directory-unusable',
      `The data directory ${directory} cannot be used: ${reason(error)}. Make it a directory that this user can write to, or name another.`,
      error,
    )
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
