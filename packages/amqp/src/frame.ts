/**
 * One frame (AMQP 0-9-1 section 2.3.5), and the eight bytes that come before the first:
 *
 *   frame    [type u8][channel u16][size u32][payload, size bytes][0xCE]
 *   method   [class u16][method u16][fields]
 *   header   [class u16][weight u16 = 0][body size u64][flags u16][properties]
 *   body     [bytes]
 *   opening  'A' 'M' 'Q' 'P' 0 0 9 1
 */

import { EncodingError } from './errors.ts'
import {
  FRAME_BODY,
  FRAME_END,
  FRAME_HEADER,
  FRAME_HEARTBEAT,
  FRAME_METHOD,
  protocolVersion,
} from './generated/constants.ts'
import { BASIC_PUBLISH, type Method, methodBound, methodNames, writeMethod } from './generated/methods.ts'
import { writeLong, writeLongLong, writeShort } from './integer.ts'

/** What a client sends first, and what a server sends back before it closes when it speaks nothing that was asked for. */
export const protocolHeader: Uint8Array = Uint8Array.of(
  0x41,
  0x4d,
  0x51,
  0x50,
  0,
  protocolVersion.major,
  protocolVersion.minor,
  protocolVersion.revision,
)

/** Bytes of a frame that are not payload, and how many of them stand before it. */
export const frameOverhead = 8
export const frameHeadLength = 7

/** Bytes of a content header's payload before the properties. */
export const contentHeadLength = 12

/** The class of every method that has content. */
export const basicClass = BASIC_PUBLISH >>> 16

export const heartbeatFrame: Uint8Array = Uint8Array.of(FRAME_HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END)

/** Writes a frame's head; the payload begins at the offset returned. */
function writeFrameHead(buffer: Uint8Array, offset: number, type: number, channel: number, size: number): number {
  buffer[offset] = type
  return writeLong(buffer, writeShort(buffer, offset + 1, channel), size)
}

/** Writes a whole method frame and returns the offset behind it. Throws `frame-too-large` beyond `frameMax` (0: no limit). */
export function writeMethodFrame(
  buffer: Buffer,
  offset: number,
  channel: number,
  method: Method,
  frameMax: number,
): number {
  const end = writeMethod(buffer, offset + frameHeadLength, method)
  const size = end - offset - frameHeadLength
  if (frameMax !== 0 && size + frameOverhead > frameMax) {
    throw new EncodingError(
      'frame-too-large',
      `${methodNames.get(method.id)} takes ${size + frameOverhead} bytes and the peer allows ${frameMax} in a frame. Shorten its arguments.`,
    )
  }
  writeFrameHead(buffer, offset, FRAME_METHOD, channel, size)
  buffer[end] = FRAME_END
  return end + 1
}

/** A method frame on its own. */
export function encodeMethodFrame(channel: number, method: Method, frameMax = 0): Buffer {
  const buffer = Buffer.allocUnsafe(methodBound(method) + frameOverhead)
  return buffer.subarray(0, writeMethodFrame(buffer, 0, channel, method, frameMax))
}

/** Writes a content header's frame around properties that are encoded already, or that `finishHeaderFrame` follows. */
export function writeHeaderStart(buffer: Buffer, offset: number, bodySize: number): number {
  const at = offset + frameHeadLength
  writeShort(buffer, at, basicClass)
  writeShort(buffer, at + 2, 0)
  return writeLongLong(buffer, at + 4, bodySize)
}

/** Closes the header frame that began at `offset` and whose properties end at `end`. */
export function finishHeaderFrame(
  buffer: Buffer,
  offset: number,
  end: number,
  channel: number,
  frameMax: number,
): number {
  const size = end - offset - frameHeadLength
  if (frameMax !== 0 && size + frameOverhead > frameMax) {
    throw new EncodingError(
      'frame-too-large',
      `The properties and headers of a message take ${size + frameOverhead} bytes and the peer allows ${frameMax} in a frame. Move some of them into the body.`,
    )
  }
  writeFrameHead(buffer, offset, FRAME_HEADER, channel, size)
  buffer[end] = FRAME_END
  return end + 1
}

/** Writes the head of a body frame. */
export function writeBodyHead(buffer: Buffer, offset: number, channel: number, size: number): number {
  return writeFrameHead(buffer, offset, FRAME_BODY, channel, size)
}
