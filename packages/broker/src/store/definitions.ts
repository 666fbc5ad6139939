/**
 * Exchanges, queues and bindings on disk: one log of changes, made short again when most of it is history.
 *
 *     definitions.log   [header]([length u32][crc32 u32][table: length bytes])*
 *     table             an AMQP field table: { op: define | remove | counter, ... the definition }
 *
 * A change is on disk before its declare is answered. A torn end is cut; damage before the end is refused, since
 * without its queue's definition a message belongs to nobody.
 */
import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, truncateSync, writeSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { crc32 } from 'node:zlib'
import { decodeTable, encodeTable, type FieldTable, type FieldValue } from '@chasqui/amqp'
import type { Files } from './files.ts'
import { checkHeader, corrupt, encodeHeader, headerBytes } from './header.ts'
import type { Definition } from './store.ts'

const frameBytes = 8
/** The log is made short when it is longer than this and most of it is history, in bytes. */
const leastCompaction = 1_048_576

export class Definitions {
  readonly path: string
  readonly #files: Files
  readonly #current = new Map<string, Definition>()
  #waiting: Buffer[] = []
  #bytes = headerBytes
  /** What the log would take if it held nothing but what is defined, in bytes. */
  #currentBytes = headerBytes
  readonly #sizes = new Map<string, number>()
  /** The bindings at each end, which is a queue or an exchange. */
  readonly #bindings = new Map<string, Set<string>>()
  #descriptor: number | undefined
  #lastQueueId = 0

  private constructor(path: string, files: Files) {
    this.path = path
    this.#files = files
  }

  /** Reads the log of this directory, or begins one. Throws BrokerError `directory-corrupt`, `directory-newer`. */
  static open(directory: string, files: Files): Definitions {
    const definitions = new Definitions(join(directory, 'definitions.log'), files)
    definitions.#load()
    return definitions
  }

  get current(): Iterable<Definition> {
    return this.#current.values()
  }

  get waiting(): boolean {
    return this.#waiting.length > 0
  }

  nextQueueId(): number {
    return ++this.#lastQueueId
  }

  define(definition: Definition): void {
    const frame = encodeFrame({ op: 'define', ...asTable(definition) })
    this.#apply('define', definition, frame.length)
    this.#waiting.push(frame)
  }

  remove(definition: Definition): void {
    this.#apply('remove', definition, 0)
    this.#waiting.push(encodeFrame({ op: 'remove', ...asTable(definition) }))
  }

  /** The bytes that wait; they stay in the caller's hands until they are on disk. */
  take(): Buffer {
    const bytes = Buffer.concat(this.#waiting)
    this.#waiting = []
    return bytes
  }

  /** Where the next bytes go. */
  get end(): number {
    return this.#bytes
  }

  get descriptor(): number {
    this.#descriptor ??= this.#files.open(this.path)
    return this.#descriptor
  }

  /** The bytes are on disk. */
  written(count: number): void {
    this.#bytes += count
    // What waits is part of `current` already: it would be written twice, and once too late.
    if (this.#bytes > leastCompaction && this.#bytes > 4 * this.#currentBytes && this.#waiting.length === 0)
      this.#compact()
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor)
    this.#descriptor = undefined
  }

  #load(): void {
    const bytes = existsSync(this.path) ? readFileSync(this.path) : Buffer.alloc(0)
    if (checkHeader(bytes, 'CHASQDEF', 0, this.path) === 'cut') {
      this.#compact()
      return
    }
    let at = headerBytes
    while (at < bytes.length) {
      const end = frameEnd(bytes, at)
      if (end === undefined) break
      this.#read(decode(bytes.subarray(at + frameBytes, end), this.path), end - at)
      at = end
    }
    if (at < bytes.length) {
      if (soundFrameBehind(bytes, at)) throw corrupt(this.path)
      truncateSync(this.path, at)
    }
    this.#bytes = at
    if (at > 65_536 && at > 2 * this.#currentBytes) this.#compact()
  }

  #read(table: FieldTable, bytes: number): void {
    if (table.op === 'counter') {
      this.#lastQueueId = Math.max(this.#lastQueueId, Number(table.lastQueueId))
      return
    }
    const definition = asDefinition(table)
    if (definition === undefined || (table.op !== 'define' && table.op !== 'remove')) throw corrupt(this.path)
    this.#apply(table.op, definition, bytes)
  }

  #apply(op: 'define' | 'remove', definition: Definition, bytes: number): void {
    const key = keyOf(definition)
    if (definition.kind === 'queue') this.#lastQueueId = Math.max(this.#lastQueueId, definition.id)
    this.#currentBytes += bytes - (this.#sizes.get(key) ?? 0)
    if (op === 'define') {
      this.#current.set(key, definition)
      this.#sizes.set(key, bytes)
      for (const end of endsOf(definition)) this.#bindingsOf(end).add(key)
      return
    }
    this.#current.delete(key)
    this.#sizes.delete(key)
    for (const end of endsOf(definition)) this.#bindingsOf(end).delete(key)
    if (definition.kind !== 'binding') this.#removeBindings(`${definition.kind}\0${definition.name}`)
  }

  /** The bindings of a queue or exchange go with it; only its own removal stands in the log. */
  #removeBindings(end: string): void {
    for (const key of this.#bindingsOf(end)) {
      const binding = this.#current.get(key)
      this.#current.delete(key)
      this.#currentBytes -= this.#sizes.get(key) ?? 0
      this.#sizes.delete(key)
      if (binding !== undefined) for (const other of endsOf(binding)) this.#bindingsOf(other).delete(key)
    }
    this.#bindings.delete(end)
  }

  #bindingsOf(end: string): Set<string> {
    let keys = this.#bindings.get(end)
    if (keys === undefined) {
      keys = new Set()
      this.#bindings.set(end, keys)
    }
    return keys
  }

  /** Writes a log of what is defined beside the old one and puts it in its place. */
  #compact(): void {
    const frames: Buffer[] = [encodeHeader('CHASQDEF', 0)]
    // Numbers of removed queues are never given again: old messages may still bear them.
    frames.push(encodeFrame({ op: 'counter', lastQueueId: this.#lastQueueId }))
    for (const definition of this.#current.values()) frames.push(encodeFrame({ op: 'define', ...asTable(definition) }))
    const bytes = Buffer.concat(frames)
    const temporary = `${this.path}.new`
    const descriptor = openSync(temporary, 'w', 0o600)
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at)
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    this.close()
    renameSync(temporary, this.path)
    this.#files.syncDirectory(dirname(this.path))
    this.#bytes = bytes.length
    this.#currentBytes = bytes.length
  }
}

function encodeFrame(table: FieldTable): Buffer {
  const body = encodeTable(table)
  const frame = Buffer.allocUnsafe(frameBytes + body.length)
  frame.writeUInt32LE(body.length, 0)
  frame.writeUInt32LE(crc32(body), 4)
  body.copy(frame, frameBytes)
  return frame
}

function frameEnd(bytes: Buffer, at: number): number | undefined {
  if (at + frameBytes > bytes.length) return undefined
  const end = at + frameBytes + bytes.readUInt32LE(at)
  if (end <= at + frameBytes || end > bytes.length) return undefined
  return crc32(bytes.subarray(at + frameBytes, end)) === bytes.readUInt32LE(at + 4) ? end : undefined
}

/** A sound frame behind a broken one means that the file was whole once: no torn end, but damage. */
function soundFrameBehind(bytes: Buffer, broken: number): boolean {
  if (broken + frameBytes > bytes.length) return false
  const next = broken + frameBytes + bytes.readUInt32LE(broken)
  return next < bytes.length && frameEnd(bytes, next) !== undefined
}

function decode(body: Buffer, path: string): FieldTable {
  try {
    return decodeTable(body)
  } catch (error) {
    throw Object.assign(corrupt(path), { cause: error })
  }
}

function keyOf(definition: Definition): string {
  switch (definition.kind) {
    case 'queue':
      return `queue\0${definition.id}`
    case 'exchange':
      return `exchange\0${definition.name}`
    case 'binding':
      return [
        'binding',
        definition.source,
        definition.destinationKind,
        definition.destination,
        definition.routingKey,
        encodeTable(definition.arguments).toString('latin1'),
      ].join('\0')
  }
}

/** What a binding binds; nothing for what is no binding. */
function endsOf(definition: Definition): string[] {
  if (definition.kind !== 'binding') return []
  return [`exchange\0${definition.source}`, `${definition.destinationKind}\0${definition.destination}`]
}

function asTable(definition: Definition): FieldTable {
  return { ...definition }
}

function asDefinition(table: FieldTable): Definition | undefined {
  const { kind, name, type, id, source, destination, destinationKind, routingKey, autoDelete, internal } = table
  const args = isTable(table.arguments) ? table.arguments : {}
  if (kind === 'queue' && typeof name === 'string' && typeof id === 'number') {
    return { kind, id, name, autoDelete: autoDelete === true, arguments: args }
  }
  if (kind === 'exchange' && typeof name === 'string' && typeof type === 'string') {
    return { kind, name, type, autoDelete: autoDelete === true, internal: internal === true, arguments: args }
  }
  if (
    kind === 'binding' &&
    typeof source === 'string' &&
    typeof destination === 'string' &&
    typeof routingKey === 'string' &&
    (destinationKind === 'queue' || destinationKind === 'exchange')
  ) {
    return { kind, source, destinationKind, destination, routingKey, arguments: args }
  }
  return undefined
}

function isTable(value: FieldValue | undefined): value is FieldTable {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array)
}
