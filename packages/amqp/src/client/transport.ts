/**
 * A socket that carries frames: opens it, reads and writes, keeps the heartbeat, and ends once.
 *
 * Whoever holds the transport gives it a handler; the handshake's is replaced by the connection's. `onEnd` is
 * called exactly once, whatever ends it: the server, the network, silence, or this side.
 */

import { connect as connectPlain, isIP, type NetConnectOpts, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { AmqpError } from '../errors.ts'
import { type FrameListener, FrameReader } from '../frame-reader.ts'
import { FrameWriter } from '../frame-writer.ts'
import { CONNECTION_CLOSE } from '../generated/methods.ts'
import { ConnectionError, socketFailure } from './connection-error.ts'
import type { ResolvedOptions } from './options.ts'
import { ReadSlab } from './read-slab.ts'

export interface TransportHandler extends FrameListener {
  /** The socket takes bytes again. */
  onDrain(): void
  /** Nothing will come or go any more; undefined: this side wanted it so. */
  onEnd(error: Error | undefined): void
}

/** Bytes that may wait in the socket before it counts as lagging. */
const writableHighWaterMark = 262_144

/** Most bytes that one read takes. */
const readBytes = 65_536

/** How long the other side may take to close its half after the goodbye, before ours is cut. */
const lingerMs = 1000

export class Transport {
  readonly writer: FrameWriter
  readonly reader: FrameReader
  /** Set by whoever takes over; frames come only after the socket is open. */
  handler: TransportHandler
  readonly #socket: Socket
  #opened = false
  #ended = false
  #heartbeat: NodeJS.Timeout | undefined

  /** Starts to connect. `onOpen` is called when bytes can flow, which with TLS is after its handshake. */
  constructor(options: ResolvedOptions, handler: TransportHandler, onOpen: () => void) {
    this.handler = handler
    this.reader = new FrameReader({
      onMethod: (channel, method) => this.handler.onMethod(channel, method),
      onContent: (channel, method, header, start, end, body) =>
        this.handler.onContent(channel, method, header, start, end, body),
      onHeartbeat: () => this.handler.onHeartbeat(),
      onProtocolHeader: header => this.handler.onProtocolHeader(header),
      onContentRefused: (channel, method, bodyBytes) => this.handler.onContentRefused(channel, method, bodyBytes),
    })
    const slab = new ReadSlab()
    const socket = openSocket(options, (length, buffer) => this.#onData(slab.take(buffer, length)))
    this.#socket = socket
    this.writer = new FrameWriter(bytes => socket.write(bytes))
    socket.once(options.tls === undefined ? 'connect' : 'secureConnect', () => {
      this.#opened = true
      onOpen()
    })
    socket.on('data', chunk => this.#onData(chunk))
    socket.on('drain', () => {
      this.writer.drained()
      this.handler.onDrain()
    })
    socket.on('error', error => this.end(socketFailure(error, this.#opened)))
    socket.on('close', () =>
      this.end(
        new ConnectionError('disconnected', `The connection to ${options.address} was closed by the other side.`),
      ),
    )
  }

  get ended(): boolean {
    return this.#ended
  }

  /** What the tuning agreed on. */
  tune(frameMax: number, heartbeatSeconds: number): void {
    this.reader.frameMax = frameMax
    this.writer.frameMax = frameMax
    if (heartbeatSeconds > 0) this.#startHeartbeat(heartbeatSeconds)
  }

  /** Cuts the socket at once, or with `linger` once what was written is on its way and the other side has closed too. */
  end(error: Error | undefined, linger = false): void {
    if (this.#ended) return
    this.#ended = true
    clearInterval(this.#heartbeat)
    this.reader.stop()
    if (linger) {
      this.writer.flush()
      this.#socket.end()
      // What still comes is not read by anybody, yet must be taken out for the close to be seen.
      this.#socket.resume()
      const timer = setTimeout(() => this.#socket.destroy(), lingerMs)
      this.#socket.once('close', () => clearTimeout(timer))
    } else {
      this.#socket.destroy()
    }
    this.writer.close()
    this.handler.onEnd(error)
  }

  /** Calls back when the socket is gone for good. */
  whenClosed(callback: () => void): void {
    if (this.#socket.closed) callback()
    else this.#socket.once('close', callback)
  }

  #onData(chunk: Buffer): void {
    try {
      this.reader.feed(chunk)
    } catch (error) {
      this.#refuse(error)
    }
  }

  /** The peer broke the protocol: it is told so, with the reply code, if it can be expected to understand. */
  #refuse(error: unknown): void {
    if (this.#ended) return
    if (!(error instanceof AmqpError)) {
      const text = error instanceof Error ? error.message : String(error)
      this.end(new ConnectionError('protocol', `Reading from the server failed: ${text}`, error))
      return
    }
    const { replyCode, replyText, classId, methodId } = error
    this.writer.method(0, { id: CONNECTION_CLOSE, replyCode, replyText: replyText.slice(0, 80), classId, methodId })
    this.end(new ConnectionError('protocol', `The server broke the protocol: ${error.message}`, error), true)
  }

  /**
   * Two ticks an interval. One that wrote nothing sends a heartbeat; four in a row that read nothing are two
   * intervals of silence (AMQP 0-9-1 section 4.2.7). Ticks are counted, not time: a process that was stopped, or
   * too busy to read, does not take its own silence for the server's.
   */
  #startHeartbeat(seconds: number): void {
    let written = this.#socket.bytesWritten
    let read = this.reader.bytesRead
    let silentTicks = 0
    const timer = setInterval(() => {
      if (this.#socket.bytesWritten === written) this.writer.heartbeat()
      written = this.#socket.bytesWritten
      silentTicks = this.reader.bytesRead === read ? silentTicks + 1 : 0
      read = this.reader.bytesRead
      if (silentTicks < 4) return
      this.end(new ConnectionError('heartbeat', `The server was silent for ${seconds * 2} s, two heartbeat intervals.`))
    }, seconds * 500)
    // An idle connection keeps the process alive by its socket, and by nothing else.
    timer.unref()
    this.#heartbeat = timer
  }
}

type OnRead = (length: number, buffer: Uint8Array) => void

/** `onRead` is given what plain sockets read; those with TLS emit their data. */
function openSocket(options: ResolvedOptions, onRead: OnRead): Socket {
  const { host, port, socketPath, tls } = options
  const address: NetConnectOpts = socketPath === undefined ? { host, port } : { path: socketPath }
  if (tls === undefined) {
    const onread = {
      buffer: Buffer.allocUnsafeSlow(readBytes),
      callback(length: number, buffer: Uint8Array): boolean {
        onRead(length, buffer)
        return true
      },
    }
    const streams = { writableHighWaterMark }
    // Without NODELAY a lone message waits for the acknowledgement of the one before it, some 40 ms.
    return connectPlain({ ...address, ...streams, onread, noDelay: true })
  }
  const servername = isIP(host) === 0 ? { servername: host } : {}
  const socket = connectTls({ ...servername, ...tls, ...address })
  socket.setNoDelay(true)
  return socket
}
