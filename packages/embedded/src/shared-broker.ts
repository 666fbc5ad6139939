/**
 * The brokers that run in this process, one a place, shared by every bus that names it. A broker starts with its
 * first user and closes with its last; a `memory:` broker takes its messages with it.
 */
import { mkdir, realpath } from 'node:fs/promises'
import { Broker, BrokerError } from '@chasqui/broker'
import { ChasquiError } from '@chasqui/driver'
import type { Place } from './options.ts'

export interface SharedBroker {
  readonly broker: Broker
  /** Gives up this use; the last one closes the broker. May be called twice. */
  release(): Promise<void>
}

interface Entry {
  readonly started: Promise<Broker>
  /** Told of what went wrong without anybody's call failing; one a user. */
  readonly listeners: Set<WarningListener>
  users: number
}

type WarningListener = (sentence: string) => void

const entries = new Map<string, Entry>()
/** A place is not opened again before it is closed. */
const closing = new Map<string, Promise<void>>()

/**
 * Opens the broker of a place, or joins the one that this process has there.
 *
 * @param onWarning told of what goes wrong without anybody's call failing, as long as this use lasts.
 * @throws BrokerError `directory-in-use` when another process owns the directory; ChasquiError for the rest.
 */
export async function shareBroker(
  place: Place,
  onWarning: WarningListener = sentence => process.emitWarning(sentence, 'ChasquiWarning'),
): Promise<SharedBroker> {
  const id = place.kind === 'memory' ? `memory:${place.name}` : directoryId(await made(place.path))
  await closing.get(id)
  const entry = entries.get(id) ?? started(id, place)
  // Each use counts for itself, also where two give one function.
  const listener: WarningListener = sentence => onWarning(sentence)
  entry.listeners.add(listener)
  entry.users++
  try {
    const broker = await entry.started
    return { broker, release: releaseOnce(id, entry, broker, listener) }
  } catch (error) {
    if (entries.get(id) === entry) entries.delete(id)
    throw asChasquiError(error)
  }
}

/** Whether this process has, or is about to have, the broker of a directory. */
export function isServedHere(realPath: string): boolean {
  return entries.has(directoryId(realPath))
}

function directoryId(realPath: string): string {
  return `directory:${realPath}`
}

function started(id: string, place: Place): Entry {
  const listeners = new Set<WarningListener>()
  const onWarning: WarningListener = sentence => {
    for (const listener of listeners) listener(sentence)
  }
  const entry = { started: start(place, onWarning), listeners, users: 0 }
  entries.set(id, entry)
  return entry
}

async function start(place: Place, onWarning: WarningListener): Promise<Broker> {
  // Within this call nobody listens yet.
  await Promise.resolve()
  const broker =
    place.kind === 'memory'
      ? new Broker({ onWarning })
      : new Broker({ dataDirectory: place.path, listeners: [{ local: true }], onWarning })
  await broker.start()
  return broker
}

function releaseOnce(id: string, entry: Entry, broker: Broker, listener: WarningListener): () => Promise<void> {
  let released: Promise<void> | undefined
  return () => {
    released ??= (async () => {
      if (--entry.users > 0) {
        entry.listeners.delete(listener)
        return
      }
      entries.delete(id)
      const closed = broker.close().finally(() => closing.delete(id))
      closing.set(id, closed)
      await closed
    })()
    return released
  }
}

/** The directory's one name, whatever links lead to it. */
async function made(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 })
    return await realpath(path)
  } catch (cause) {
    throw new ChasquiError(
      'directory-unusable',
      `The data directory ${path} cannot be made: ${(cause as Error).message}. Choose one that you may write to.`,
      { cause },
    )
  }
}

function asChasquiError(error: unknown): unknown {
  if (!(error instanceof BrokerError) || error.code === 'directory-in-use') return error
  return new ChasquiError(error.code, error.message, { cause: error })
}
