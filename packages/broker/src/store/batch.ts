/**
 * What gathers until it is written: records side by side in chunks of memory, and which of them belong to which segment.
 *
 *     chunk    [record][record][record, long body elsewhere]...            cut into slices where a body stands apart
 *     batch    part of segment 7: slice, body, slice | part of segment 8: slice | definitions
 *
 * A group of records (a transfer) is gathered in one call, so it is in one batch; it is kept in one segment, whatever its
 * length. So one write and one sync are all of it, and recovery finds all of it or a torn end.
 */
import { AmqpError, encodeProperties } from '@chasqui/amqp'
import type { Clock } from '../clock.ts'
import type { BrokerMessage } from '../message.ts'
import { encodeHeader, headerBytes } from './header.ts'
import { headBound, longestCopy, type RecordSettlement, writeRecord } from './record.ts'
import type { Segment } from './segment.ts'
import type { Segments } from './segments.ts'
import type { Addition, RecordPlace, Settlement } from './store.ts'

/** A segment takes no more records beyond this, in bytes. */
const segmentBytes = 33_554_432
/** Queues or settlements of one record. */
const mostPairs = 65_535
/** Bytes of one group: a segment must stay readable in one piece. */
const mostGroupBytes = 268_435_456
/** Records gather in chunks of this size. */
const chunkBytes = 1_048_576
/** Chunks kept for reuse. */
const mostSpareChunks = 16

const none: readonly never[] = []

/** What goes to one segment's log in one batch. */
interface Part {
  readonly segment: Segment
  readonly position: number
  readonly buffers: Uint8Array[]
}

export interface Batch {
  commit: number
  definitions: Buffer | undefined
  readonly parts: Part[]
  readonly chunks: Buffer[]
  readonly moves: Settlement[]
}

/** What a record without a message carries: settlements. */
const noMessage: BrokerMessage = {
  exchange: '',
  routingKey: '',
  properties: {},
  propertyBytes: encodeProperties({}),
  body: new Uint8Array(0),
  persistent: true,
}

export class Gathering {
  batch = newBatch()
  readonly #segments: Segments
  readonly #clock: Clock
  #order: number
  #chunk: Buffer = Buffer.allocUnsafeSlow(chunkBytes)
  /** Where the part of the chunk begins that belongs to no buffer yet, and where free space begins. */
  #sliceAt = 0
  #used = 0
  readonly #spareChunks: Buffer[] = []

  constructor(segments: Segments, clock: Clock, lastOrder: number) {
    this.#segments = segments
    this.#clock = clock
    this.#order = lastOrder
  }

  /** One record. `before`: what it was when it was first appended; it keeps its order and its age. Throws AmqpError. */
  add(
    addition: Addition,
    settlements: readonly Settlement[],
    before: { readonly order: number; readonly publishedAt: number } | undefined,
  ): RecordPlace {
    checkFits(addition)
    this.#rotate()
    return this.#write(addition, settlements, before, false, false)
  }

  /** Records that count all together or not at all, and what leaves its queue with them. Throws AmqpError, having done nothing. */
  addGroup(additions: readonly Addition[], settlements: readonly Settlement[]): RecordPlace[] {
    let bytes = 0
    for (const addition of additions) {
      checkFits(addition)
      bytes += addition.message.propertyBytes.byteLength + addition.message.body.byteLength
    }
    if (bytes > mostGroupBytes) {
      throw AmqpError.of(
        'resource-error',
        `what is published in one step has at most ${mostGroupBytes} bytes, this has ${bytes}`,
      )
    }
    this.#rotate()
    // The settlements stand in the last records, which without a message of their own carry nothing else.
    const bare = Math.ceil(settlements.length / mostPairs) - (additions.length > 0 ? 1 : 0)
    const last = additions.length - 1 + Math.max(0, bare)
    const places: RecordPlace[] = []
    let settled = 0
    for (let index = 0; index <= last; index++) {
      const addition = additions[index] ?? { message: noMessage, queueIds: none, timed: false }
      const carries = index >= additions.length - 1
      const some = carries ? settlements.slice(settled, settled + mostPairs) : none
      settled += some.length
      const place = this.#write(addition, some, undefined, index < last, index > 0)
      if (index < additions.length) places.push(place)
    }
    return places
  }

  /** The batch as it is now; a new one gathers from here on. */
  take(): Batch {
    this.#cutSlice()
    const { batch } = this
    this.batch = newBatch()
    return batch
  }

  /** The batch is written: its chunks can be used again. */
  recycle(batch: Batch): void {
    for (const chunk of batch.chunks) {
      if (chunk.length === chunkBytes && this.#spareChunks.length < mostSpareChunks) this.#spareChunks.push(chunk)
    }
  }

  #rotate(): void {
    if (this.#segments.current.bytes < segmentBytes) return
    this.#cutSlice()
    this.#segments.rotate()
  }

  #write(
    { message, queueIds, timed }: Addition,
    settlements: readonly Settlement[],
    before: { readonly order: number; readonly publishedAt: number } | undefined,
    continued: boolean,
    continues: boolean,
  ): RecordPlace {
    const { propertyBytes, body } = message
    const segment = this.#segments.current
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
        timed,
        continued,
        continues,
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
      this.batch.moves.push(settlement)
      const source = settlement.place.segment
      if (source === segment) continue
      segment.movedFrom ??= new Set()
      segment.movedFrom.add(source)
    }
    return place
  }

  /** The part of the gathering batch that belongs to the current segment. */
  #part(): Part {
    const { parts } = this.batch
    const segment = this.#segments.current
    const last = parts.at(-1)
    if (last !== undefined && last.segment === segment) return last
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
    this.batch.chunks.push(this.#chunk)
    this.#chunk =
      bytes > chunkBytes
        ? Buffer.allocUnsafeSlow(bytes)
        : (this.#spareChunks.pop() ?? Buffer.allocUnsafeSlow(chunkBytes))
    this.#sliceAt = 0
    this.#used = 0
  }

  #cutSlice(): void {
    if (this.#used === this.#sliceAt) return
    this.batch.parts.at(-1)!.buffers.push(this.#chunk.subarray(this.#sliceAt, this.#used))
    this.#sliceAt = this.#used
  }
}

/** Names of AMQP have at most 255 bytes; who publishes without the wire may not know. Throws AmqpError. */
function checkFits({ message: { exchange, routingKey }, queueIds }: Addition): void {
  // Three bytes a character at most: shorter ones need no counting.
  if (routingKey.length > 85 && Buffer.byteLength(routingKey) > 255) {
    throw AmqpError.of('syntax-error', 'a routing key has at most 255 bytes')
  }
  if (exchange.length > 85 && Buffer.byteLength(exchange) > 255) {
    throw AmqpError.of('syntax-error', 'the name of an exchange has at most 255 bytes')
  }
  if (queueIds.length > mostPairs)
    throw AmqpError.of('resource-error', `one message goes to at most ${mostPairs} durable queues`)
}

function recordSettlement({ queueId, place }: Settlement): RecordSettlement {
  return { segment: place.segment.number, ordinal: place.ordinal, queueId }
}

function newBatch(): Batch {
  return { commit: 0, definitions: undefined, parts: [], chunks: [], moves: [] }
}
