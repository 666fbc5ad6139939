/**
 * Strings on the wire (AMQP 0-9-1 section 4.2.5.3): short strings are [length u8][UTF-8], long strings
 * [length u32][bytes]. Names repeat from frame to frame (the queue, the consumer's tag, header names), so
 * short ASCII texts are looked up before they are made; the loops over single bytes beat a call into
 * Node's C++ for the few bytes that names have.
 */

import { isUtf8 } from 'node:buffer'
import { AmqpError, EncodingError } from './errors.ts'
import { writeLong } from './integer.ts'

/** Up to here a loop in JavaScript is faster than Buffer's native copy; found by measuring. */
const loopMaxLength = 12

/** Longest text that is remembered, and how many are; both bound the memory that strangers' names can take. */
const rememberedMaxLength = 64
const rememberedSlots = 512
const remembered: string[] = new Array(rememberedSlots).fill('')

/** The most bytes that `writeShortString` may need. */
export function shortStringBound(value: string): number {
  return 1 + value.length * 3
}

/** Writes [length u8][UTF-8] and returns the offset behind it. Throws `string-too-long` beyond 255 bytes. */
export function writeShortString(buffer: Buffer, offset: number, value: string): number {
  const length = value.length
  if (length <= loopMaxLength) {
    let i = 0
    let at = offset + 1
    for (; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code > 0x7f) break
      buffer[at++] = code
    }
    if (i === length) {
      buffer[offset] = length
      return at
    }
  }
  if (length > 255) refuseShortString(value)
  const bytes = buffer.write(value, offset + 1)
  if (bytes > 255) refuseShortString(value)
  buffer[offset] = bytes
  return offset + 1 + bytes
}

function refuseShortString(value: string): never {
  throw new EncodingError(
    'string-too-long',
    `A name or short string may have 255 bytes of UTF-8; this one has ${Buffer.byteLength(value)}: "${value.slice(0, 40)}...".`,
  )
}

/** The most bytes that `writeLongString` may need. */
export function longStringBound(value: string | Uint8Array): number {
  return 4 + (typeof value === 'string' ? value.length * 3 : value.length)
}

/** Writes [length u32][bytes] and returns the offset behind it. */
export function writeLongString(buffer: Buffer, offset: number, value: string | Uint8Array): number {
  if (typeof value !== 'string') {
    writeLong(buffer, offset, value.length)
    buffer.set(value, offset + 4)
    return offset + 4 + value.length
  }
  const length = value.length
  if (length <= loopMaxLength) {
    let i = 0
    for (; i < length; i++) {
      const code = value.charCodeAt(i)
      if (code > 0x7f) break
      buffer[offset + 4 + i] = code
    }
    if (i === length) {
      writeLong(buffer, offset, length)
      return offset + 4 + length
    }
  }
  const bytes = buffer.write(value, offset + 4)
  writeLong(buffer, offset, bytes)
  return offset + 4 + bytes
}

/** Text that is probably met for the first time. Bytes that are no UTF-8 become U+FFFD. */
export function readText(buffer: Buffer, offset: number, length: number): string {
  return length === 0 ? '' : buffer.toString('utf8', offset, offset + length)
}

/** Text that probably came before: the same string is handed out again. Bytes that are no UTF-8 become U+FFFD. */
export function readRepeatedText(buffer: Buffer, offset: number, length: number): string {
  if (length === 0) return ''
  if (length > rememberedMaxLength) return readText(buffer, offset, length)
  const slot =
    (length * 29 + buffer[offset]! * 3 + buffer[offset + (length >>> 1)]! * 17 + buffer[offset + length - 1]! * 37) &
    (rememberedSlots - 1)
  const known = remembered[slot]!
  if (known.length === length) {
    let i = 0
    while (i < length && known.charCodeAt(i) === buffer[offset + i]) i++
    if (i === length) return known
  }
  const text = readText(buffer, offset, length)
  // Only ASCII has one byte for each character, which is what the comparison above relies on.
  if (text.length === length && isAscii(buffer, offset, length)) remembered[slot] = text
  return text
}

/** A name that decides something (which queue, which exchange): bytes that are no UTF-8 are a syntax error. */
export function readStrictText(buffer: Buffer, offset: number, length: number): string {
  const text = readRepeatedText(buffer, offset, length)
  if (text.includes('\uFFFD') && !isUtf8(buffer.subarray(offset, offset + length))) {
    throw AmqpError.of('syntax-error', 'a name is not valid UTF-8')
  }
  return text
}

function isAscii(buffer: Buffer, offset: number, length: number): boolean {
  for (let i = offset; i < offset + length; i++) if (buffer[i]! > 0x7f) return false
  return true
}
