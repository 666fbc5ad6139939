/**
 * All segments of a store: the one that is written to, those that are kept for what is unsettled in them, and when they
 * go. Nothing here waits: what is written here is written without a sync, before the call returns.
 */
import { renameSync } from 'node:fs'
import type { Files } from './files.ts'
import { soundRecord } from './record.ts'
import type { Recovered } from './recovery.ts'
import { Segment } from './segment.ts'
import type { Note, RecordPlace } from './store.ts'

/** Read at once when a message comes back from disk: its neighbours are wanted next. */
const readAheadBytes = 262_144
/** Segments that keep their descriptors. */
const mostOpenSegments = 64
/** A segment is sparse when less than this part of what it held is unsettled. */
const sparseRatio = 0.25
/** Segments from which on sparse ones are looked for: with 32 MiB each, a quarter of a gibibyte. */
const leastSparse = 8
/** Sparse segments whose messages are written anew in one go. */
const mostSparse = 8

export class Segments {
  /** The one that is written to. */
  current: Segment
  readonly #directory: string
  readonly #files: Files
  readonly #all = new Set<Segment>()
  /** Segments with entries to write. */
  readonly #noted = new Set<Segment>()
  /** Segments whose files may be open, the one used longest ago first. */
  readonly #opened = new Set<Segment>()
  /** Segments in which nothing is unsettled. */
  readonly #idle = new Set<Segment>()
  #sparseAt = leastSparse
  #window: { segment: Segment; offset: number; bytes: Buffer } | undefined

  constructor(directory: string, files: Files, { segments, lastNumber }: Recovered) {
    this.#directory = directory
    this.#files = files
    for (const segment of segments) {
      this.#all.add(segment)
      if (segment.live === 0) this.#idle.add(segment)
    }
    this.current = this.#begin(lastNumber + 1)
  }

  /** Entries wait to be written. */
  get noted(): boolean {
    return this.#noted.size > 0
  }

  /** Ends the current segment and begins the next. */
  rotate(): void {
    if (this.current.live === 0) this.#idle.add(this.current)
    this.current = this.#begin(this.current.number + 1)
  }

  settle(queueId: number, { segment, ordinal }: RecordPlace): void {
    segment.entries.settled(queueId, ordinal)
    if (--segment.live === 0) this.#idle.add(segment)
    this.#noted.add(segment)
  }

  note(queueId: number, { segment, ordinal }: RecordPlace, what: Note, returns: number): void {
    if (what === 'delivered') segment.entries.delivered(queueId, ordinal)
    else if (what === 'returned') segment.entries.returned(queueId, ordinal, returns)
    else segment.entries.deliveredAgain(queueId, ordinal, returns)
    this.#noted.add(segment)
  }

  /** Writes the entries that wait. Throws what the file system says; the entries then wait on. */
  writeEntries(): void {
    for (const segment of this.#noted) {
      // Where nothing is wanted any more the entries go with their segment in a moment.
      if (segment.live > 0 || this.#inUse(segment)) {
        this.opening(segment)
        segment.writeEntries()
      }
      this.#noted.delete(segment)
    }
  }

  /** Removes the segments in which nothing is unsettled. Throws what the file system says; the rest then waits on. */
  removeIdle(): void {
    for (const segment of this.#idle) {
      if (segment.live === 0) {
        if (this.#inUse(segment)) continue
        this.#remove(segment)
      }
      this.#idle.delete(segment)
    }
  }

  /** Asks `rewrite` for what is left in segments of which little is wanted, when they are many; it answers of how many. */
  findSparse(rewrite: (sparse: ReadonlySet<Segment>) => number): void {
    if (this.#all.size < this.#sparseAt) return
    const sparse = new Set<Segment>()
    for (const segment of this.#all) {
      if (this.#inUse(segment) || segment.live === 0) continue
      if (segment.live < segment.pairs * sparseRatio) sparse.add(segment)
      if (sparse.size === mostSparse) break
    }
    const rewritten = sparse.size > 0 ? rewrite(sparse) : 0
    // Looking costs a walk over all messages: after one that found enough to do, again behind the next batch; else not before
    // there are more segments by a quarter.
    const left = this.#all.size - rewritten
    this.#sparseAt = Math.max(leastSparse, rewritten === mostSparse ? left : Math.ceil(left * 1.25))
  }

  /** Where in which bytes the record is; undefined when it cannot be read or is not sound. */
  find(place: RecordPlace): { bytes: Buffer; start: number; end: number } | undefined {
    const { segment, offset, length } = place
    let window = this.#window
    if (
      window === undefined ||
      window.segment !== segment ||
      offset < window.offset ||
      offset + length > window.offset + window.bytes.length
    ) {
      try {
        this.opening(segment)
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

  /** The segment's files are about to be used; those of others are closed when too many are open. */
  opening(segment: Segment): void {
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

  /** Writes and syncs the entries that wait, where the disk takes them, and closes all files. Throws the first failure. */
  close(write: boolean): void {
    let failure: unknown
    for (const segment of this.#all) {
      try {
        if (write) segment.syncEntries()
      } catch (error) {
        failure ??= error
      }
      segment.closeFiles()
    }
    if (failure !== undefined) throw failure
  }

  #begin(number: number): Segment {
    const segment = new Segment(this.#directory, number, this.#files)
    this.#all.add(segment)
    return segment
  }

  #inUse(segment: Segment): boolean {
    return segment === this.current || segment.unwritten > 0
  }

  #remove(segment: Segment): void {
    // Its records are the proof of the moves; what says the same elsewhere must be on disk before they go.
    for (const source of segment.movedFrom ?? []) if (!source.removed) source.syncEntries()
    segment.removed = true
    segment.closeFiles()
    if (segment.damaged) renameSync(segment.logPath, `${segment.logPath}.damaged`)
    else this.#files.remove(segment.logPath)
    this.#files.remove(segment.settledPath)
    this.#all.delete(segment)
    this.#opened.delete(segment)
    this.#noted.delete(segment)
    if (this.#window?.segment === segment) this.#window = undefined
  }
}
