/**
 * One channel of a connection: what a client asks for goes to a session of the engine, what it says goes back.
 *
 *     open -> closing (we refused something; only close-ok is awaited) -> gone
 *
 * Methods are carried out in order, and their answers leave in order. An answer that waits for the store holds up
 * what comes behind it on this channel; the connection reads nothing more meanwhile, so what is held is bounded by
 * the chunk that was being read.
 */
import {
  AmqpError,
  BASIC_CANCEL,
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_FLOW,
  CHANNEL_FLOW_OK,
  CHANNEL_OPEN,
  type ContentMethod,
  type FrameWriter,
  type Method,
} from '@chasqui/amqp'
import type { Session } from '../vhost/session.ts'
import type { VirtualHost } from '../vhost/vhost.ts'
import { Confirms } from './confirms.ts'
import { deliver, onBasicMethod, onPublish } from './methods/basic.ts'
import { onConfirmMethod } from './methods/confirm.ts'
import { onExchangeMethod } from './methods/exchange.ts'
import { onQueueMethod } from './methods/queue.ts'
import { onTxMethod } from './methods/tx.ts'
import { unimplemented } from './methods/unimplemented.ts'
import { closeFields } from './refusal.ts'

/** The connection as its channels see it. */
export interface ChannelHost {
  readonly vhost: VirtualHost
  readonly writer: FrameWriter
  readonly user: string
  /** The client wants to hear when a queue that it consumes is deleted. */
  readonly cancelNotify: boolean
  /** A publish came in on some channel. */
  published(): void
  /** The channel has confirms to tell when this turn of reading is over. */
  tellLater(channel: Channel): void
  /** Confirms of the channel wait for the store. */
  awaitCommit(channel: Channel): void
  /** An answer waits for the store: read nothing more before it has left. */
  hold(): void
  release(): void
  /** The channel is through with everything; its number may be used again. */
  channelGone(channel: Channel): void
  /** The connection must be closed for this. Does not throw. */
  fail(error: unknown, method?: Method): void
}

const [exchangeClass, queueClass, basicClass, confirmClass, txClass] = [40, 50, 60, 85, 90]

export class Channel {
  readonly number: number
  readonly session: Session
  readonly writer: FrameWriter
  /** Present once the client has asked for confirms. */
  confirms: Confirms | undefined
  /** The connection has it in its list of channels with something to tell. */
  queued = false
  /** The connection has it in its list of channels whose confirms wait for the store. */
  awaiting = false
  readonly #host: ChannelHost
  #closing = false
  /** What came in behind an answer that waits for the store. */
  #held: (() => void)[] | undefined

  constructor(number: number, host: ChannelHost) {
    this.number = number
    this.writer = host.writer
    this.#host = host
    this.session = host.vhost.openSession({
      owner: host,
      user: host.user,
      onDeliveries: deliveries => {
        try {
          deliver(this.writer, this.number, deliveries)
        } catch (error) {
          host.fail(error)
        }
      },
      onCancelled: consumerTag => {
        if (host.cancelNotify) this.writer.method(number, { id: BASIC_CANCEL, consumerTag, noWait: true })
      },
    })
  }

  get user(): string {
    return this.#host.user
  }

  get vhost(): VirtualHost {
    return this.#host.vhost
  }

  onMethod(method: Method): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.onMethod(method))
      return
    }
    if (this.#closing) {
      this.#onMethodWhileClosing(method)
      return
    }
    try {
      this.#dispatch(method)
    } catch (error) {
      this.#refuse(error, method)
    }
  }

  onContent(method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.onContent(method, header, start, end, body))
      return
    }
    if (this.#closing) return
    try {
      onPublish(this, method, header, start, end, body)
    } catch (error) {
      this.#refuse(error, method)
      return
    }
    this.#host.published()
    if (this.confirms === undefined) return
    if (!this.queued && this.confirms.pending) this.#host.tellLater(this)
    if (!this.awaiting && this.confirms.waiting) this.#host.awaitCommit(this)
  }

  /** The body was longer than the broker takes. */
  onContentRefused(method: ContentMethod, error: AmqpError): void {
    if (this.#held !== undefined) this.#held.push(() => this.onContentRefused(method, error))
    else if (!this.#closing) this.#refuse(error, method)
  }

  /** Answers at once, or when the store has committed that number; what comes in meanwhile waits. */
  reply(method: Method, commit = 0): void {
    if (commit === 0) {
      this.writer.method(this.number, method)
      return
    }
    this.#held = []
    this.#host.hold()
    this.session.whenCommitted(commit, () => {
      const held = this.#held!
      this.#held = undefined
      if (!this.session.closed) {
        this.writer.method(this.number, method)
        for (const next of held) next()
      }
      this.#host.release()
    })
  }

  confirmPublishes(): void {
    this.confirms ??= new Confirms()
  }

  /** The store has everything up to this number. */
  committed(commit: number): void {
    if (this.confirms === undefined) return
    this.confirms.committed(commit)
    if (!this.queued && this.confirms.pending) this.#host.tellLater(this)
  }

  /** Some of its publishes wait for the store. */
  get waiting(): boolean {
    return !this.#closing && this.confirms !== undefined && this.confirms.waiting
  }

  /** Tells the client which of its publishes are done. */
  tellConfirms(): void {
    this.queued = false
    if (this.#closing || this.confirms === undefined) return
    this.confirms.tell(this.writer, this.number)
  }

  /** The connection is gone: what is unsettled goes back. */
  drop(): void {
    this.#closing = true
    this.session.close()
  }

  #dispatch(method: Method): void {
    switch (method.id >>> 16) {
      case basicClass:
        onBasicMethod(this, method)
        return
      case queueClass:
        onQueueMethod(this, method)
        return
      case exchangeClass:
        onExchangeMethod(this, method)
        return
      case confirmClass:
        onConfirmMethod(this, method)
        return
      case txClass:
        onTxMethod(this, method)
        return
      default:
        this.#onChannelMethod(method)
    }
  }

  #onChannelMethod(method: Method): void {
    switch (method.id) {
      case CHANNEL_CLOSE:
        // What was published before has been taken; its confirms leave first, as far as they are due.
        if (this.confirms?.pending) this.confirms.tell(this.writer, this.number)
        this.drop()
        this.writer.method(this.number, { id: CHANNEL_CLOSE_OK })
        this.#host.channelGone(this)
        return
      case CHANNEL_FLOW:
        if (!method.active) throw AmqpError.of('not-implemented', 'active=false')
        this.reply({ id: CHANNEL_FLOW_OK, active: true })
        return
      case CHANNEL_OPEN:
        throw AmqpError.of('channel-error', "second 'channel.open' seen")
      default:
        throw unimplemented()
    }
  }

  /** Everything but the end is ignored (AMQP 0-9-1 section 1.5.2.5). */
  #onMethodWhileClosing(method: Method): void {
    if (method.id === CHANNEL_CLOSE) this.writer.method(this.number, { id: CHANNEL_CLOSE_OK })
    else if (method.id === CHANNEL_CLOSE_OK) this.#host.channelGone(this)
  }

  #refuse(error: unknown, method: Method): void {
    if (!(error instanceof AmqpError) || error.scope === 'connection') {
      this.#host.fail(error, method)
      return
    }
    if (this.confirms?.pending) this.confirms.tell(this.writer, this.number)
    this.drop()
    this.writer.method(this.number, { id: CHANNEL_CLOSE, ...closeFields(error, method) })
  }
}
