/**
 * What opening does with the segments it finds, after a clean close, a kill or a power cut.
 *
 *   torn end       the last record was being written: it was never confirmed, and is cut off
 *   damage         a record in the middle fails its check: what is readable around it is kept, the damage is reported, and
 *                  the segment is put aside (`.damaged`) instead of removed when the rest of it is settled
 *   torn group     the last record is there, but says that more of its group follow: all of the group is cut off
 *   damaged group  what is readable of it is kept, and what it says has left other queues has not: there may be two of a
 *                  message then, never none
 *   lost entries   what became of the last messages is not known: they come again, marked as redelivered where they were
 */
import { existsSync, readdirSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTick } from 'node:timers/promises'
import type { Files } from './files.ts'
import { checkHeader, headerBytes, saltOf } from './header.ts'
import { type RecordSummary, readMessage, soundRecord, summarizeRecord } from './record.ts'
import { Segment } from './segment.ts'
import { kindDelivered, kindDeliveredAgain, kindReturned, kindSettled, readEntries } from './settled.ts'
import type { Damage, RecoveredMessage } from './store.ts'

export interface Recovered {
  readonly segments: Segment[]
  /** The greatest order found. */
  readonly lastOrder: number
  /** The greatest number that a segment had, also one of which only entries were written. */
  readonly lastNumber: number
  readonly damage: readonly Damage[]
}

export interface RecoveryTarget {
  /** A queue of this number exists. */
  knows(queueId: number): boolean
  /** Messages, nearly always in their order. */
  restore(message: RecoveredMessage): void
  /** Messages that were restored and turn out to have moved elsewhere. */
  forget(moved: ReadonlySet<string>): void
}

/** How `forget` names a message of a queue. */
export function moveKey(queueId: number, segment: number, ordinal: number): string {
  return `${queueId}/${segment}/${ordinal}`
}

/**
 * What is known of one message in one queue: nothing, handed out (1), in the queue after n returns (2n + 2), handed out again after
 * n returns (2n + 3), settled. Entries come in any order, so the greatest counts.
 */
const unknown = 0
const delivered = 1
const settled = 0xff_ffff_ff

export async function recover(directory: string, files: Files, target: RecoveryTarget): Promise<Recovered> {
  const numbers = numbersOf(directory, 'log')
  const lastNumber = Math.max(0, ...numbers.slice(-1), ...numbersOf(directory, 'settled').slice(-1))
  for (const orphan of numbersOf(directory, 'settled')) {
    if (!numbers.includes(orphan)) rmSync(segmentPath(directory, orphan, 'settled'), { force: true })
  }
  const segments: Segment[] = []
  const damage: Damage[] = []
  const moved = new Set<string>()
  const byNumber = new Map<number, Segment>()
  let lastOrder = 0
  for (const number of numbers) {
    const path = segmentPath(directory, number, 'log')
    const bytes = readFileSync(path)
    const whole = checkHeader(bytes, 'CHASQLOG', number, path) === 'ok'
    const salt = whole ? saltOf(bytes) : 0
    const { settledBytes, states } = readSettled(directory, number, salt)
    const segment = new Segment(directory, number, files, { salt, settledBytes })
    segments.push(segment)
    if (!whole) continue
    byNumber.set(number, segment)

    const accept = ({ summary, at, end }: Found, whole: boolean): void => {
      const { ordinal, queueIds, settlements } = summary
      segment.records = ordinal + 1
      lastOrder = Math.max(lastOrder, summary.order)
      segment.pairs += queueIds.length
      if (whole) {
        for (const from of settlements) {
          moved.add(moveKey(from.queueId, from.segment, from.ordinal))
          const source = byNumber.get(from.segment)
          if (source === undefined || source === segment) continue
          segment.movedFrom ??= new Set()
          segment.movedFrom.add(source)
        }
      }
      const holders: { queueId: number; redelivered: boolean; returns: number }[] = []
      for (const queueId of queueIds) {
        if (!target.knows(queueId)) continue
        const state = states.get(queueId)?.[ordinal] ?? unknown
        if (state === settled) continue
        holders.push({ queueId, redelivered: state !== unknown, returns: returnsOf(state) })
      }
      if (holders.length === 0) return
      segment.live += holders.length
      const place = { segment, ordinal, offset: at, length: end - at }
      const { order, bodyBytes, publishedAt } = summary
      const timed = summary.timed ? readMessage(bytes, at, end) : undefined
      target.restore({ place, order, bodyBytes, publishedAt, timed, holders })
    }

    /** The records of a group up to here. */
    let group: Found[] = []
    /** A part of the group could not be read. */
    let damagedGroup = false
    let at = headerBytes
    while (at < bytes.length) {
      const end = soundRecord(bytes, at, segment.salt)
      if (end === undefined) {
        const next = soundBehind(bytes, at, segment.salt)
        if (next === undefined) break
        damage.push({ path, offset: at, bytes: next - at })
        segment.damaged = true
        for (const found of group) accept(found, false)
        group = []
        damagedGroup = summarizeRecord(bytes, next, bytes.length).continues
        at = next
        continue
      }
      const found = { summary: summarizeRecord(bytes, at, end), at, end }
      if (damagedGroup) {
        damagedGroup = found.summary.continued
        accept(found, false)
      } else if (found.summary.continued) {
        group.push(found)
      } else {
        for (const earlier of group) accept(earlier, true)
        group = []
        accept(found, true)
      }
      at = end
    }
    at = group[0]?.at ?? at
    if (at < bytes.length) truncateSync(path, at)
    segment.bytes = at
    await nextTick()
  }
  if (moved.size > 0) target.forget(moved)
  return { segments, lastOrder, lastNumber, damage }
}

function segmentPath(directory: string, number: number, suffix: 'log' | 'settled'): string {
  return join(directory, `${String(number).padStart(8, '0')}.${suffix}`)
}

function numbersOf(directory: string, suffix: 'log' | 'settled'): number[] {
  return readdirSync(directory)
    .filter(name => name.endsWith(`.${suffix}`))
    .flatMap(name => /^(\d{8,})\./.exec(name)?.[1] ?? [])
    .map(Number)
    .sort((a, b) => a - b)
}

function readSettled(directory: string, number: number, salt: number) {
  const states = new Map<number, Uint32Array>()
  const path = segmentPath(directory, number, 'settled')
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  // Entries of another log of this number say nothing of this one.
  if (checkHeader(bytes, 'CHASQSET', number, path) === 'cut' || saltOf(bytes) !== salt) {
    rmSync(path, { force: true })
    return { settledBytes: 0, states }
  }
  readEntries(bytes, headerBytes, (queueId, ordinal, kind, value) => {
    const count = kind === kindReturned || kind === kindDeliveredAgain ? 1 : value
    const known = roomFor(states, queueId, ordinal + count)
    for (let index = ordinal; index < ordinal + count; index++) {
      known[index] = Math.max(known[index]!, stateOf(kind, value))
    }
  })
  return { settledBytes: Segment.settledLength(bytes.length), states }
}

function stateOf(kind: number, value: number): number {
  if (kind === kindSettled) return settled
  if (kind === kindDelivered) return delivered
  return 2 * value + (kind === kindReturned ? 2 : 3)
}

/** What was out when the broker died comes back by that. */
function returnsOf(state: number): number {
  if (state <= delivered) return state
  return state % 2 === 0 ? state / 2 - 1 : (state - 1) / 2
}

function roomFor(states: Map<number, Uint32Array>, queueId: number, length: number): Uint32Array {
  const known = states.get(queueId)
  if (known !== undefined && known.length >= length) return known
  const larger = new Uint32Array(Math.max(1024, 2 ** Math.ceil(Math.log2(length))))
  if (known !== undefined) larger.set(known)
  states.set(queueId, larger)
  return larger
}

/** A record and where it stands. */
interface Found {
  readonly summary: RecordSummary
  readonly at: number
  readonly end: number
}

/** Where the next sound record begins behind a broken one; undefined when none does, and the end is torn. */
function soundBehind(bytes: Buffer, broken: number, salt: number): number | undefined {
  for (let at = broken + 1; at < bytes.length; at++) if (soundRecord(bytes, at, salt) !== undefined) return at
  return undefined
}
