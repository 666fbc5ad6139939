/**
 * Many frames into few buffers. Frames are written side by side into a slab; once per turn of the event loop (or when
 * the slab is full) what is there goes to the sink in one piece. A slab's bytes are written once and never again, so
 * the sink may hold on to them as long as it likes.
 *
 *   slab  [sent ....][waiting for the flush ......][free ...........]
 *                    ^ #start                      ^ #offset
 *
 * A frame is complete or absent: whatever throws (EncodingError) throws before `#offset` moves.
 */

import {
  contentHeadLength,
  finishHeaderFrame,
  frameOverhead,
  heartbeatFrame,
  writeBodyHead,
  writeHeaderStart,
  writeMethodFrame,
} from './frame.ts'
import { FRAME_END } from './generated/constants.ts'
import { type ContentMethod, type Method, methodBound } from './generated/methods.ts'
import { type BasicProperties, propertiesBound, writeProperties } from './generated/properties.ts'

/** Takes what is to be sent, in order. False: it lags; call `drained()` when it no longer does. */
export type FrameSink = (bytes: Buffer) => boolean

export interface FrameWriterOptions {
  /** Largest frame to write, overhead included; 0: no limit. Default 0; set `frameMax` after tuning. */
  readonly frameMax?: number
  /** Bytes of a slab. Default 65,536: what one system call takes on a socket with default buffers. */
  readonly slabBytes?: number
}

/** Bodies from here on go to the sink as they are; smaller ones are cheaper to copy than to send as pieces of their own. */
const passThroughBytes = 16_384

export class FrameWriter {
  /** Largest frame to write, overhead included; 0: no limit. */
  frameMax: number
  readonly #sink: FrameSink
  readonly #slabBytes: number
  #slab: Buffer
  #start = 0
  #offset = 0
  #scheduled = false
  #lagging = false
  #closed = false
  readonly #onTick = (): void => {
    this.#scheduled = false
    this.flush()
  }

  constructor(sink: FrameSink, options: FrameWriterOptions = {}) {
    this.#sink = sink
    this.frameMax = options.frameMax ?? 0
    this.#slabBytes = options.slabBytes ?? 65_536
    this.#slab = Buffer.allocUnsafeSlow(this.#slabBytes)
  }

  /** False while the sink lags. Writing goes on all the same; whoever can wait, should. */
  get writable(): boolean {
    return !this.#lagging
  }

  /** Bytes that wait for the flush. */
  get pendingBytes(): number {
    return this.#offset - this.#start
  }

  /** To be called when the sink no longer lags. */
  drained(): void {
    this.#lagging = false
  }

  /** A method without content. Throws EncodingError. */
  method(channel: number, method: Method): void {
    const at = this.#reserve(methodBound(method) + frameOverhead)
    this.#commit(writeMethodFrame(this.#slab, at, channel, method, this.frameMax))
  }

  /**
   * A method with its content. Properties may be encoded already (from their flags on). A body of 16 KiB or more
   * is not copied: do not write to it before the sink is through with it. Throws EncodingError.
   */
  content(channel: number, method: ContentMethod, properties: BasicProperties | Uint8Array, body: Uint8Array): void {
    const encoded = properties instanceof Uint8Array
    const at = this.#reserve(
      methodBound(method) +
        (encoded ? properties.length : propertiesBound(properties)) +
        contentHeadLength +
        3 * frameOverhead +
        (body.length < passThroughBytes ? body.length : 0),
    )
    const headerAt = writeMethodFrame(this.#slab, at, channel, method, this.frameMax)
    this.#headerAndBody(headerAt, channel, properties, body)
  }

  /**
   * A content whose method frame was made before by `encodeMethodFrame`: for senders that repeat themselves. As
   * `content` otherwise.
   */
  contentBehind(
    methodFrame: Uint8Array,
    channel: number,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
  ): void {
    const encoded = properties instanceof Uint8Array
    const at = this.#reserve(
      methodFrame.length +
        (encoded ? properties.length : propertiesBound(properties)) +
        contentHeadLength +
        2 * frameOverhead +
        (body.length < passThroughBytes ? body.length : 0),
    )
    copySmall(methodFrame, this.#slab, at)
    this.#headerAndBody(at + methodFrame.length, channel, properties, body)
  }

  heartbeat(): void {
    this.bytes(heartbeatFrame)
  }

  /** Bytes as they are: a protocol header, frames made elsewhere. They are copied. */
  bytes(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length)
    this.#slab.set(bytes, at)
    this.#commit(at + bytes.length)
  }

  /** Hands everything to the sink now. */
  flush(): void {
    if (this.#offset === this.#start || this.#closed) return
    const bytes = this.#slab.subarray(this.#start, this.#offset)
    this.#start = this.#offset
    this.#send(bytes)
  }

  /** Writes nothing more; what waited is dropped (call `flush` before, if it should go). */
  close(): void {
    this.#closed = true
  }

  #send(bytes: Buffer): void {
    if (!this.#sink(bytes)) this.#lagging = true
  }

  /** Makes room for `bytes` in one piece and returns where they begin. */
  #reserve(bytes: number): number {
    if (this.#offset + bytes > this.#slab.length) {
      this.flush()
      this.#slab = Buffer.allocUnsafeSlow(Math.max(bytes, this.#slabBytes))
      this.#start = 0
      this.#offset = 0
    }
    return this.#offset
  }

  #commit(offset: number): void {
    this.#offset = offset
    if (!this.#scheduled) {
      this.#scheduled = true
      process.nextTick(this.#onTick)
    }
  }

  #headerAndBody(at: number, channel: number, properties: BasicProperties | Uint8Array, body: Uint8Array): void {
    const slab = this.#slab
    const propertiesAt = writeHeaderStart(slab, at, body.length)
    let end: number
    if (properties instanceof Uint8Array) {
      copySmall(properties, slab, propertiesAt)
      end = propertiesAt + properties.length
    } else {
      end = writeProperties(slab, propertiesAt, properties)
    }
    end = finishHeaderFrame(slab, at, end, channel, this.frameMax)
    const room = this.frameMax === 0 ? Number.POSITIVE_INFINITY : this.frameMax - frameOverhead
    if (body.length >= passThroughBytes || body.length > room) {
      this.#commit(end)
      this.#largeBody(channel, body, Math.min(room, body.length))
      return
    }
    if (body.length > 0) {
      end = writeBodyHead(slab, end, channel, body.length)
      copySmall(body, slab, end)
      end += body.length
      slab[end++] = FRAME_END
    }
    this.#commit(end)
  }

  /** Body frames of at most `room` bytes each, their bytes handed on without copying where that pays. */
  #largeBody(channel: number, body: Uint8Array, room: number): void {
    const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    for (let start = 0; start < bytes.length; start += room) {
      const part = bytes.subarray(start, start + room)
      const passThrough = part.length >= passThroughBytes
      let at = this.#reserve(frameOverhead + (passThrough ? 0 : part.length))
      at = writeBodyHead(this.#slab, at, channel, part.length)
      if (passThrough) {
        this.#offset = at
        this.flush()
        this.#send(part)
        at = this.#reserve(1)
      } else {
        this.#slab.set(part, at)
        at += part.length
      }
      this.#slab[at] = FRAME_END
      this.#commit(at + 1)
    }
  }
}

/** Below this a loop is faster than a call into the runtime; found by measuring. */
const loopMaxBytes = 16

function copySmall(from: Uint8Array, to: Uint8Array, at: number): void {
  if (from.length > loopMaxBytes) to.set(from, at)
  else for (let i = 0; i < from.length; i++) to[at + i] = from[i]!
}
