/**
 * Unsigned integers in network order (AMQP 0-9-1 section 4.2.5.1), written and read by index: on V8 faster than
 * Buffer's checked accessors. Callers have checked the bounds of the buffer; values are checked here.
 */

import { EncodingError } from './errors.ts'

/** 2^32: the weight of the upper half of a 64-bit integer. */
const upperWeight = 0x1_0000_0000

function refuse(value: unknown, max: number | string): never {
  throw new EncodingError('out-of-range', `${String(value)} is not an integer between 0 and ${max}.`)
}

export function writeOctet(buffer: Uint8Array, offset: number, value: number): number {
  if (value >>> 0 !== value || value > 0xff) refuse(value, 0xff)
  buffer[offset] = value
  return offset + 1
}

export function writeShort(buffer: Uint8Array, offset: number, value: number): number {
  if (value >>> 0 !== value || value > 0xffff) refuse(value, 0xffff)
  buffer[offset] = value >>> 8
  buffer[offset + 1] = value
  return offset + 2
}

export function writeLong(buffer: Uint8Array, offset: number, value: number): number {
  if (value >>> 0 !== value) refuse(value, 0xffff_ffff)
  buffer[offset] = value >>> 24
  buffer[offset + 1] = value >>> 16
  buffer[offset + 2] = value >>> 8
  buffer[offset + 3] = value
  return offset + 4
}

/** Any integer from 0 to 2^53 - 1; what lies beyond has no exact number in JavaScript. */
export function writeLongLong(buffer: Uint8Array, offset: number, value: number): number {
  if (!Number.isSafeInteger(value) || value < 0) refuse(value, '2^53 - 1')
  const upper = Math.floor(value / upperWeight)
  const lower = value >>> 0
  buffer[offset] = upper >>> 24
  buffer[offset + 1] = upper >>> 16
  buffer[offset + 2] = upper >>> 8
  buffer[offset + 3] = upper
  buffer[offset + 4] = lower >>> 24
  buffer[offset + 5] = lower >>> 16
  buffer[offset + 6] = lower >>> 8
  buffer[offset + 7] = lower
  return offset + 8
}

export function readShort(buffer: Uint8Array, offset: number): number {
  return (buffer[offset]! << 8) | buffer[offset + 1]!
}

export function readLong(buffer: Uint8Array, offset: number): number {
  return (
    ((buffer[offset]! << 24) | (buffer[offset + 1]! << 16) | (buffer[offset + 2]! << 8) | buffer[offset + 3]!) >>> 0
  )
}

/** Beyond 2^53 the nearest number: no delivery tag or time of the real world gets there. */
export function readLongLong(buffer: Uint8Array, offset: number): number {
  return readLong(buffer, offset) * upperWeight + readLong(buffer, offset + 4)
}
