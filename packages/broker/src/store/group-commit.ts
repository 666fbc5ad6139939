/**
 * The store on files: many appends, one sync.
 *
 *     append -> batch that gathers ... one batch at a time: write -> sync -> committed -> entries -> segments removed
 *                    ^                                                                        |
 *                    +------ appends that come meanwhile make the next batch <----------------+
 *
 * Places are given at append, so a batch that could not be written is written again at the same place, for as long as
 * it takes: what waits for its commit waits with it, `onTrouble` says why, and nothing is given up while the process lives.
 * After a failed sync too: the batch is the only thing that was not synced before, and all of it is written anew.
 *
 * Entries (what became of messages) are written after each batch, before a delivery leaves, or 2 ms after they came. A move
 * settles its source only once its own record is on disk.
 */
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { AmqpError } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import type { Definitions } from './definitions.ts'
import type { Files } from './files.ts'
import { encodeHeader, headerBytes } from './header.ts'
import {
  headBound,
  longestCopy,
  type RecordSettlement,
  readMessage,
  soundRecord,
  summarizeRecord,
  writeRecord,
} from './record.ts'
import { type Recovered, type RecoveryTarget, recover } from './recovery.ts'
import { Segment } from './segment.ts'
import type { Damage, Definition, RecordPlace, Settlement, Store } from './store.ts'

/** A segment takes no more records beyond this, in bytes. */
const segmentBytes = 33_554_432
/** Queues of one message. */
const mostQueues = 65_535
/** Records gather in chunks of this size. */
const chunkBytes = 1_048_576
/** Chunks kept for reuse. */
const mostSpareChunks = 16
/** Read at once when a message comes back from disk: its neighbours are wanted next. */
const readAheadBytes = 262_144
/** How long entries may wait while nothing is appended. */
const entriesDelayMs = 2
/** Segments that keep their descriptors. */
const mostOpenSegments = 64
const firstRetryMs = 50
const longestRetryMs = 2000

const none: readonly never[] = []

/** A segment is sparse when less than this part of what it held is unsettled. */
const sparseRatio = 0.25
/** Segments from which on sparse ones are looked for: with 32 MiB each, a quarter of a gibibyte. */
const leastSparse = 8
/** Sparse segments whose messages are written anew in one go. */
const mostSparse = 8

/** What goes to one segment's log in one batch. */
interface Part {
  readonly segment: Segment
  readonly position: number
  readonly buffers: Uint8Array[]
}

interface Batch {
  commit: number
  definitions: Buffer | undefined
  readonly parts: Part[]
  readonly chunks: Buffer[]
  readonly moves: Settlement[]
}

export interface GroupCommitOptions {
  /** The directory of the segments. */
  readonly directory: string
  readonly definitions: Definitions
  readonly files: Files
  readonly clock: Clock
  /** Told, in a sentence, of what is given up at close. */
  onWarning(sentence: string): void
}

export class GroupCommit implements Store {
  committed = 0
  appended = 0
  onCommitted: (committed: number) => void = () => {}
  onTrouble: (reason: string | undefined) => void = () => {}
  onSparse: (segments: ReadonlySet<Segment>) => number = () => 0
  readonly #directory: string
  readonly #definitions: Definitions
  readonly #files: Files
  readonly #clock: Clock
  readonly #onWarning: (sentence: string) => void
  readonly #segments = new Set<Segment>()
  /** Segments with entries to write. */
  readonly #noted = new Set<Segment>()
  /** Segments whose files may be open, the one used longest ago first. */
  readonly #opened = new Set<Segment>()
  /** Segments in which nothing is unsettled. */
  readonly #idle = new Set<Segment>()
  #current: Segment
  #order = 0
  #gathering: Batch
  #chunk: Buffer
  /** Where the part of the chunk begins that belongs to no buffer yet, and where free space begins. */
  #sliceAt = 0
  #used = 0
  readonly #spareChunks: Buffer[] = []
  #writing: Batch | undefined
  #started = false
  #closed = false
  #sparseAt = leastSparse
  #retryMs = firstRetryMs
  #trouble: string | undefined
  #retry: NodeJS.Timeout | undefined
  #entriesTimer: NodeJS.Timeout | undefined
  #window: { segment: Segment; offset: number; bytes: Buffer } | undefined
  #flushed: (() => void)[] = []

  private constructor(options: GroupCommitOptions) {
    this.#directory = options.directory
    this.#definitions = options.definitions
    this.#files = options.files
    this.#clock = options.clock
    this.#onWarning = options.onWarning
    this.#chunk = Buffer.allocUnsafeSlow(chunkBytes)
    this.#gathering = newBatch()
    // Takes its number in `recover`, before anything is appended.
    this.#current = new Segment(options.directory, 0, options.files)
  }

  /** Brings back what is there, then takes appends. */
  static async open(
    options: GroupCommitOptions,
    target: RecoveryTarget,
  ): Promise<{ store: GroupCommit; damage: readonly Damage[] }> {
    const store = new GroupCommit(options)
    const recovered = await recover(options.directory, options.files, target)
    store.#begin(recovered)
    return { store, damage: recovered.damage }
  }

  append(message: BrokerMessage, queueIds: readonly number[], instead?: Settlement): RecordPlace {
    return this.#append(message, queueIds, instead === undefined ? none : [instead], undefined)
  }

  rewrite(old: RecordPlace, queueIds: readonly number[]): { place: RecordPlace; message: BrokerMessage } | undefined {
    const found = this.#find(old)
    if (found === undefined) return undefined
    const { bytes, start, end } = found
    const message = readMessage(bytes, start, end)
    const settlements = queueIds.map(queueId => ({ queueId, place: old }))
    const place = this.#append(message, queueIds, settlements, summarizeRecord(bytes, start, end))
    return { place, message }
  }

  settle(queueId: number, place: RecordPlace): void {
    const { segment } = place
    segment.entries.settled(queueId, place.ordinal)
    if (--segment.live === 0) this.#idle.add(segment)
    this.#writeEntriesSoon(segment)
  }

  note(queueId: number, place: RecordPlace, returns: number): void {
    const { segment } = place
    if (returns === 0) segment.entries.delivered(queueId, place.ordinal)
    else segment.entries.returned(queueId, place.ordinal, returns)
    this.#writeEntriesSoon(segment)
  }

  writeNotes(): void {
    if (this.#noted.size > 0) this.#writeEntries()
  }

  read(place: RecordPlace): BrokerMessage | undefined {
    const found = this.#find(place)
    return found && readMessage(found.bytes, found.start, found.end)
  }

  define(definition: Definition): number {
    this.#definitions.define(definition)
    return this.#defined()
  }

  remove(definition: Definition): number {
    this.#definitions.remove(definition)
    return this.#defined()
  }

  nextQueueId(): number {
    return this.#definitions.nextQueueId()
  }

  /** Resolves when everything appended and settled before is written, and what needs it is synced. */
  async flush(): Promise<void> {
    while (this.committed < this.appended) await new Promise<void>(resolve => this.#flushed.push(resolve))
    this.#writeEntries()
  }

  /** Writes what waits and lets go of the files. What cannot be written within `patienceMs` is given up; it was never confirmed. */
  async close(patienceMs: number): Promise<void> {
    const patience = setTimeout(() => this.#giveUp(), patienceMs)
    await this.flush()
    this.#closed = true
    clearTimeout(patience)
    clearTimeout(this.#retry)
    clearTimeout(this.#entriesTimer)
    for (const segment of this.#segments) {
      try {
        if (this.#trouble === undefined) segment.syncEntries()
      } catch (error) {
        this.#report(error)
      }
      segment.closeFiles()
    }
    this.#definitions.close()
  }

  #begin({ segments, lastOrder, lastNumber }: Recovered): void {
    this.#order = lastOrder
    for (const segment of segments) {
      this.#segments.add(segment)
      if (segment.live === 0) this.#idle.add(segment)
    }
    this.#open(lastNumber + 1)
    this.#removeIdle()
  }

  /** `before`: what it was when it was first appended; it keeps its order and its age. */
  #append(
    message: BrokerMessage,
    queueIds: readonly number[],
    settlements: readonly Settlement[],
    before: { readonly order: number; readonly publishedAt: number } | undefined,
  ): RecordPlace {
    const { propertyBytes, body } = message
    checkFits(message, queueIds.length)
    if (this.#current.bytes >= segmentBytes) this.#rotate()
    const segment = this.#current
    const copy = body.byteLength <= longestCopy
    const bound = headBound(message, propertyBytes, queueIds.length, settlements.length)
    this.#makeRoom(copy ? bound + body.byteLength : bound)
    const start = this.#used
    this.#used = writeRecord(
      this.#chunk,
      start,
      message,
      propertyBytes,
      queueIds,
      settlements.length === 0 ? none : settlements.map(recordSettlement),
      {
        order: before === undefined ? ++this.#order : before.order,
        publishedAt: before === undefined ? this.#clock.now() : before.publishedAt,
        ordinal: segment.records,
        salt: segment.salt,
      },
      copy,
    )
    let length = this.#used - start
    if (!copy) {
      this.#cutSlice()
      this.#part().buffers.push(body)
      length += body.byteLength
    }
    const place = { segment, ordinal: segment.records++, offset: segment.bytes, length }
    segment.bytes += length
    segment.live += queueIds.length
    segment.pairs += queueIds.length
    for (const settlement of settlements) {
      this.#gathering.moves.push(settlement)
      const source = settlement.place.segment
      if (source === segment) continue
      segment.movedFrom ??= new Set()
      segment.movedFrom.add(source)
    }
    this.#gathering.commit = ++this.appended
    this.#start()
    return place
  }

  /** Where in which bytes the record is; undefined when it cannot be read or is not sound. */
  #find(place: RecordPlace): { bytes: Buffer; start: number; end: number } | undefined {
    const { segment, offset, length } = place
    let window = this.#window
    if (
      window === undefined ||
      window.segment !== segment ||
      offset < window.offset ||
      offset + length > window.offset + window.bytes.length
    ) {
      try {
        this.#opening(segment)
        const bytes = this.#files.read(segment.log, offset, Math.max(length, readAheadBytes))
        window = { segment, offset, bytes }
      } catch {
        // The caller reports it: to it, unreadable and damaged are the same.
        return undefined
      }
      this.#window = window
    }
    const start = offset - window.offset
    const end = soundRecord(window.bytes, start, segment.salt)
    return end === undefined ? undefined : { bytes: window.bytes, start, end }
  }

  #rotate(): void {
    this.#cutSlice()
    if (this.#current.live === 0) this.#idle.add(this.#current)
    this.#open(this.#current.number + 1)
  }

  #open(number: number): void {
    this.#current = new Segment(this.#directory, number, this.#files)
    this.#segments.add(this.#current)
  }

  /** The part of the gathering batch that belongs to the current segment. */
  #part(): Part {
    const { parts } = this.#gathering
    const last = parts.at(-1)
    if (last !== undefined && last.segment === this.#current) return last
    const segment = this.#current
    // A segment's first part writes its header too.
    const fresh = segment.records === 0 && segment.bytes === headerBytes
    const part: Part = {
      segment,
      position: fresh ? 0 : segment.bytes,
      buffers: fresh ? [encodeHeader('CHASQLOG', segment.number, segment.salt)] : [],
    }
    segment.unwritten++
    parts.push(part)
    return part
  }

  #makeRoom(bytes: number): void {
    // The part takes its position from the segment's length before this record.
    this.#part()
    if (this.#chunk.length - this.#used >= bytes) return
    this.#cutSlice()
    this.#gathering.chunks.push(this.#chunk)
    this.#chunk =
      bytes > chunkBytes
        ? Buffer.allocUnsafeSlow(bytes)
        : (this.#spareChunks.pop() ?? Buffer.allocUnsafeSlow(chunkBytes))
    this.#sliceAt = 0
    this.#used = 0
  }

  #cutSlice(): void {
    if (this.#used === this.#sliceAt) return
    this.#gathering.parts.at(-1)!.buffers.push(this.#chunk.subarray(this.#sliceAt, this.#used))
    this.#sliceAt = this.#used
  }

  #defined(): number {
    this.#gathering.commit = ++this.appended
    this.#start()
    return this.appended
  }

  #start(): void {
    if (this.#started) return
    this.#started = true
    setImmediate(this.#take)
  }

  readonly #take = (): void => {
    this.#cutSlice()
    const batch = this.#gathering
    this.#gathering = newBatch()
    if (this.#definitions.waiting) batch.definitions = this.#definitions.take()
    this.#writing = batch
    this.#write()
  }

  readonly #write = (): void => {
    const batch = this.#writing
    if (batch === undefined) return
    try {
      this.#writeDefinitions(batch)
    } catch (error) {
      this.#failed(error)
    }
  }

  #writeDefinitions(batch: Batch): void {
    const bytes = batch.definitions
    if (bytes === undefined) {
      this.#writePart(batch, 0)
      return
    }
    const { descriptor, end } = this.#definitions
    this.#files.write(
      descriptor,
      [bytes],
      end,
      this.#then(() => {
        this.#files.sync(
          descriptor,
          this.#then(() => {
            batch.definitions = undefined
            this.#definitions.written(bytes.length)
            this.#writePart(batch, 0)
          }),
        )
      }),
    )
  }

  #writePart(batch: Batch, index: number): void {
    const part = batch.parts[index]
    if (part === undefined) {
      this.#done(batch)
      return
    }
    this.#opening(part.segment)
    const descriptor = part.segment.log
    this.#files.write(
      descriptor,
      part.buffers,
      part.position,
      this.#then(() => {
        this.#files.sync(
          descriptor,
          this.#then(() => {
            if (part.position === 0) this.#files.syncDirectory(this.#directory)
            this.#writePart(batch, index + 1)
          }),
        )
      }),
    )
  }

  /** The next step of a batch, which runs unless this one failed, or fails itself. */
  #then(next: () => void): (error: unknown) => void {
    return error => {
      if (error) return this.#failed(error)
      try {
        next()
      } catch (thrown) {
        this.#failed(thrown)
      }
    }
  }

  #failed(error: unknown): void {
    this.#report(error)
    this.#retry = setTimeout(this.#write, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, longestRetryMs)
  }

  #report(error: unknown): void {
    const reason = `cannot write to ${this.#directory}: ${error instanceof Error ? error.message : String(error)}`
    if (this.#trouble === reason) return
    this.#trouble = reason
    this.onTrouble(reason)
  }

  #done(batch: Batch): void {
    this.#writing = undefined
    this.#retryMs = firstRetryMs
    if (this.#trouble !== undefined) {
      this.#trouble = undefined
      this.onTrouble(undefined)
    }
    for (const part of batch.parts) part.segment.unwritten--
    for (const chunk of batch.chunks) {
      if (chunk.length === chunkBytes && this.#spareChunks.length < mostSpareChunks) this.#spareChunks.push(chunk)
    }
    for (const { queueId, place } of batch.moves) this.settle(queueId, place)
    this.committed = batch.commit
    if (this.#gathering.commit > 0) setImmediate(this.#take)
    else this.#started = false
    this.onCommitted(this.committed)
    this.#writeEntries()
    this.#removeIdle()
    this.#findSparse()
    const flushed = this.#flushed
    this.#flushed = []
    for (const resolve of flushed) resolve()
  }

  #writeEntriesSoon(segment: Segment): void {
    this.#noted.add(segment)
    if (this.#started || this.#entriesTimer !== undefined || this.#closed) return
    this.#entriesTimer = setTimeout(this.#writeEntriesNow, entriesDelayMs)
  }

  readonly #writeEntriesNow = (): void => {
    this.#entriesTimer = undefined
    this.#writeEntries()
    this.#removeIdle()
  }

  #writeEntries(): void {
    for (const segment of this.#noted) {
      // Nothing of it is wanted any more: it is removed with its entries in a moment.
      if (segment.live > 0 || segment === this.#current || segment.unwritten > 0) {
        try {
          this.#opening(segment)
          segment.writeEntries()
        } catch (error) {
          this.#report(error)
          this.#entriesTimer ??= setTimeout(this.#writeEntriesNow, longestRetryMs)
          return
        }
      }
      this.#noted.delete(segment)
    }
    if (this.#trouble !== undefined && this.#writing === undefined) {
      this.#trouble = undefined
      this.onTrouble(undefined)
    }
  }

  #removeIdle(): void {
    for (const segment of this.#idle) {
      if (segment.live > 0) {
        this.#idle.delete(segment)
        continue
      }
      if (segment === this.#current || segment.unwritten > 0) continue
      try {
        this.#remove(segment)
      } catch (error) {
        this.#report(error)
        this.#entriesTimer ??= setTimeout(this.#writeEntriesNow, longestRetryMs)
        return
      }
      this.#idle.delete(segment)
    }
  }

  /** Asks for what is left in segments of which little is wanted, when they are many. */
  #findSparse(): void {
    if (this.#segments.size < this.#sparseAt) return
    const sparse = new Set<Segment>()
    for (const segment of this.#segments) {
      if (segment === this.#current || segment.unwritten > 0 || segment.live === 0) continue
      if (segment.live < segment.pairs * sparseRatio) sparse.add(segment)
      if (sparse.size === mostSparse) break
    }
    const rewritten = sparse.size > 0 ? this.onSparse(sparse) : 0
    // Looking costs a walk over all messages: after one that found enough to do, again behind the next batch; else not before
    // there are more segments by a quarter.
    const left = this.#segments.size - rewritten
    this.#sparseAt = Math.max(leastSparse, rewritten === mostSparse ? left : Math.ceil(left * 1.25))
  }

  #remove(segment: Segment): void {
    // Its records are the proof of the moves; what says the same elsewhere must be on disk before they go.
    for (const source of segment.movedFrom ?? []) if (!source.removed) source.syncEntries()
    segment.removed = true
    segment.closeFiles()
    if (segment.damaged) renameSync(segment.logPath, `${segment.logPath}.damaged`)
    else this.#files.remove(segment.logPath)
    this.#files.remove(segment.settledPath)
    this.#segments.delete(segment)
    this.#opened.delete(segment)
    this.#noted.delete(segment)
    if (this.#window?.segment === segment) this.#window = undefined
  }

  /** The segment's files are about to be used; those of others are closed when too many are open. */
  #opening(segment: Segment): void {
    this.#opened.delete(segment)
    this.#opened.add(segment)
    if (this.#opened.size <= mostOpenSegments) return
    for (const other of this.#opened) {
      if (other === segment || other.unwritten > 0) continue
      other.closeFiles()
      this.#opened.delete(other)
      return
    }
  }

  /** Ends the waiting for a disk that takes nothing. */
  #giveUp(): void {
    clearTimeout(this.#retry)
    const lost = this.appended - this.committed
    if (lost === 0) return
    this.#onWarning(
      `The broker closes with ${lost} unconfirmed changes that could not be written: ${this.#trouble ?? 'the disk is slow'}.`,
    )
    this.#writing = undefined
    this.committed = this.appended
    const flushed = this.#flushed
    this.#flushed = []
    for (const resolve of flushed) resolve()
  }
}

/** Names of AMQP have at most 255 bytes; who publishes without the wire may not know. Throws AmqpError. */
function checkFits({ exchange, routingKey }: BrokerMessage, queues: number): void {
  // Three bytes a character at most: shorter ones need no counting.
  if (routingKey.length > 85 && Buffer.byteLength(routingKey) > 255) {
    throw AmqpError.of('syntax-error', 'a routing key has at most 255 bytes')
  }
  if (exchange.length > 85 && Buffer.byteLength(exchange) > 255) {
    throw AmqpError.of('syntax-error', 'the name of an exchange has at most 255 bytes')
  }
  if (queues > mostQueues)
    throw AmqpError.of('resource-error', `one message goes to at most ${mostQueues} durable queues`)
}

function recordSettlement({ queueId, place }: Settlement): RecordSettlement {
  return { segment: place.segment.number, ordinal: place.ordinal, queueId }
}

function newBatch(): Batch {
  return { commit: 0, definitions: undefined, parts: [], chunks: [], moves: [] }
}

/** Where the segments of a data directory are. */
export function messagesDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'messages')
}
