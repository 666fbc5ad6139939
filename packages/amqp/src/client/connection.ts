/**
 * One connection to a broker.
 *
 *   connect() --handshake--> open --close()--> closing --close-ok--> closed
 *                             |                   |
 *                             +-- connection.close of the server, lost socket, silence, destroy() --> closed
 *
 * It does not reconnect: what was on a connection ends with it, and everybody who waited hears why. Many frames go
 * out in one write, once a turn of the event loop; frames that came in are handled inside the reading of their chunk.
 */

import { AmqpError } from '../errors.ts'
import type { FieldTable } from '../field-table.ts'
import {
  BASIC_DELIVER,
  CONNECTION_BLOCKED,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_UNBLOCKED,
  type ContentMethod,
  type Method,
  methodNames,
} from '../generated/methods.ts'
import { Channel } from './channel.ts'
import type { ChannelHost, ChannelPort } from './channel-port.ts'
import { ConnectionError } from './connection-error.ts'
import { FlushQueue } from './flush-queue.ts'
import { type Opened, openTransport } from './handshake.ts'
import { Listeners } from './listeners.ts'
import { type ConnectionOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import type { Transport } from './transport.ts'

/**
 * Opens a connection. Rejects with ConnectionError: `refused`, `unreachable`, `timeout`, `tls`, `authentication`,
 * `access`, `protocol`, `disconnected` or `option-invalid`.
 */
export async function connect(options: ConnectionOptions = {}): Promise<Connection> {
  const resolved = resolveOptions(options)
  return new Promise((resolve, reject) => {
    // The connection takes over inside the reading of the last frame: what stands behind it in the chunk is its own.
    openTransport(resolved, opened => resolve(new Connection(opened, resolved)), reject)
  })
}

export class Connection {
  /** What the server says about itself: product, version, capabilities. */
  readonly serverProperties: FieldTable
  /** Largest frame agreed on, in bytes; 0: no limit. */
  readonly frameMax: number
  /** Highest channel number agreed on. */
  readonly channelMax: number
  /** Heartbeat interval agreed on; 0: none. */
  readonly heartbeatSeconds: number
  readonly #transport: Transport
  readonly #options: ResolvedOptions
  readonly #host: ChannelHost
  /** Open channels by their number. */
  readonly #ports: (ChannelPort | undefined)[] = []
  readonly #freeNumbers: number[] = []
  #highestNumber = 0
  readonly #closeListeners = new Listeners<[error: AmqpError | ConnectionError | undefined]>()
  readonly #blockedListeners = new Listeners<[reason: string]>()
  readonly #unblockedListeners = new Listeners<[]>()
  readonly #drainListeners = new Listeners<[]>()
  #state: 'open' | 'closing' | 'closed' = 'open'
  #closing: Promise<void> | undefined
  #closeReason: AmqpError | ConnectionError | undefined
  #blockedReason: string | undefined
  readonly #flushQueue: FlushQueue

  /** For `connect`. */
  constructor(opened: Opened, options: ResolvedOptions) {
    const { transport, tuning } = opened
    this.serverProperties = opened.serverProperties
    this.frameMax = tuning.frameMax
    this.channelMax = tuning.channelMax
    this.heartbeatSeconds = tuning.heartbeat
    this.#transport = transport
    this.#options = options
    this.#flushQueue = new FlushQueue(transport.writer)
    this.#host = {
      writer: transport.writer,
      flushQueue: this.#flushQueue,
      release: channelNumber => {
        this.#ports[channelNumber] = undefined
        this.#freeNumbers.push(channelNumber)
        transport.reader.resetChannel(channelNumber)
      },
      fail: error => transport.end(error),
    }
    transport.handler = {
      onMethod: (channel, method) => this.#onMethod(channel, method),
      onContent: (channel, method, header, start, end, body) =>
        this.#onContent(channel, method, header, start, end, body),
      onContentRefused: (channel, _method, bodyBytes) =>
        this.#fail(`a message of ${bodyBytes} bytes on channel ${channel}, more than any broker sends`),
      onHeartbeat: () => undefined,
      onProtocolHeader: () => this.#fail('a protocol header in the midst of the connection'),
      onDrain: () => this.#drainListeners.call(error => this.#listenerFailed(error)),
      onEnd: error => this.#onEnd(error),
    }
  }

  /** True from the moment when nothing can be asked any more. */
  get closed(): boolean {
    return this.#state !== 'open'
  }

  /** The broker takes no messages at present (memory or disk alarm): what is published waits in buffers. */
  get blocked(): boolean {
    return this.#blockedReason !== undefined
  }

  /** False while the socket lags behind; publishing goes on into memory. Wait for `onDrain` where you can. */
  get writable(): boolean {
    return this.#state === 'open' && this.#transport.writer.writable
  }

  // Each takes any number of listeners and returns the function that takes this one off again.

  onBlocked(listener: (reason: string) => void): () => void {
    return this.#blockedListeners.add(listener)
  }

  onUnblocked(listener: () => void): () => void {
    return this.#unblockedListeners.add(listener)
  }

  /** `writable` is true again. */
  onDrain(listener: () => void): () => void {
    return this.#drainListeners.add(listener)
  }

  /**
   * Called once, after the channels' own: with the server's error (AmqpError), with ours (ConnectionError), or with
   * undefined after `close()` or `destroy()`.
   */
  onClose(listener: (error: AmqpError | ConnectionError | undefined) => void): () => void {
    return this.#closeListeners.add(listener)
  }

  /** Rejects with `channels-exhausted` where all numbers are taken, and with its reason on a closed connection. */
  async openChannel(): Promise<Channel> {
    if (this.#state !== 'open') {
      throw this.#closeReason ?? new ConnectionError('closed', 'The connection is closed. Open another one.')
    }
    const channelNumber = this.#freeNumbers.pop() ?? this.#highestNumber + 1
    if (channelNumber > this.channelMax) {
      throw new ConnectionError(
        'channels-exhausted',
        `All ${this.channelMax} channels of the connection are in use. Close some, or open another connection.`,
      )
    }
    this.#highestNumber = Math.max(this.#highestNumber, channelNumber)
    return new Channel(this.#host, channelNumber, port => {
      this.#ports[channelNumber] = port
    }).open()
  }

  /**
   * Says goodbye: what was written is done first, channels close with `undefined`, confirms that do not come before
   * the server's answer are lost. Resolves when the socket is closed, also when it was lost on the way or the server
   * took longer than `closeTimeoutMs`. May be called twice.
   */
  close(): Promise<void> {
    this.#closing ??= this.#startClosing()
    return this.#closing
  }

  #startClosing(): Promise<void> {
    const gone = new Promise<void>(resolve => this.#transport.whenClosed(resolve))
    if (this.#state !== 'open') return gone
    this.#state = 'closing'
    this.#flushQueue.run()
    const goodbye = { replyCode: 200, replyText: 'Goodbye', classId: 0, methodId: 0 }
    this.#transport.writer.method(0, { id: CONNECTION_CLOSE, ...goodbye })
    this.#transport.writer.flush()
    const timer = setTimeout(() => this.#transport.end(undefined), this.#options.closeTimeoutMs)
    return gone.then(() => clearTimeout(timer))
  }

  /** Cuts at once. What was not yet written is lost; everybody who waits is told `error`, or that it was closed. */
  destroy(error?: Error): void {
    this.#transport.end(error)
  }

  #onMethod(channel: number, method: Method): void {
    const port = this.#ports[channel]
    if (port !== undefined) port.onMethod(method)
    else if (channel === 0) this.#onConnectionMethod(method)
    else this.#fail(`${methodNames.get(method.id)} on channel ${channel}, which is not open`)
  }

  #onContent(channel: number, method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void {
    // Given back with the connection, which is about to end.
    if (this.#state !== 'open' && method.id === BASIC_DELIVER) return
    const port = this.#ports[channel]
    if (port !== undefined) port.onContent(method, header, start, end, body)
    else this.#fail(`a message on channel ${channel}, which is not open`)
  }

  #onConnectionMethod(method: Method): void {
    switch (method.id) {
      case CONNECTION_BLOCKED:
        this.#blockedReason = method.reason
        this.#blockedListeners.call(error => this.#listenerFailed(error), method.reason)
        return
      case CONNECTION_UNBLOCKED:
        this.#blockedReason = undefined
        this.#unblockedListeners.call(error => this.#listenerFailed(error))
        return
      case CONNECTION_CLOSE: {
        const { replyCode, replyText, classId, methodId } = method
        this.#transport.writer.method(0, { id: CONNECTION_CLOSE_OK })
        this.#transport.end(new AmqpError(replyCode, replyText, { scope: 'connection', classId, methodId }), true)
        return
      }
      case CONNECTION_CLOSE_OK:
        if (this.#state === 'closing') this.#transport.end(undefined)
        else this.#fail('connection.close-ok, which nobody asked for')
        return
      default:
        this.#fail(`${methodNames.get(method.id)} on channel 0`)
    }
  }

  #onEnd(error: Error | undefined): void {
    const reason =
      error === undefined || error instanceof AmqpError || error instanceof ConnectionError
        ? error
        : new ConnectionError('disconnected', error.message, error)
    this.#state = 'closed'
    this.#blockedReason = undefined
    this.#flushQueue.stop()
    this.#closeReason = reason
    const ports = this.#ports.filter(port => port !== undefined)
    this.#ports.length = 0
    for (const port of ports) port.onConnectionClosed(reason)
    this.#closeListeners.call(warn, reason)
  }

  #fail(what: string): void {
    this.#transport.end(new ConnectionError('protocol', `The server broke the protocol: it sent ${what}.`))
  }

  #listenerFailed(cause: unknown): void {
    const text = cause instanceof Error ? cause.message : String(cause)
    this.#transport.end(new ConnectionError('listener-failed', `A listener of the connection threw: ${text}`, cause))
  }
}

/** A close listener that throws has no connection left to end: the process is warned, and goes on. */
function warn(error: unknown): void {
  process.emitWarning(error instanceof Error ? error : String(error))
}
