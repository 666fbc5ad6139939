/**
 * Field tables and arrays: values that carry their type as one letter (AMQP 0-9-1 section 4.2.5.5).
 *
 *   table  [bytes u32] ([name shortstr] [tag u8] [value])*
 *   array  [bytes u32] ([tag u8] [value])*
 *
 * The published grammar and what brokers do differ; RabbitMQ's page of errata is what its peers speak, and so do
 * we. Tags written and read, with what they are here:
 *
 *   t  boolean                     u8
 *   I  number, fits 32 bits        i32
 *   l  number or bigint            i64    (the published grammar calls signed 64 bits `L`; RabbitMQ writes `l`)
 *   d  number                      f64
 *   S  string                      longstr; bytes that are no UTF-8 are read as Uint8Array
 *   x  Uint8Array                  longstr (not in the published grammar)
 *   T  Date, whole seconds         u64
 *   A  array   F  table   V  null
 *
 * Read only, because a peer may send them:  b i8,  B u8,  s i16 (in the published grammar a short string, which
 * no broker sends),  u u16,  i u32,  L i64,  f f32,  D decimal [scale u8][i32], read as a number.
 *
 * Integers beyond 2^53 are read as bigint. `TaggedValue` writes a value under a tag of one's own choice.
 */

import { isUtf8 } from 'node:buffer'
import { AmqpError, EncodingError } from './errors.ts'
import { readLong, writeLong } from './integer.ts'
import {
  longStringBound,
  readRepeatedText,
  readText,
  shortStringBound,
  writeLongString,
  writeShortString,
} from './text.ts'

export type FieldValue =
  | string
  | number
  | boolean
  | bigint
  | null
  | Date
  | Uint8Array
  | TaggedValue
  | readonly FieldValue[]
  | FieldTable

export interface FieldTable {
  readonly [name: string]: FieldValue
}

/** The tags that `TaggedValue` can write. */
export type FieldTag =
  | 't'
  | 'b'
  | 'B'
  | 's'
  | 'u'
  | 'I'
  | 'i'
  | 'l'
  | 'L'
  | 'f'
  | 'd'
  | 'D'
  | 'S'
  | 'x'
  | 'T'
  | 'A'
  | 'F'
  | 'V'

/**
 * A value under an exact tag, for peers that insist on one: `new TaggedValue('u', 5)`. A decimal's value is
 * `{ scale, value }`. Reading makes none, but for a `T` beyond what a Date can hold.
 */
export class TaggedValue {
  readonly tag: FieldTag
  readonly value: FieldValue | { readonly scale: number; readonly value: number }

  constructor(tag: FieldTag, value: FieldValue | { readonly scale: number; readonly value: number }) {
    this.tag = tag
    this.value = value
  }
}

/** How deep tables and arrays may nest, both ways; a frame can hold tens of thousands of levels, a stack cannot. */
export const maxTableDepth = 64

/** 2^32: the weight of the upper half of a 64-bit integer. */
const upperWeight = 0x1_0000_0000

const maxDateSeconds = 8_640_000_000_000
const int64Min = -(2n ** 63n)
const int64Max = 2n ** 63n - 1n

const tag = (letter: FieldTag): number => letter.charCodeAt(0)
const tagBoolean = tag('t')
const tagInt8 = tag('b')
const tagUint8 = tag('B')
const tagInt16 = tag('s')
const tagUint16 = tag('u')
const tagInt32 = tag('I')
const tagUint32 = tag('i')
const tagInt64 = tag('l')
const tagInt64Published = tag('L')
const tagFloat = tag('f')
const tagDouble = tag('d')
const tagDecimal = tag('D')
const tagString = tag('S')
const tagBytes = tag('x')
const tagTimestamp = tag('T')
const tagArray = tag('A')
const tagTable = tag('F')
const tagNull = tag('V')

/** The most bytes that `writeTable` may need for this table; cheap, because it counts three bytes for each UTF-16 unit. */
export function tableBound(table: FieldTable, depth = 0): number {
  let bound = 4
  for (const name in table) bound += shortStringBound(name) + valueBound(table[name]!, depth)
  return bound
}

function valueBound(value: FieldValue, depth: number): number {
  if (typeof value === 'string') return 1 + longStringBound(value)
  if (typeof value !== 'object' || value === null || value instanceof Date) return 9
  if (value instanceof Uint8Array) return 1 + longStringBound(value)
  if (depth >= maxTableDepth) refuseDepth()
  if (value instanceof TaggedValue) {
    return value.tag === 'D' ? 6 : 9 + valueBound(value.value as FieldValue, depth + 1)
  }
  if (isList(value)) {
    let bound = 5
    for (const item of value) bound += valueBound(item, depth + 1)
    return bound
  }
  return 1 + tableBound(value, depth + 1)
}

function isList(value: readonly FieldValue[] | FieldTable): value is readonly FieldValue[] {
  return Array.isArray(value)
}

function refuseDepth(): never {
  throw new EncodingError(
    'nested-too-deep',
    `A field table may be nested ${maxTableDepth} levels deep. Send deeper data as a body.`,
  )
}

/** Writes the table and returns the offset behind it. Names whose value is undefined are left out. */
export function writeTable(buffer: Buffer, offset: number, table: FieldTable, depth = 0): number {
  let at = offset + 4
  for (const name in table) {
    const value = table[name]
    if (value === undefined) continue
    at = writeShortString(buffer, at, name)
    at = writeValue(buffer, at, value, depth)
  }
  writeLong(buffer, offset, at - offset - 4)
  return at
}

function writeValue(buffer: Buffer, offset: number, value: FieldValue, depth: number): number {
  switch (typeof value) {
    case 'string':
      buffer[offset] = tagString
      return writeLongString(buffer, offset + 1, value)
    case 'number':
      return writeNumber(buffer, offset, value)
    case 'boolean':
      buffer[offset] = tagBoolean
      buffer[offset + 1] = value ? 1 : 0
      return offset + 2
    case 'bigint':
      if (value < int64Min || value > int64Max) {
        throw new EncodingError('out-of-range', `${value} does not fit 64 bits. Send it as a string.`)
      }
      buffer[offset] = tagInt64
      return buffer.writeBigInt64BE(value, offset + 1)
    case 'object':
      return value === null ? writeTag(buffer, offset, tagNull) : writeObject(buffer, offset, value, depth)
    default:
      throw new EncodingError(
        'value-not-encodable',
        `A field table cannot hold a ${typeof value}. Use a string, number, boolean, bigint, null, Date, bytes, array or table.`,
      )
  }
}

function writeTag(buffer: Buffer, offset: number, tagCode: number): number {
  buffer[offset] = tagCode
  return offset + 1
}

function writeNumber(buffer: Buffer, offset: number, value: number): number {
  if ((value | 0) === value && !Object.is(value, -0)) {
    buffer[offset] = tagInt32
    return buffer.writeInt32BE(value, offset + 1)
  }
  if (Number.isSafeInteger(value) && value !== 0) {
    buffer[offset] = tagInt64
    buffer.writeInt32BE(Math.floor(value / upperWeight), offset + 1)
    return writeLong(buffer, offset + 5, value >>> 0)
  }
  buffer[offset] = tagDouble
  return buffer.writeDoubleBE(value, offset + 1)
}

function writeObject(
  buffer: Buffer,
  offset: number,
  value: Date | Uint8Array | TaggedValue | readonly FieldValue[] | FieldTable,
  depth: number,
): number {
  if (value instanceof Uint8Array) {
    buffer[offset] = tagBytes
    return writeLongString(buffer, offset + 1, value)
  }
  if (value instanceof Date) {
    const seconds = Math.floor(value.getTime() / 1000)
    if (!(seconds >= 0)) {
      throw new EncodingError('out-of-range', `${String(value)} is no time since 1970. Send it as a string.`)
    }
    buffer[offset] = tagTimestamp
    return buffer.writeBigUInt64BE(BigInt(seconds), offset + 1)
  }
  if (depth >= maxTableDepth) refuseDepth()
  if (value instanceof TaggedValue) return writeTagged(buffer, offset, value, depth + 1)
  if (isList(value)) {
    buffer[offset] = tagArray
    let at = offset + 5
    for (const item of value) at = writeValue(buffer, at, item, depth + 1)
    writeLong(buffer, offset + 1, at - offset - 5)
    return at
  }
  buffer[offset] = tagTable
  return writeTable(buffer, offset + 1, value, depth + 1)
}

function writeTagged(buffer: Buffer, offset: number, tagged: TaggedValue, depth: number): number {
  const { value } = tagged
  buffer[offset] = tag(tagged.tag)
  const at = offset + 1
  try {
    switch (tagged.tag) {
      case 't':
        buffer[at] = value ? 1 : 0
        return at + 1
      case 'b':
        return buffer.writeInt8(value as number, at)
      case 'B':
        return buffer.writeUInt8(value as number, at)
      case 's':
        return buffer.writeInt16BE(value as number, at)
      case 'u':
        return buffer.writeUInt16BE(value as number, at)
      case 'I':
        return buffer.writeInt32BE(value as number, at)
      case 'i':
        return buffer.writeUInt32BE(value as number, at)
      case 'l':
      case 'L':
        return buffer.writeBigInt64BE(BigInt(value as number | bigint), at)
      case 'f':
        return buffer.writeFloatBE(value as number, at)
      case 'd':
        return buffer.writeDoubleBE(value as number, at)
      case 'D': {
        const decimal = value as { readonly scale: number; readonly value: number }
        return buffer.writeInt32BE(decimal.value, buffer.writeUInt8(decimal.scale, at))
      }
      case 'T':
        return buffer.writeBigUInt64BE(BigInt(value as number | bigint), at)
      case 'V':
        return at
      case 'S':
      case 'x':
        return writeLongString(buffer, at, value as string | Uint8Array)
      case 'A':
      case 'F':
        return writeValue(buffer, offset, value as FieldValue, depth)
    }
  } catch (error) {
    if (error instanceof EncodingError) throw error
    throw new EncodingError('out-of-range', `${String(value)} cannot be written under the tag '${tagged.tag}'.`)
  }
}

function malformed(explanation: string): never {
  throw AmqpError.of('syntax-error', `malformed field table: ${explanation}`)
}

/**
 * Reads the table at `offset`; it ends at `offset + 4 + its length`, which must not lie behind `end`. Throws an
 * AmqpError (502) for anything else than a whole and well-formed table. Binary values are copies: they keep no
 * frame alive. A name that comes twice keeps its last value, as in RabbitMQ.
 */
export function readTable(buffer: Buffer, offset: number, end: number, depth = 0): FieldTable {
  if (offset + 4 > end) malformed('it is cut short')
  const stop = offset + 4 + readLong(buffer, offset)
  if (stop > end) malformed('it is longer than what holds it')
  const table: Record<string, FieldValue> = {}
  position = offset + 4
  while (position < stop) {
    const length = buffer[position]!
    const nameAt = position + 1
    position = nameAt + length
    if (position >= stop) malformed('a name is cut short')
    const name = readRepeatedText(buffer, nameAt, length)
    const value = readValue(buffer, stop, depth)
    if (name === '__proto__') define(table, name, value)
    else table[name] = value
  }
  return table
}

/** The length in bytes of the table at `offset`, its own length field included. Throws when it ends behind `end`. */
export function tableLength(buffer: Buffer, offset: number, end: number): number {
  if (offset + 4 > end) malformed('it is cut short')
  const length = 4 + readLong(buffer, offset)
  if (offset + length > end) malformed('it is longer than what holds it')
  return length
}

function define(table: object, name: string, value: FieldValue): void {
  Object.defineProperty(table, name, { value, enumerable: true, writable: true, configurable: true })
}

/** Where reading stands. A variable of the module, because a pair returned from each value would be garbage. */
let position = 0

function take(bytes: number, stop: number): number {
  const at = position
  position = at + bytes
  if (position > stop) malformed('a value is cut short')
  return at
}

function readValue(buffer: Buffer, stop: number, depth: number): FieldValue {
  const tagAt = take(1, stop)
  switch (buffer[tagAt]) {
    case tagString: {
      const length = readLong(buffer, take(4, stop))
      const at = take(length, stop)
      const text = length <= 32 ? readRepeatedText(buffer, at, length) : readText(buffer, at, length)
      if (!text.includes('\uFFFD') || isUtf8(buffer.subarray(at, at + length))) return text
      return Buffer.from(buffer.subarray(at, at + length))
    }
    case tagInt32:
      return readLong(buffer, take(4, stop)) | 0
    case tagBoolean:
      return buffer[take(1, stop)] !== 0
    case tagInt64:
    case tagInt64Published:
      return readInt64(buffer, take(8, stop))
    case tagDouble:
      return buffer.readDoubleBE(take(8, stop))
    case tagTimestamp: {
      const seconds = buffer.readBigUInt64BE(take(8, stop))
      if (seconds > maxDateSeconds) return new TaggedValue('T', seconds)
      return new Date(Number(seconds) * 1000)
    }
    case tagNull:
      return null
    case tagBytes: {
      const length = readLong(buffer, take(4, stop))
      const at = take(length, stop)
      return Buffer.from(buffer.subarray(at, at + length))
    }
    case tagTable: {
      if (depth >= maxTableDepth) malformed(`it is nested deeper than ${maxTableDepth} levels`)
      return readTable(buffer, position, stop, depth + 1)
    }
    case tagArray:
      return readArray(buffer, stop, depth + 1)
    case tagInt8:
      return (buffer[take(1, stop)]! << 24) >> 24
    case tagUint8:
      return buffer[take(1, stop)]!
    case tagInt16:
      return buffer.readInt16BE(take(2, stop))
    case tagUint16:
      return buffer.readUInt16BE(take(2, stop))
    case tagUint32:
      return readLong(buffer, take(4, stop))
    case tagFloat:
      return buffer.readFloatBE(take(4, stop))
    case tagDecimal: {
      const at = take(5, stop)
      return buffer.readInt32BE(at + 1) / 10 ** buffer[at]!
    }
    default:
      return malformed(`no value has the tag 0x${buffer[tagAt]!.toString(16).padStart(2, '0')}`)
  }
}

function readArray(buffer: Buffer, stop: number, depth: number): FieldValue[] {
  if (depth > maxTableDepth) malformed(`it is nested deeper than ${maxTableDepth} levels`)
  const length = readLong(buffer, take(4, stop))
  const arrayStop = position + length
  if (arrayStop > stop) malformed('an array is longer than what holds it')
  const items: FieldValue[] = []
  while (position < arrayStop) items.push(readValue(buffer, arrayStop, depth))
  return items
}

function readInt64(buffer: Buffer, offset: number): number | bigint {
  const value = buffer.readInt32BE(offset) * upperWeight + readLong(buffer, offset + 4)
  return Number.isSafeInteger(value) ? value : buffer.readBigInt64BE(offset)
}

/** The table's bytes on their own. */
export function encodeTable(table: FieldTable): Buffer {
  const buffer = Buffer.allocUnsafe(tableBound(table))
  return buffer.subarray(0, writeTable(buffer, 0, table))
}

/** The table that `bytes` hold from `offset` on. Throws an AmqpError (502) where they are none. */
export function decodeTable(bytes: Uint8Array, offset = 0): FieldTable {
  const buffer = asBuffer(bytes)
  return readTable(buffer, offset, buffer.length)
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
