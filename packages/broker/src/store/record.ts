/**
 * One message in a segment's log. All numbers are little endian.
 *
 *   record      [length u32][crc32 u32][payload: length bytes]            the check covers the payload and begins with the
 *                                                                         segment's salt: no body can pose as a record
 *   payload     [type u8 = 1][flags u8][exchange bytes u8][routing key bytes u8]
 *               [queues u16][settlements u16]
 *               [order u64: two u32, low first][published at u64: likewise, milliseconds since the epoch]
 *               [ordinal u32][property bytes u32]
 *               [queue id u32] * queues
 *               [settlement: segment u32, ordinal u32, queue id u32] * settlements
 *               [exchange][routing key][properties][body: what is left]
 *
 *   flags       1: the properties say when the message expires or is due
 *               2: the next record belongs to the same group       4: so does the one before
 *
 * A settlement says that a message left a queue in the same step in which this one was appended: a dead letter moves as
 * a whole or not at all. So do the records of a group, whose settlements stand in its last ones; one without queues is
 * there for its settlements only. `ordinal` counts the segment's records from 0. `order` grows with each record of the
 * data directory; within a queue, smaller comes first.
 */
import { crc32 } from 'node:zlib'
import { type BasicProperties, decodeProperties } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'

const recordOverhead = 8
const fixedBytes = 32
const settlementBytes = 12
const messageType = 1
const timedFlag = 1
const continuedFlag = 2
const continuesFlag = 4

/** Bodies longer than this are written from where they are; shorter ones are copied beside their record. */
export const longestCopy = 8192

export interface RecordSettlement {
  readonly segment: number
  readonly ordinal: number
  readonly queueId: number
}

/** What makes a record this one. */
export interface RecordName {
  readonly order: number
  /** Milliseconds since the epoch; from it times to live count, also after a restart. */
  readonly publishedAt: number
  readonly ordinal: number
  /** The segment's. */
  readonly salt: number
  /** The properties say when the message expires or is due. */
  readonly timed: boolean
  /** The next record belongs to the same group. */
  readonly continued: boolean
  /** The one before belongs to the same group. */
  readonly continues: boolean
}

/** The most bytes that a record takes without its body. */
export function headBound(message: BrokerMessage, properties: Uint8Array, queues: number, settlements: number): number {
  return (
    recordOverhead +
    fixedBytes +
    4 * queues +
    settlementBytes * settlements +
    3 * (message.exchange.length + message.routingKey.length) +
    properties.byteLength
  )
}

/**
 * Writes a record at `start` and returns where it ends; the body only when `withBody`: else the caller writes it
 * right behind, and `length` and check count it already.
 */
export function writeRecord(
  buffer: Buffer,
  start: number,
  message: BrokerMessage,
  properties: Uint8Array,
  queueIds: readonly number[],
  settlements: readonly RecordSettlement[],
  name: RecordName,
  withBody: boolean,
): number {
  const payload = start + recordOverhead
  let at = payload + fixedBytes
  for (const id of queueIds) at = buffer.writeUInt32LE(id, at)
  for (const settlement of settlements) {
    at = buffer.writeUInt32LE(settlement.segment, at)
    at = buffer.writeUInt32LE(settlement.ordinal, at)
    at = buffer.writeUInt32LE(settlement.queueId, at)
  }
  const exchangeAt = at
  at = writeText(buffer, at, message.exchange)
  const keyAt = at
  at = writeText(buffer, at, message.routingKey)
  buffer[payload] = messageType
  buffer[payload + 1] =
    (name.timed ? timedFlag : 0) | (name.continued ? continuedFlag : 0) | (name.continues ? continuesFlag : 0)
  buffer[payload + 2] = keyAt - exchangeAt
  buffer[payload + 3] = at - keyAt
  buffer.writeUInt16LE(queueIds.length, payload + 4)
  buffer.writeUInt16LE(settlements.length, payload + 6)
  writeLong(buffer, payload + 8, name.order)
  writeLong(buffer, payload + 16, name.publishedAt)
  buffer.writeUInt32LE(name.ordinal, payload + 24)
  buffer.writeUInt32LE(properties.byteLength, payload + 28)
  buffer.set(properties, at)
  at += properties.byteLength
  const { body } = message
  let check: number
  if (withBody) {
    buffer.set(body, at)
    at += body.byteLength
    check = crc32(buffer.subarray(payload, at), name.salt)
    buffer.writeUInt32LE(at - payload, start)
  } else {
    check = crc32(body, crc32(buffer.subarray(payload, at), name.salt))
    buffer.writeUInt32LE(at - payload + body.byteLength, start)
  }
  buffer.writeUInt32LE(check, start + 4)
  return at
}

/** Where the record that stands at `start` ends, when it is whole and sound. */
export function soundRecord(buffer: Buffer, start: number, salt: number): number | undefined {
  const payload = start + recordOverhead
  if (payload + fixedBytes > buffer.length || buffer[payload] !== messageType) return undefined
  const end = payload + buffer.readUInt32LE(start)
  if (end > buffer.length || contentStart(buffer, payload) > end) return undefined
  return crc32(buffer.subarray(payload, end), salt) === buffer.readUInt32LE(start + 4) ? end : undefined
}

/** Where the body begins, going by the lengths that stand before it. */
function contentStart(buffer: Buffer, payload: number): number {
  return (
    payload +
    fixedBytes +
    4 * buffer.readUInt16LE(payload + 4) +
    settlementBytes * buffer.readUInt16LE(payload + 6) +
    buffer[payload + 2]! +
    buffer[payload + 3]! +
    buffer.readUInt32LE(payload + 28)
  )
}

/** What recovery wants to know of a record, without its content. */
export interface RecordSummary {
  readonly order: number
  readonly publishedAt: number
  readonly ordinal: number
  readonly queueIds: readonly number[]
  readonly settlements: readonly RecordSettlement[]
  readonly bodyBytes: number
  readonly timed: boolean
  readonly continued: boolean
  readonly continues: boolean
}

export function summarizeRecord(buffer: Buffer, start: number, end: number): RecordSummary {
  const payload = start + recordOverhead
  const queues = buffer.readUInt16LE(payload + 4)
  const moved = buffer.readUInt16LE(payload + 6)
  const queueIds: number[] = []
  const settlements: RecordSettlement[] = []
  let at = payload + fixedBytes
  for (let index = 0; index < queues; index++, at += 4) queueIds.push(buffer.readUInt32LE(at))
  for (let index = 0; index < moved; index++, at += settlementBytes) {
    settlements.push({
      segment: buffer.readUInt32LE(at),
      ordinal: buffer.readUInt32LE(at + 4),
      queueId: buffer.readUInt32LE(at + 8),
    })
  }
  const flags = buffer[payload + 1]!
  return {
    order: readLong(buffer, payload + 8),
    publishedAt: readLong(buffer, payload + 16),
    ordinal: buffer.readUInt32LE(payload + 24),
    queueIds,
    settlements,
    bodyBytes: end - contentStart(buffer, payload),
    timed: (flags & timedFlag) !== 0,
    continued: (flags & continuedFlag) !== 0,
    continues: (flags & continuesFlag) !== 0,
  }
}

/** The message of a record; its bytes are parts of `buffer`. */
export function readMessage(buffer: Buffer, start: number, end: number): BrokerMessage {
  const payload = start + recordOverhead
  const bodyAt = contentStart(buffer, payload)
  const propertiesAt = bodyAt - buffer.readUInt32LE(payload + 28)
  const keyAt = propertiesAt - buffer[payload + 3]!
  const exchangeAt = keyAt - buffer[payload + 2]!
  return new StoredMessage(
    exchangeAt === keyAt ? '' : buffer.toString('utf8', exchangeAt, keyAt),
    buffer.toString('utf8', keyAt, propertiesAt),
    buffer.subarray(propertiesAt, bodyAt),
    buffer.subarray(bodyAt, end),
  )
}

/** A message that comes from the store: its properties are decoded when somebody looks. */
class StoredMessage implements BrokerMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly propertyBytes: Uint8Array
  readonly body: Uint8Array
  readonly persistent = true
  #properties: BasicProperties | undefined

  constructor(exchange: string, routingKey: string, propertyBytes: Uint8Array, body: Uint8Array) {
    this.exchange = exchange
    this.routingKey = routingKey
    this.propertyBytes = propertyBytes
    this.body = body
  }

  get properties(): BasicProperties {
    this.#properties ??= decodeProperties(this.propertyBytes)
    return this.#properties
  }
}

function writeLong(buffer: Buffer, at: number, value: number): void {
  buffer.writeUInt32LE(value >>> 0, at)
  buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4)
}

function readLong(buffer: Buffer, at: number): number {
  return buffer.readUInt32LE(at) + buffer.readUInt32LE(at + 4) * 0x1_0000_0000
}

/** Names are short and mostly ASCII: a loop beats a call into the engine for those. */
function writeText(buffer: Buffer, start: number, text: string): number {
  const { length } = text
  if (length > 64) return start + buffer.write(text, start, 'utf8')
  for (let index = 0; index < length; index++) {
    const code = text.charCodeAt(index)
    if (code > 0x7f) return start + buffer.write(text, start, 'utf8')
    buffer[start + index] = code
  }
  return start + length
}
