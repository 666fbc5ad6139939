/**
 * One segment: a log of messages, and beside it what became of them.
 *
 *     messages/00000007.log       [header][record]*          written once, in order, synced by the group commit
 *     messages/00000007.settled   [header][entry]*           written soon, never waited for
 *
 * The numbers grow. Only the last one is written to, and after every start a new one: what stands behind a torn end
 * can so never be taken for what is written later. When nothing in it is unsettled both files are removed.
 */
import { randomInt } from 'node:crypto'
import { closeSync, fdatasyncSync } from 'node:fs'
import { join } from 'node:path'
import type { Files } from './files.ts'
import { encodeHeader, headerBytes } from './header.ts'
import { entryBytes, SettledEntries } from './settled.ts'

export class Segment {
  readonly number: number
  /** Where the checks of its records begin. */
  readonly salt: number
  readonly logPath: string
  readonly settledPath: string
  /** Length of the log, with what waits to be written, in bytes. */
  bytes = headerBytes
  /** How many messages it has, which is the ordinal of the next one. */
  records = 0
  /** Pairs of message and queue that are not settled. */
  live = 0
  /** All pairs of message and queue that it has had, as far as is known. */
  pairs = 0
  /** Parts of batches that are not written yet. */
  unwritten = 0
  /** Segments from which messages moved into this one: what they say of them must be on disk before this one goes. */
  movedFrom: Set<Segment> | undefined
  /** A part of its log could not be read; it is put aside instead of removed. */
  damaged = false
  removed = false
  readonly entries = new SettledEntries()
  #settledBytes: number
  #log: number | undefined
  #settled: number | undefined
  readonly #files: Files

  constructor(directory: string, number: number, files: Files, found?: { salt: number; settledBytes: number }) {
    const name = String(number).padStart(8, '0')
    this.number = number
    this.logPath = join(directory, `${name}.log`)
    this.settledPath = join(directory, `${name}.settled`)
    this.#files = files
    this.salt = found?.salt ?? randomInt(1, 2 ** 32)
    this.#settledBytes = found?.settledBytes ?? 0
  }

  /** The log's descriptor, opened when it is needed. */
  get log(): number {
    this.#log ??= this.#files.open(this.logPath)
    return this.#log
  }

  /** Writes the entries that wait. Throws what the file system says; the entries then wait on. */
  writeEntries(): void {
    if (this.entries.count === 0 || this.removed) return
    this.#settled ??= this.#files.open(this.settledPath)
    if (this.#settledBytes < headerBytes) {
      this.#files.writeNow(this.#settled, encodeHeader('CHASQSET', this.number, this.salt), 0)
      this.#settledBytes = headerBytes
    }
    const bytes = this.entries.bytes()
    this.#files.writeNow(this.#settled, bytes, this.#settledBytes)
    this.#settledBytes += bytes.length
    this.entries.clear()
  }

  /** What was written of the entries is on disk afterwards. */
  syncEntries(): void {
    this.writeEntries()
    if (this.#settled !== undefined) fdatasyncSync(this.#settled)
  }

  /** Gives the descriptors back; they are opened again when needed. */
  closeFiles(): void {
    if (this.#log !== undefined) closeSync(this.#log)
    if (this.#settled !== undefined) closeSync(this.#settled)
    this.#log = undefined
    this.#settled = undefined
  }

  static settledLength(fileBytes: number): number {
    if (fileBytes < headerBytes) return 0
    return headerBytes + Math.floor((fileBytes - headerBytes) / entryBytes) * entryBytes
  }
}
