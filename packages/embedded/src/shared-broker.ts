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
  users: number
}

const entries = new Map<string, Entry>()
/** A place is not opened again before it is closed. */
const closing = new Map<string, Promise<void>>()

/**
 * Opens the broker of a place, or joins the one that this process has there.
 *
 * @throws BrokerError `directory-in-use` when another process owns the directory; ChasquiError for the rest.
 */
export async function shareBroker(place: Place): Promise<SharedBroker> {
  const id = place.kind === 'memory' ? `memory:${place.name}` : `directory:${await made(place.path)}`
  await closing.get(id)
  let entry = entries.get(id)
  if (entry === undefined) {
    entry = { started: start(place), users: 0 }
    entries.set(id, entry)
  }
  entry.users++
  try {
    const broker = await entry.started
    return { broker, release: releaseOnce(id, entry, broker) }
  } catch (error) {
    entries.delete(id)
    throw asChasquiError(error)
  }
}

async function start(place: Place): Promise<Broker> {
  const broker =
    place.kind === 'memory' ? new Broker() : new Broker({ dataDirectory: place.path, listeners: [{ local: true }] })
  await broker.start()
  return broker
}

function releaseOnce(id: string, entry: Entry, broker: Broker): () => Promise<void> {
  let released: Promise<void> | undefined
  return () => {
    released ??= (async () => {
      if (--entry.users > 0) return
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
