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
import { join } from 'node:path'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import { type Batch, Gathering } from './batch.ts'
import type { Definitions } from './definitions.ts'
import type { Files } from './files.ts'
import { readMessage, summarizeRecord } from './record.ts'
import { type Recovered, type RecoveryTarget, recover } from './recovery.ts'
import type { Segment } from './segment.ts'
import { Segments } from './segments.ts'
import type { Addition, Damage, Definition, Note, RecordPlace, Settlement, Store } from './store.ts'

/** How long entries may wait while nothing is appended. */
const entriesDelayMs = 2
const firstRetryMs = 50
const longestRetryMs = 2000

const none: readonly never[] = []

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
  readonly #onWarning: (sentence: string) => void
  readonly #segments: Segments
  readonly #gathering: Gathering
  #writing: Batch | undefined
  #started = false
  #closed = false
  /** Closing has waited long enough for a disk that refuses. */
  #impatient = false
  #retryMs = firstRetryMs
  #trouble: string | undefined
  #retry: NodeJS.Timeout | undefined
  #entriesTimer: NodeJS.Timeout | undefined
  #flushed: (() => void)[] = []

  private constructor(options: GroupCommitOptions, recovered: Recovered) {
    this.#directory = options.directory
    this.#definitions = options.definitions
    this.#files = options.files
    this.#onWarning = options.onWarning
    this.#segments = new Segments(options.directory, options.files, recovered)
    this.#gathering = new Gathering(this.#segments, options.clock, recovered.lastOrder)
  }

  /** Brings back what is there, then takes appends. */
  static async open(
    options: GroupCommitOptions,
    target: RecoveryTarget,
  ): Promise<{ store: GroupCommit; damage: readonly Damage[] }> {
    const recovered = await recover(options.directory, options.files, target)
    return { store: new GroupCommit(options, recovered), damage: recovered.damage }
  }

  append(
    message: BrokerMessage,
    queueIds: readonly number[],
    instead: Settlement | undefined,
    timed: boolean,
  ): RecordPlace {
    const place = this.#gathering.add({ message, queueIds, timed }, instead === undefined ? none : [instead], undefined)
    this.#appended()
    return place
  }

  appendGroup(additions: readonly Addition[], instead: readonly Settlement[]): RecordPlace[] {
    const places = this.#gathering.addGroup(additions, instead)
    this.#appended()
    return places
  }

  rewrite(old: RecordPlace, queueIds: readonly number[]): { place: RecordPlace; message: BrokerMessage } | undefined {
    const found = this.#segments.find(old)
    if (found === undefined) return undefined
    const { bytes, start, end } = found
    const message = readMessage(bytes, start, end)
    const settlements = queueIds.map(queueId => ({ queueId, place: old }))
    const summary = summarizeRecord(bytes, start, end)
    const place = this.#gathering.add({ message, queueIds, timed: summary.timed }, settlements, summary)
    this.#appended()
    return { place, message }
  }

  settle(queueId: number, place: RecordPlace): void {
    this.#segments.settle(queueId, place)
    this.#writeEntriesSoon()
  }

  note(queueId: number, place: RecordPlace, what: Note, returns: number): void {
    this.#segments.note(queueId, place, what, returns)
    this.#writeEntriesSoon()
  }

  writeNotes(): void {
    if (this.#segments.noted) this.#writeEntries()
  }

  read(place: RecordPlace): BrokerMessage | undefined {
    const found = this.#segments.find(place)
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

  recovered(): void {
    this.#writeEntries()
  }

  nextQueueId(): number {
    return this.#definitions.nextQueueId()
  }

  /** Resolves when everything appended and settled before is written, and what needs it is synced. */
  async flush(): Promise<void> {
    while (this.committed < this.appended) await new Promise<void>(resolve => this.#flushed.push(resolve))
    this.#writeEntries()
  }

  /**
   * Writes what waits and lets go of the files. A disk that is slow is waited for; one that refuses is given up after
   * `patienceMs`, with what was never confirmed.
   */
  async close(patienceMs: number): Promise<void> {
    const patience = setTimeout(() => {
      this.#impatient = true
      if (this.#retry !== undefined) this.#giveUp()
    }, patienceMs)
    await this.flush()
    this.#closed = true
    clearTimeout(patience)
    clearTimeout(this.#entriesTimer)
    try {
      this.#segments.close(this.#trouble === undefined)
    } catch (error) {
      this.#report(error)
    }
    this.#definitions.close()
  }

  #defined(): number {
    this.#appended()
    return this.appended
  }

  #appended(): void {
    this.#gathering.batch.commit = ++this.appended
    this.#start()
  }

  #start(): void {
    if (this.#started) return
    this.#started = true
    setImmediate(this.#take)
  }

  readonly #take = (): void => {
    const batch = this.#gathering.take()
    if (this.#definitions.waiting) batch.definitions = this.#definitions.take()
    this.#writing = batch
    this.#write()
  }

  readonly #write = (): void => {
    this.#retry = undefined
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
    this.#segments.opening(part.segment)
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
    if (this.#impatient) {
      this.#giveUp()
      return
    }
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
    this.#gathering.recycle(batch)
    for (const { queueId, place } of batch.moves) this.settle(queueId, place)
    this.committed = batch.commit
    if (this.#gathering.batch.commit > 0) setImmediate(this.#take)
    else this.#started = false
    this.onCommitted(this.committed)
    this.#writeEntries()
    this.#segments.findSparse(this.onSparse)
    const flushed = this.#flushed
    this.#flushed = []
    for (const resolve of flushed) resolve()
  }

  #writeEntriesSoon(): void {
    if (this.#started || this.#entriesTimer !== undefined || this.#closed) return
    this.#entriesTimer = setTimeout(this.#writeEntriesNow, entriesDelayMs)
  }

  readonly #writeEntriesNow = (): void => {
    this.#entriesTimer = undefined
    this.#writeEntries()
  }

  #writeEntries(): void {
    try {
      this.#segments.writeEntries()
      this.#segments.removeIdle()
    } catch (error) {
      this.#report(error)
      if (!this.#closed) this.#entriesTimer ??= setTimeout(this.#writeEntriesNow, longestRetryMs)
      return
    }
    if (this.#trouble !== undefined && this.#writing === undefined) {
      this.#trouble = undefined
      this.onTrouble(undefined)
    }
  }

  /** Ends the waiting for a disk that takes nothing. */
  #giveUp(): void {
    clearTimeout(this.#retry)
    this.#retry = undefined
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

/** Where the segments of a data directory are. */
export function messagesDirectory(dataDirectory: string): string {
  return join(dataDirectory, 'messages')
}
