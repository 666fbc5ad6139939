/**
 * One channel of a connection.
 *
 *   open --close()--> closing --close-ok--> closed
 *    |                   |
 *    +---- channel.close of the server, or the connection's end ----> closed
 *
 * Requests go out at once and are answered in order. Publishes are numbered from `confirmSelect` on. Acknowledgements
 * are gathered for a moment and written before any other frame of the channel, so that their order towards everything
 * else is the order of the calls.
 *
 * Once it is closed, everybody who waited was told why: requests are rejected, confirms are `lost`.
 */

import { AmqpError } from '../errors.ts'
import type { FrameWriter } from '../frame-writer.ts'
import {
  BASIC_ACK,
  BASIC_CANCEL,
  BASIC_CANCEL_OK,
  BASIC_CONSUME,
  BASIC_DELIVER,
  BASIC_GET,
  BASIC_GET_OK,
  BASIC_NACK,
  BASIC_QOS,
  BASIC_RECOVER,
  BASIC_REJECT,
  BASIC_RETURN,
  type BasicConsumeOk,
  type BasicDeliver,
  type BasicReturn,
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_FLOW,
  CHANNEL_FLOW_OK,
  CHANNEL_OPEN,
  type ChannelClose,
  CONFIRM_SELECT,
  type ContentMethod,
  type Method,
  TX_COMMIT,
  TX_ROLLBACK,
  TX_SELECT,
} from '../generated/methods.ts'
import { type BasicProperties, readProperties } from '../generated/properties.ts'
import type { ConsumeOptions, PublishOptions } from './channel-options.ts'
import type { ChannelHost, ChannelPort } from './channel-port.ts'
import { Confirms, publishError, type Settled } from './confirms.ts'
import { ConnectionError } from './connection-error.ts'
import { Declarations, emptyTable } from './declarations.ts'
import { Deliveries } from './deliveries.ts'
import type { Delivery, GetDelivery, Returned } from './delivery.ts'
import { Listeners } from './listeners.ts'
import { Publishing } from './publishing.ts'
import { Requests } from './requests.ts'

export class Channel extends Declarations {
  /** From 1 up to the connection's channel-max; used again after the channel's end. */
  readonly number: number
  readonly #host: ChannelHost
  readonly #writer: FrameWriter
  readonly #publishing: Publishing
  readonly #requests = new Requests()
  readonly #confirms = new Confirms(error => this.#listenerFailed(error))
  readonly #deliveries: Deliveries
  readonly #closeListeners = new Listeners<[error: AmqpError | ConnectionError | undefined]>()
  readonly #cancelListeners = new Listeners<[consumerTag: string]>()
  readonly #returnListeners = new Listeners<[returned: Returned]>()
  readonly #port: ChannelPort
  #state: 'open' | 'closing' | 'closed' = 'open'
  #closing: Promise<void> | undefined
  /** Resolves `#closing`. */
  #closed: (() => void) | undefined
  #closeReason: AmqpError | ConnectionError | undefined
  #confirming = false

  /** For the connection: `attach` is given what the connection talks to. Users call `connection.openChannel()`. */
  constructor(host: ChannelHost, channelNumber: number, attach: (port: ChannelPort) => void) {
    super()
    this.number = channelNumber
    this.#host = host
    this.#writer = host.writer
    this.#publishing = new Publishing(host.writer, channelNumber)
    this.#deliveries = new Deliveries(host, channelNumber)
    this.#port = {
      onMethod: method => this.#onMethod(method),
      onContent: (method, header, start, end, body) => this.#onContent(method, header, start, end, body),
      onConnectionClosed: error => this.#onConnectionClosed(error),
    }
    attach(this.#port)
  }

  /** For the connection: sends channel.open. */
  async open(): Promise<this> {
    await this.ask({ id: CHANNEL_OPEN })
    return this
  }

  /** True from the moment when nothing can be sent any more. */
  get closed(): boolean {
    return this.#state !== 'open'
  }

  /** Messages published under confirms that are not settled yet. */
  get unconfirmed(): number {
    return this.#confirms.open
  }

  /**
   * Called once, when the channel is closed: with the server's error, with the connection's, or with undefined after
   * `close()`. Returns the function that takes the listener off again, as the others do.
   */
  onClose(listener: (error: AmqpError | ConnectionError | undefined) => void): () => void {
    return this.#closeListeners.add(listener)
  }

  /** The server ended a consumer: its queue was deleted, or its node is gone. */
  onCancel(listener: (consumerTag: string) => void): () => void {
    return this.#cancelListeners.add(listener)
  }

  /** A mandatory message came back, confirmed or not. */
  onReturn(listener: (returned: Returned) => void): () => void {
    return this.#returnListeners.add(listener)
  }

  // Modes

  /**
   * How many deliveries may be unsettled: 0 to 65535, 0 for no limit. Holds for each consumer that starts
   * afterwards, or with `global` for all of the channel together (RabbitMQ's reading of the flag).
   */
  async qos(prefetch: number, options: { global?: boolean } = {}): Promise<void> {
    const global = options.global ?? false
    await this.ask({ id: BASIC_QOS, prefetchSize: 0, prefetchCount: prefetch, global }, () => {
      this.#deliveries.setPrefetch(prefetch, global)
    })
  }

  /** From now on the broker confirms each publish. For good: there is no way back but a new channel. */
  async confirmSelect(): Promise<void> {
    if (this.#confirming) return
    // Publishes are counted from the select on, and it cannot fail on an open channel without closing it.
    const selected = this.ask({ id: CONFIRM_SELECT, noWait: false })
    this.#confirming = true
    await selected
  }

  async txSelect(): Promise<void> {
    await this.ask({ id: TX_SELECT })
    this.#deliveries.gathering = false
  }

  async txCommit(): Promise<void> {
    await this.ask({ id: TX_COMMIT })
  }

  async txRollback(): Promise<void> {
    await this.ask({ id: TX_ROLLBACK })
  }

  /** The server delivers everything unsettled of this channel again; without `requeue` RabbitMQ refuses. */
  async recover(requeue: boolean): Promise<void> {
    const recovered = this.ask({ id: BASIC_RECOVER, requeue })
    this.#deliveries.settled(0, true)
    await recovered
  }

  // Sending

  /**
   * Writes the message; it leaves with the present turn of the event loop. No word about its fate. Throws
   * EncodingError for what cannot be written, and the reason of the closure on a closed channel. Do not write to
   * a body of 16 KiB or more afterwards: it is not copied.
   */
  publish(
    exchange: string,
    routingKey: string,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
    options?: PublishOptions,
  ): void {
    if (this.#state !== 'open') throw this.#refusal()
    this.#deliveries.flush()
    this.#publishing.write(exchange, routingKey, options?.mandatory === true, properties, body)
    if (this.#confirming) this.#confirms.skip()
  }

  /**
   * As `publish`, and `settled` is called once with what became of the message, from inside the reading of the
   * answer; on a closed channel at once, with `lost`. Needs `confirmSelect`.
   */
  publishConfirmed(
    exchange: string,
    routingKey: string,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
    options: PublishOptions | undefined,
    settled: Settled,
  ): void {
    if (this.#state !== 'open') {
      settled({ lost: this.#refusal() })
      return
    }
    if (!this.#confirming) throw new ConnectionError('closed', 'Call confirmSelect() before publishConfirmed().')
    const mandatory = options?.mandatory === true
    this.#deliveries.flush()
    this.#publishing.write(exchange, routingKey, mandatory, properties, body)
    if (mandatory) this.#confirms.addMandatory(settled, exchange, routingKey, properties, body)
    else this.#confirms.add(settled)
  }

  /** Resolves when the broker has taken responsibility. Rejects with PublishError, or EncodingError. */
  publishAndConfirm(
    exchange: string,
    routingKey: string,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
    options?: PublishOptions,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      this.publishConfirmed(exchange, routingKey, properties, body, options, outcome => {
        if (outcome === 'ack') resolve()
        else reject(publishError(outcome, exchange, routingKey))
      })
    })
  }

  // Receiving

  /**
   * Resolves with the consumer's tag. Deliveries may come before the promise's callbacks run. What `onDelivery`
   * throws closes the channel (`listener-failed`), which gives everything unsettled back.
   */
  async consume(queue: string, options: ConsumeOptions, onDelivery: (delivery: Delivery) => void): Promise<string> {
    const { consumerTag = '', noAck = false, exclusive = false } = options
    const answer = await this.ask<BasicConsumeOk>(
      {
        id: BASIC_CONSUME,
        queue,
        consumerTag,
        noLocal: false,
        noAck,
        exclusive,
        noWait: false,
        arguments: options.arguments ?? emptyTable,
      },
      // Deliveries may stand right behind the answer.
      ok => {
        this.#deliveries.addConsumer(ok.consumerTag, noAck, onDelivery)
      },
    )
    return answer.consumerTag
  }

  /** Ends a consumer; resolves when no more deliveries come. What was delivered is still to be settled. */
  async cancel(consumerTag: string): Promise<void> {
    await this.ask({ id: BASIC_CANCEL, consumerTag, noWait: false }, () => this.#deliveries.removeConsumer(consumerTag))
  }

  /** One message, or undefined from an empty queue. */
  async get(queue: string, options: { noAck?: boolean } = {}): Promise<GetDelivery | undefined> {
    const noAck = options.noAck ?? false
    let delivery: GetDelivery | undefined
    await this.ask({ id: BASIC_GET, queue, noAck }, (answer: Method) => {
      if (answer.id === BASIC_GET_OK) delivery = this.#deliveries.takeGot(answer, noAck)
    })
    return delivery
  }

  // Settling

  /**
   * With `multiple`: everything up to this tag, where 0 stands for all. An unknown tag closes the channel (406).
   * Single ones are gathered and joined where that means the same; they leave before anything else that the channel
   * sends, else within the turn of the event loop, or within a few milliseconds while fewer than a quarter of a
   * prefetch of 32 or more wait (at most 256).
   */
  ack(tag: number, multiple = false): void {
    if (this.#state !== 'open') throw this.#refusal()
    this.#deliveries.ack(tag, multiple)
  }

  /** Exactly these; they leave as few frames. */
  ackMany(tags: readonly number[]): void {
    for (const tag of tags) this.ack(tag)
  }

  nack(tag: number, multiple = false, requeue = true): void {
    if (this.#state !== 'open') throw this.#refusal()
    this.#deliveries.refuse({ id: BASIC_NACK, deliveryTag: tag, multiple, requeue })
  }

  reject(tag: number, requeue = true): void {
    if (this.#state !== 'open') throw this.#refusal()
    this.#deliveries.refuse({ id: BASIC_REJECT, deliveryTag: tag, requeue })
  }

  // The end

  /**
   * Closes the channel: what was written before is done first, what is unsettled goes back to its queues. Resolves
   * when the server has said so, or the connection is gone. May be called twice.
   */
  close(): Promise<void> {
    if (this.#state === 'closed') return Promise.resolve()
    this.#closing ??= this.#startClosing({ replyCode: 200, replyText: 'Goodbye' })
    return this.#closing
  }

  #startClosing(reason: { replyCode: number; replyText: string }): Promise<void> {
    this.#deliveries.flush()
    this.#writer.method(this.number, { id: CHANNEL_CLOSE, ...reason, classId: 0, methodId: 0 })
    this.#state = 'closing'
    return new Promise(resolve => {
      this.#closed = resolve
    })
  }

  protected ask<Answer extends Method>(request: Method, answered?: (answer: Answer) => void): Promise<Answer> {
    return new Promise((resolve, reject) => {
      if (this.#state !== 'open') throw this.#refusal()
      this.#deliveries.flush()
      this.#writer.method(this.number, request)
      this.#requests.add(
        request.id,
        answer => {
          answered?.(answer as Answer)
          resolve(answer as Answer)
        },
        reject,
      )
    })
  }

  #refusal(): AmqpError | ConnectionError {
    return this.#closeReason ?? new ConnectionError('closed', 'The channel is closed. Open another one.')
  }

  // What the server sends

  #onMethod(method: Method): void {
    switch (method.id) {
      case BASIC_ACK:
        this.#onConfirm(method.deliveryTag, method.multiple, 'ack')
        break
      case BASIC_NACK:
        this.#onConfirm(method.deliveryTag, method.multiple, 'nack')
        break
      case BASIC_CANCEL:
        this.#onServerCancel(method.consumerTag, method.noWait)
        break
      case CHANNEL_CLOSE:
        this.#onServerClose(method)
        break
      case CHANNEL_CLOSE_OK:
        // Where both sides closed at once, requests before ours may be left without an answer.
        if (this.#state === 'closing') this.#finish(this.#closeReason)
        else this.#protocolError('the server sent channel.close-ok, which nobody asked for')
        break
      case CHANNEL_FLOW:
        // RabbitMQ no longer sends it; where a broker does, its socket holds us back all the same.
        this.#writer.method(this.number, { id: CHANNEL_FLOW_OK, active: method.active })
        break
      default: {
        const wrong = this.#requests.answer(method)
        if (wrong !== undefined) this.#protocolError(wrong)
      }
    }
  }

  #onConfirm(tag: number, multiple: boolean, outcome: 'ack' | 'nack'): void {
    if (this.#confirms.settle(tag, multiple, outcome)) return
    this.#protocolError(`the server confirmed message ${tag}, which was never published`)
  }

  #onContent(method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void {
    switch (method.id) {
      case BASIC_DELIVER:
        this.#onDeliver(method, header, start, end, body)
        break
      case BASIC_GET_OK:
        this.#deliveries.got = { header, start, end, body }
        this.#onMethod(method)
        this.#deliveries.got = undefined
        break
      case BASIC_RETURN:
        this.#onReturned(method, header.subarray(start, end), body)
        break
      default:
        this.#protocolError('the server sent a message that only clients send')
    }
  }

  #onDeliver(method: BasicDeliver, header: Buffer, start: number, end: number, body: Buffer): void {
    // Given back with the channel, which is about to end.
    if (this.#state !== 'open') return
    let wrong: string | undefined
    try {
      wrong = this.#deliveries.deliver(method, header, start, end, body)
    } catch (error) {
      this.#listenerFailed(error)
    }
    if (wrong !== undefined) this.#protocolError(wrong)
  }

  #onReturned(method: BasicReturn, header: Buffer, body: Buffer): void {
    this.#confirms.returned(method, header, body)
    if (this.#returnListeners.size === 0) return
    const { replyCode, replyText, exchange, routingKey } = method
    const properties = readProperties(header, 0, header.length)
    this.#returnListeners.call(error => this.#listenerFailed(error), {
      replyCode,
      replyText,
      exchange,
      routingKey,
      properties,
      body,
    })
  }

  #onServerCancel(consumerTag: string, noWait: boolean): void {
    if (!noWait) this.#writer.method(this.number, { id: BASIC_CANCEL_OK, consumerTag })
    if (!this.#deliveries.removeConsumer(consumerTag)) return
    this.#cancelListeners.call(error => this.#listenerFailed(error), consumerTag)
  }

  #onServerClose(method: ChannelClose): void {
    this.#writer.method(this.number, { id: CHANNEL_CLOSE_OK })
    const { classId, methodId } = method
    const error = new AmqpError(method.replyCode, method.replyText, { scope: 'channel', classId, methodId })
    if (this.#state === 'closing') {
      // Both said goodbye at once: the server still answers ours, and until then the number is taken.
      this.#closeReason ??= error
      return
    }
    this.#finish(error)
  }

  #onConnectionClosed(error: Error | undefined): void {
    if (this.#state === 'closed') return
    const failed = error instanceof AmqpError || error instanceof ConnectionError
    this.#end(
      failed ? error : error && new ConnectionError('disconnected', error.message, error),
      new ConnectionError('closed', 'The connection was closed.'),
    )
  }

  #protocolError(what: string): void {
    this.#host.fail(
      new ConnectionError('protocol', `The server broke the protocol on channel ${this.number}: ${what}.`),
    )
  }

  /** A callback of the user's threw: nobody can tell what it left undone, so the channel gives everything back. */
  #listenerFailed(cause: unknown): void {
    if (this.#state !== 'open') return
    this.#closeReason = new ConnectionError(
      'listener-failed',
      `A listener of channel ${this.number} threw, so the channel was closed: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    )
    this.#closing = this.#startClosing({
      replyCode: 541,
      replyText: 'INTERNAL_ERROR - a listener of the client failed',
    })
  }

  #finish(error: AmqpError | ConnectionError | undefined): void {
    this.#host.release(this.number)
    this.#end(error, new ConnectionError('closed', 'The channel was closed.'))
  }

  #end(error: AmqpError | ConnectionError | undefined, otherwise: ConnectionError): void {
    this.#state = 'closed'
    this.#closeReason ??= error ?? otherwise
    this.#deliveries.clear()
    this.#requests.fail(this.#closeReason)
    this.#confirms.lose(this.#closeReason)
    this.#closeListeners.call(cause => this.#reportLate(cause), error)
    this.#closed?.()
  }

  /** There is no channel left to close for it: the connection is. */
  #reportLate(cause: unknown): void {
    const text = cause instanceof Error ? cause.message : String(cause)
    this.#host.fail(new ConnectionError('listener-failed', `A close listener threw: ${text}`, cause))
  }
}
