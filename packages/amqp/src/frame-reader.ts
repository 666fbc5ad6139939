/**
 * Chunks cut anywhere in, whole methods and whole contents out.
 *
 * Everything that lies whole in one chunk is read in place: method fields, properties and bodies are views of it or
 * are made straight from it. A frame that a chunk's edge cuts is put together in a buffer of its own, which grows
 * with what arrives, so that an announced size costs a liar's peer nothing.
 *
 *   chunk n                       chunk n+1
 *   [frame][frame][fra            me][frame][frame]
 *   in place      -> carried: [frame] <- and in place again
 *
 * Reading stops for good at the first error: `feed` throws an AmqpError that says how to close the connection, and
 * again on each further call.
 */

import { OpenContent } from './content.ts'
import { AmqpError } from './errors.ts'
import { basicClass, contentHeadLength, frameHeadLength, frameOverhead } from './frame.ts'
import { FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD } from './generated/constants.ts'
import { type ContentMethod, hasContent, type Method, readMethod } from './generated/methods.ts'
import { readLong, readLongLong, readShort } from './integer.ts'

/**
 * What a reader reports to. Calls come from inside `feed`, in the order of the wire. What a listener throws ends
 * the reading: deal with errors of one channel inside.
 */
export interface FrameListener {
  /** A method without content. */
  onMethod(channel: number, method: Method): void
  /**
   * A method with its content. The encoded properties, from their flags on, lie in `header` from `start` up to
   * `end` (see `readProperties`). Header and body are views of memory that nobody writes to again.
   */
  onContent(channel: number, method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void
  onHeartbeat(): void
  /** The eight bytes that open a connection, or the bytes that came in their place (the peer speaks something else). */
  onProtocolHeader(header: Buffer): void
  /** A body beyond `maxBodyBytes`; its frames are dropped and the other channels go on. */
  onContentRefused(channel: number, method: ContentMethod, bodyBytes: number): void
}

export interface FrameReaderOptions {
  /** Largest frame to take, overhead included; 0: no limit. Default 0; set `frameMax` after tuning. */
  readonly frameMax?: number
  /** Largest body to take. Default: 134,217,728 (128 MiB), which is RabbitMQ's. */
  readonly maxBodyBytes?: number
  /** A server's side: the stream begins with a protocol header. Default false: one is reported, but not demanded. */
  readonly expectProtocolHeader?: boolean
}

const protocolHeaderLength = 8
const firstLetter = 0x41

/** First size of the buffer for a frame that a chunk's edge cuts, unless the frame is smaller. */
const carryStartBytes = 4096

export class FrameReader {
  /** Largest frame to take, overhead included; 0: no limit. */
  frameMax: number
  /** Bytes that came in so far; a peer whose count stands still is silent. */
  bytesRead = 0
  readonly #listener: FrameListener
  readonly #maxBodyBytes: number
  readonly #expectProtocolHeader: boolean
  #atStart = true
  #stopped = false
  #failure: unknown
  /** The frame that the last chunk ended in, its first `#carried` bytes. */
  #carry: Buffer | undefined
  #carried = 0
  /** The open content of the channel that was last busy, and those of the others. */
  #openChannel = -1
  #open: OpenContent | undefined
  readonly #others = new Map<number, OpenContent>()

  constructor(listener: FrameListener, options: FrameReaderOptions = {}) {
    this.#listener = listener
    this.frameMax = options.frameMax ?? 0
    this.#maxBodyBytes = options.maxBodyBytes ?? 134_217_728
    this.#expectProtocolHeader = options.expectProtocolHeader ?? false
  }

  /** Reads no further: also the rest of the chunk that is being read is dropped. */
  stop(): void {
    this.#stopped = true
    this.#carry = undefined
    this.#open = undefined
    this.#others.clear()
  }

  /** Forgets what a channel was in the middle of: its number is about to be used anew. */
  resetChannel(channel: number): void {
    if (channel === this.#openChannel) this.#open = undefined
    this.#others.delete(channel)
  }

  /**
   * Takes the next bytes. The chunk must not be written to afterwards: bodies are views of it. Throws an
   * AmqpError (501, 502, 505, 540) where they break the protocol.
   */
  feed(chunk: Buffer): void {
    if (this.#failure !== undefined) throw this.#failure
    if (this.#stopped) return
    this.bytesRead += chunk.length
    try {
      this.#read(chunk)
    } catch (error) {
      this.#failure = error
      this.stop()
      throw error
    }
  }

  #read(chunk: Buffer): void {
    let at = 0
    if (this.#atStart) at = this.#readStart(chunk)
    if (this.#carry !== undefined) at = this.#completeCarry(chunk, at)
    const end = chunk.length
    while (at + frameHeadLength <= end) {
      if (this.#stopped) return
      const size = readLong(chunk, at + 3)
      this.#checkSize(chunk[at]!, size)
      const next = at + size + frameOverhead
      if (next > end) break
      this.#frame(chunk, at, next)
      at = next
    }
    if (at < end && !this.#stopped) {
      if (chunk[at]! > FRAME_HEARTBEAT) refuseType(chunk[at]!)
      this.#startCarry(chunk, at)
    }
  }

  /** Nothing but a protocol header may begin with an 'A'. */
  #readStart(chunk: Buffer): number {
    if (chunk.length === 0 && this.#carry === undefined) return 0
    const first = this.#carry === undefined ? chunk[0] : this.#carry[0]
    if (first !== firstLetter) {
      this.#atStart = false
      if (this.#expectProtocolHeader) {
        this.#listener.onProtocolHeader(Buffer.from(chunk.subarray(0, protocolHeaderLength)))
        return Math.min(chunk.length, protocolHeaderLength)
      }
      return 0
    }
    const carry = this.#carry ?? Buffer.alloc(protocolHeaderLength)
    const taken = chunk.copy(carry, this.#carried, 0, protocolHeaderLength - this.#carried)
    this.#carried += taken
    this.#carry = carry
    if (this.#carried === protocolHeaderLength) {
      this.#atStart = false
      this.#carry = undefined
      this.#carried = 0
      this.#listener.onProtocolHeader(carry)
    }
    return taken
  }

  #checkSize(type: number, size: number): void {
    if (type > FRAME_HEARTBEAT) refuseType(type)
    if (this.frameMax !== 0 && size + frameOverhead > this.frameMax) {
      throw AmqpError.of(
        'frame-error',
        `type ${type} frame of ${size + frameOverhead} bytes, the maximum is ${this.frameMax}`,
      )
    }
  }

  #startCarry(chunk: Buffer, at: number): void {
    const rest = chunk.length - at
    const carry = Buffer.allocUnsafeSlow(Math.max(rest, Math.min(carryStartBytes, this.#carryTarget(chunk, at, rest))))
    chunk.copy(carry, 0, at)
    this.#carry = carry
    this.#carried = rest
  }

  /** How long the frame will be that is carried, as far as can be told. */
  #carryTarget(buffer: Buffer, at: number, have: number): number {
    return have < frameHeadLength ? frameHeadLength : readLong(buffer, at + 3) + frameOverhead
  }

  /** Adds to the carried frame what it lacks; hands it on when it is whole. Returns where the chunk goes on. */
  #completeCarry(chunk: Buffer, start: number): number {
    if (this.#atStart) return start
    let at = start
    while (at < chunk.length) {
      let carry = this.#carry!
      const target = this.#carryTarget(carry, 0, this.#carried)
      if (this.#carried >= frameHeadLength) this.#checkSize(carry[0]!, target - frameOverhead)
      const wanted = Math.min(target - this.#carried, chunk.length - at)
      if (this.#carried + wanted > carry.length) {
        const grown = Buffer.allocUnsafeSlow(Math.min(target, Math.max(this.#carried + wanted, carry.length * 2)))
        carry.copy(grown, 0, 0, this.#carried)
        this.#carry = carry = grown
      }
      chunk.copy(carry, this.#carried, at, at + wanted)
      this.#carried += wanted
      at += wanted
      if (target > frameHeadLength && this.#carried === target) {
        this.#carry = undefined
        this.#carried = 0
        this.#frame(carry, 0, target)
        return at
      }
    }
    if (this.#carried >= frameHeadLength) this.#checkSize(this.#carry![0]!, readLong(this.#carry!, 3))
    return at
  }

  /** One whole frame, from `at` up to `next`. */
  #frame(buffer: Buffer, at: number, next: number): void {
    if (buffer[next - 1] !== FRAME_END) {
      throw AmqpError.of('frame-error', `a frame ends in 0x${buffer[next - 1]!.toString(16)} instead of 0xce`)
    }
    const channel = readShort(buffer, at + 1)
    const payload = at + frameHeadLength
    const end = next - 1
    switch (buffer[at]) {
      case FRAME_METHOD:
        this.#method(channel, buffer, payload, end)
        break
      case FRAME_HEADER:
        this.#header(channel, buffer, payload, end)
        break
      case FRAME_BODY:
        this.#body(channel, buffer, payload, end)
        break
      case FRAME_HEARTBEAT:
        if (channel !== 0 || end !== payload) {
          throw AmqpError.of('frame-error', 'a heartbeat has a channel or a payload')
        }
        this.#listener.onHeartbeat()
        break
      default:
        refuseType(buffer[at]!)
    }
  }

  #method(channel: number, buffer: Buffer, at: number, end: number): void {
    if (this.#openOf(channel) !== undefined) {
      throw AmqpError.of('unexpected-frame', `expected content on channel ${channel}, got a method`)
    }
    const method = readMethod(buffer, at, end)
    if (!hasContent(method.id)) {
      this.#listener.onMethod(channel, method)
      return
    }
    if (channel === 0) throw AmqpError.of('unexpected-frame', 'a content on channel 0, which carries none')
    this.#open = new OpenContent(method as ContentMethod)
    this.#openChannel = channel
  }

  #header(channel: number, buffer: Buffer, at: number, end: number): void {
    const open = this.#openOf(channel)
    if (open === undefined || open.header !== undefined) {
      throw AmqpError.of('unexpected-frame', `a content header on channel ${channel} where none was expected`)
    }
    if (at + contentHeadLength + 2 > end) throw AmqpError.of('frame-error', 'a content header is cut short')
    if (readShort(buffer, at) !== basicClass) {
      throw AmqpError.of(
        'unexpected-frame',
        `a content header of class ${readShort(buffer, at)} behind a method of class basic`,
      )
    }
    const bodyBytes = readLongLong(buffer, at + 4)
    open.header = buffer
    open.headerStart = at + contentHeadLength
    open.headerEnd = end
    open.missing = bodyBytes
    if (bodyBytes > this.#maxBodyBytes) {
      open.refused = true
      this.#listener.onContentRefused(channel, open.method, bodyBytes)
    } else if (bodyBytes === 0) {
      this.#finish(channel, open, emptyBody)
    }
  }

  #body(channel: number, buffer: Buffer, at: number, end: number): void {
    const open = this.#openOf(channel)
    if (open?.header === undefined) {
      throw AmqpError.of('unexpected-frame', `a body on channel ${channel} where none was expected`)
    }
    // The usual case, without a detour over a list of parts.
    const part = buffer.subarray(at, end)
    const whole = open.untouched && part.length === open.missing
    if (!whole) open.add(part)
    else open.missing = 0
    if (open.missing > 0) return
    if (open.refused) this.#close(channel)
    else this.#finish(channel, open, whole ? part : open.body())
  }

  #finish(channel: number, open: OpenContent, body: Buffer): void {
    this.#close(channel)
    this.#listener.onContent(channel, open.method, open.header!, open.headerStart, open.headerEnd, body)
  }

  #openOf(channel: number): OpenContent | undefined {
    if (channel === this.#openChannel) return this.#open
    if (this.#open !== undefined) this.#others.set(this.#openChannel, this.#open)
    this.#openChannel = channel
    this.#open = this.#others.size === 0 ? undefined : this.#others.get(channel)
    if (this.#open !== undefined) this.#others.delete(channel)
    return this.#open
  }

  #close(channel: number): void {
    if (channel === this.#openChannel) this.#open = undefined
    else this.#others.delete(channel)
  }
}

const emptyBody = Buffer.alloc(0)

function refuseType(type: number): never {
  throw AmqpError.of('frame-error', `no frame has the type ${type}`)
}
