/**
 * One client: its socket, its handshake, its channels, its end.
 *
 *     shaking hands -> running -> closing (we sent connection.close and await close-ok) -> closed
 *                         |                                                                  ^
 *                         +------- the client closes, the socket breaks, heartbeats stop ----+
 *
 * Bounds. In: reading stops while the virtual host is blocked and this client publishes, while an answer waits for
 * the store, and while the client lags far behind in reading. Out: deliveries stop when `lagBytes` wait for the
 * socket, everything stops at `chokeBytes`. On both ways one chunk (64 KiB) or one turn of a queue may be added.
 */
import type { Socket } from 'node:net'
import {
  AmqpError,
  CHANNEL_OPEN,
  CHANNEL_OPEN_OK,
  CONNECTION_BLOCKED,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_OPEN_OK,
  CONNECTION_UNBLOCKED,
  type ContentMethod,
  type FrameListener,
  FrameReader,
  FrameWriter,
  type Method,
  protocolHeader,
} from '@chasqui/amqp'
import type { VirtualHost } from '../vhost/vhost.ts'
import type { Peer } from './access.ts'
import { Channel, type ChannelHost } from './channel.ts'
import { DueConfirms } from './due-confirms.ts'
import { Handshake, offered } from './handshake.ts'
import { Heartbeat, type HeartbeatPeer } from './heartbeat.ts'
import { BLOCKED, CHOKED, HELD, ReadGate, SHUTTING_DOWN } from './read-gate.ts'
import { asRefusal, closeFields } from './refusal.ts'

/** Bytes that wait for the socket at which deliveries stop. */
const lagBytes = 524_288
/** Bytes that wait for the socket at which nothing more is read: answers of any kind would add to them. */
const chokeBytes = 4_194_304
/** The largest body taken, in bytes: RabbitMQ's. */
const maxBodyBytes = 134_217_728
/** A client that has not shaken hands by then is cut off. Milliseconds, RabbitMQ's. */
const handshakeTimeoutMs = 10_000
/** How long a client may take to answer connection.close, and to close its side afterwards. Milliseconds. */
const closeTimeoutMs = 5_000
/** How long confirms may take to come before the broker closes all the same. Milliseconds. */
const confirmTimeoutMs = 2_000

export class Connection implements FrameListener, ChannelHost, HeartbeatPeer {
  readonly vhost: VirtualHost
  readonly writer: FrameWriter
  bytesWritten = 0
  cancelNotify = false
  readonly #socket: Socket
  readonly #reader: FrameReader
  readonly #gate: ReadGate
  readonly #handshake: Handshake
  readonly #channels = new Map<number, Channel>()
  readonly #stopListening: (() => void)[] = []
  #state: 'shaking hands' | 'running' | 'closing' | 'closed' = 'shaking hands'
  readonly #confirms = new DueConfirms()
  #lastChannel: Channel | undefined
  #heartbeat: Heartbeat | undefined
  #timer: NodeJS.Timeout | undefined
  #held = 0
  #lagging = false
  #toldBlocked = false

  /** `onGone` is called once, when the socket is closed. */
  constructor(socket: Socket, vhost: VirtualHost, peer: Peer, onGone: () => void) {
    this.#socket = socket
    this.vhost = vhost
    this.#gate = new ReadGate(socket)
    this.#handshake = new Handshake(vhost.name, peer)
    this.#reader = new FrameReader(this, { frameMax: offered.frameMax, maxBodyBytes, expectProtocolHeader: true })
    this.writer = new FrameWriter(bytes => this.#write(bytes))
    socket.on('data', chunk => this.#read(chunk as Buffer))
    socket.on('drain', () => this.#drained())
    // What follows an error is 'close', and a broken connection is no more than that.
    socket.on('error', () => undefined)
    socket.on('end', () => this.#gone())
    socket.on('close', () => {
      this.#gone()
      clearTimeout(this.#timer)
      onGone()
    })
    this.#destroyAfter(handshakeTimeoutMs)
  }

  get user(): string {
    return this.#handshake.user
  }

  get bytesRead(): number {
    return this.#reader.bytesRead
  }

  get reading(): boolean {
    return this.#gate.open
  }

  /**
   * Closes the connection because the broker stops: takes nothing more, tells the confirms that are due, says
   * connection.close and waits for the answer, all within bounds.
   */
  async shutDown(): Promise<void> {
    const closed = new Promise<void>(resolve => this.#socket.once('close', () => resolve()))
    if (this.#state === 'running') {
      this.#gate.close(SHUTTING_DOWN)
      // Clients of ours take the first for a promise: what is not confirmed by now was not taken.
      const reason = (await this.#confirmed()) ? 'shutdown' : 'shutdown before all confirms'
      const text = `broker forced connection closure with reason '${reason}'`
      this.fail(AmqpError.of('connection-forced', text, { scope: 'connection' }))
      this.#gate.lift(SHUTTING_DOWN)
    } else {
      this.#socket.destroy()
    }
    await closed
  }

  // What the reader reports

  onProtocolHeader(header: Buffer): void {
    if (protocolHeader.every((byte, index) => byte === header[index])) {
      this.writer.method(0, this.#handshake.start)
      return
    }
    // Say what is spoken here, and close (AMQP 0-9-1 section 4.2.2).
    this.writer.bytes(protocolHeader)
    this.#end()
  }

  onMethod(channel: number, method: Method): void {
    if (this.#state === 'running' && channel !== 0) {
      const known = this.#lastChannel?.number === channel ? this.#lastChannel : this.#channels.get(channel)
      if (known === undefined) {
        this.#onUnknownChannel(channel, method)
        return
      }
      this.#lastChannel = known
      known.onMethod(method)
      return
    }
    this.#onConnectionMethod(channel, method)
  }

  onContent(channel: number, method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void {
    const known = this.#forContent(channel, method)
    known?.onContent(method, header, start, end, body)
  }

  onContentRefused(channel: number, method: ContentMethod, bodyBytes: number): void {
    const known = this.#forContent(channel, method)
    known?.onContentRefused(
      method,
      AmqpError.of(
        'precondition-failed',
        `message size ${bodyBytes} is larger than configured max size ${maxBodyBytes}`,
      ),
    )
  }

  onHeartbeat(): void {
    // That bytes came in is what counts.
  }

  // What channels ask

  published(): void {
    if (this.vhost.blocked && !this.#gate.has(BLOCKED)) this.#block()
  }

  tellLater(channel: Channel): void {
    this.#confirms.tellLater(channel)
  }

  awaitCommit(channel: Channel): void {
    this.#confirms.awaitCommit(channel)
  }

  hold(): void {
    this.#held++
    this.#gate.close(HELD)
  }

  release(): void {
    if (--this.#held === 0) this.#gate.lift(HELD)
    this.#finishTurn()
  }

  channelGone(channel: Channel): void {
    this.#channels.delete(channel.number)
    this.#reader.resetChannel(channel.number)
    if (this.#lastChannel === channel) this.#lastChannel = undefined
  }

  fail(error: unknown, method?: Method): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    const refusal = asRefusal(error)
    this.#confirms.tell()
    this.#letGo()
    this.#state = 'closing'
    this.writer.method(0, { id: CONNECTION_CLOSE, ...closeFields(refusal, method) })
    this.writer.flush()
    this.#gate.lift(BLOCKED | HELD | CHOKED)
    this.#destroyAfter(closeTimeoutMs)
  }

  // What the heartbeat asks

  beat(): void {
    this.writer.heartbeat()
  }

  /** RabbitMQ says nothing here either: nobody is there to hear it. */
  silent(): void {
    this.#socket.destroy()
  }

  // Private, in order of first use

  #write(bytes: Buffer): boolean {
    this.bytesWritten += bytes.length
    this.#socket.write(bytes)
    const waiting = this.#socket.writableLength
    if (waiting < lagBytes) return true
    if (!this.#lagging) {
      this.#lagging = true
      for (const channel of this.#channels.values()) channel.session.flow(false)
    }
    if (waiting >= chokeBytes) this.#gate.close(CHOKED)
    return false
  }

  #drained(): void {
    this.writer.drained()
    if (!this.#lagging) return
    this.#lagging = false
    this.#gate.lift(CHOKED)
    for (const channel of this.#channels.values()) channel.session.flow(true)
  }

  #read(chunk: Buffer): void {
    if (this.#state === 'closed') return
    try {
      this.#reader.feed(chunk)
    } catch (error) {
      // The rest of the stream cannot be understood: say why, and close without waiting for an answer.
      if (this.#state !== 'closing') this.fail(error)
      this.#end()
      return
    }
    this.vhost.flush()
    this.#finishTurn()
  }

  /** The end of what one read, one sync or one release gave: everything to say leaves in one piece. */
  #finishTurn(): void {
    this.#confirms.tell()
    this.writer.flush()
  }

  #destroyAfter(ms: number): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#socket.destroy(), ms)
    this.#timer.unref()
  }

  /** Sends what is left and closes our side; the client has a while to read it and to close its own. */
  #end(): void {
    this.#letGo()
    this.#state = 'closed'
    this.#reader.stop()
    this.writer.flush()
    this.writer.close()
    this.#socket.end()
    this.#gate.lift(BLOCKED | HELD | CHOKED | SHUTTING_DOWN)
    this.#destroyAfter(closeTimeoutMs)
  }

  /** The socket is closed, or the client's side of it is. */
  #gone(): void {
    if (this.#state !== 'closed') this.#end()
  }

  /** Gives back what the engine holds for this client: consumers, unsettled deliveries, exclusive queues. Once. */
  #letGo(): void {
    if (this.#state === 'closing' || this.#state === 'closed') return
    for (const stop of this.#stopListening) stop()
    this.#heartbeat?.stop()
    for (const channel of this.#channels.values()) channel.drop()
    this.#channels.clear()
    this.#lastChannel = undefined
    this.#confirms.forgetWaiting()
    this.vhost.ownerGone(this)
  }

  #onUnknownChannel(channel: number, method: Method): void {
    if (method.id !== CHANNEL_OPEN) {
      this.fail(AmqpError.of('channel-error', "expected 'channel.open'"), method)
      return
    }
    const { channelMax } = this.#handshake.tuning
    if (this.#channels.size >= channelMax) {
      this.fail(
        AmqpError.of(
          'not-allowed',
          `number of channels opened (${this.#channels.size}) has reached the negotiated channel_max (${channelMax})`,
        ),
        method,
      )
      return
    }
    const opened = new Channel(channel, this)
    if (this.#lagging) opened.session.flow(false)
    this.#channels.set(channel, opened)
    this.writer.method(channel, { id: CHANNEL_OPEN_OK })
  }

  /** Channel 0, and everything that comes before or after the time of channels. */
  #onConnectionMethod(channel: number, method: Method): void {
    switch (this.#state) {
      case 'shaking hands':
        this.#onHandshakeMethod(channel, method)
        return
      case 'running':
        if (method.id === CONNECTION_CLOSE) this.#closedByClient()
        else this.fail(AmqpError.of('channel-error', 'unexpected method in connection state running'), method)
        return
      case 'closing':
        if (channel !== 0) return
        if (method.id === CONNECTION_CLOSE) this.#closedByClient()
        else if (method.id === CONNECTION_CLOSE_OK) this.#end()
    }
  }

  #onHandshakeMethod(channel: number, method: Method): void {
    try {
      if (channel !== 0) throw AmqpError.of('channel-error', 'the connection is not open yet')
      const answer = this.#handshake.next(method)
      if (answer === 'tuned') this.#tuned()
      else if (answer === 'open') this.#opened()
      else this.writer.method(0, answer)
    } catch (error) {
      const unwelcome = error instanceof AmqpError && error.replyCode === 403
      // Old clients take connection.close in place of connection.tune for a breach of the protocol.
      if (unwelcome && !this.#handshake.can('authentication_failure_close')) this.#end()
      else this.fail(error, unwelcome ? undefined : method)
    }
  }

  #tuned(): void {
    const { frameMax, heartbeat } = this.#handshake.tuning
    this.#reader.frameMax = frameMax
    this.writer.frameMax = frameMax
    if (heartbeat > 0) this.#heartbeat = new Heartbeat(this, heartbeat)
  }

  #opened(): void {
    clearTimeout(this.#timer)
    this.#state = 'running'
    this.cancelNotify = this.#handshake.can('consumer_cancel_notify')
    this.#stopListening.push(
      this.vhost.onCommitted(committed => this.#onCommitted(committed)),
      this.vhost.onBlocked(blocked => {
        if (!blocked) this.#unblock()
      }),
    )
    this.writer.method(0, { id: CONNECTION_OPEN_OK })
  }

  #closedByClient(): void {
    this.#letGo()
    this.writer.method(0, { id: CONNECTION_CLOSE_OK })
    this.#end()
  }

  #forContent(channel: number, method: ContentMethod): Channel | undefined {
    if (this.#state !== 'running') {
      if (this.#state === 'shaking hands') this.#onHandshakeMethod(channel, method)
      return undefined
    }
    if (this.#lastChannel?.number === channel) return this.#lastChannel
    const known = this.#channels.get(channel)
    if (known === undefined) this.#onUnknownChannel(channel, method)
    else this.#lastChannel = known
    return known
  }

  /**
   * As in RabbitMQ a client is blocked when it publishes, not before: those who only consume go on, and help to get
   * below the limit.
   */
  #block(): void {
    this.#gate.close(BLOCKED)
    if (this.#toldBlocked || !this.#handshake.can('connection.blocked')) return
    this.#toldBlocked = true
    this.writer.method(0, { id: CONNECTION_BLOCKED, reason: this.vhost.blockedReason })
  }

  #unblock(): void {
    this.#gate.lift(BLOCKED)
    if (!this.#toldBlocked) return
    this.#toldBlocked = false
    this.writer.method(0, { id: CONNECTION_UNBLOCKED })
  }

  #onCommitted(committed: number): void {
    if (this.#confirms.committed(committed)) this.#finishTurn()
  }

  /** Resolves to true when no publish of this client waits for the store, to false after a while. */
  #confirmed(): Promise<boolean> {
    return new Promise(resolve => {
      const done = () => {
        clearTimeout(timer)
        stop()
        resolve(this.#confirms.settled)
      }
      const timer = setTimeout(done, confirmTimeoutMs)
      const stop = this.vhost.onCommitted(() => {
        if (this.#confirms.settled) done()
      })
      if (this.#confirms.settled) done()
    })
  }
}
