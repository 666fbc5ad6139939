/**
 * One attempt to handle one message: what incoming middleware works on, and what the handler gets as `ctx`. Everything that
 * few handlers ask for (signal, log, headers of one's own) is made when it is asked for.
 */
import type { HeaderValue, Source, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Bodies, SendBatchOptions, SendOutcome } from '../batch/send-batch.ts'
import { sendBatch } from '../batch/send-batch.ts'
import type {
  AnyContract,
  CommandContract,
  EventContract,
  RequestContract,
  StreamContract,
} from '../contract/contract.ts'
import type { Carried } from '../encode/attributes.ts'
import { carryOn, correlationOf } from '../encode/attributes.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { Format } from '../format/format.ts'
import type { Logger } from '../observe/logging.ts'
import { boundLogger } from '../observe/logging.ts'
import type { Requests } from '../request/request.ts'
import type { StreamRun } from '../request/stream-run.ts'
import type { Streams } from '../request/streams.ts'
import type { Receipt } from '../send/outgoing.ts'
import type { Outlets } from '../send/outlet.ts'
import type { RequestOptions, Senders, SendOptions, StreamOptions } from '../send/senders.ts'
import { retryRequested } from './retry-requested.ts'

/** What is known of a received message beside its body. Absent parts: the sender knows nothing of Chasqui. */
export interface MessageInfo {
  readonly id: string | undefined
  readonly type: string | undefined
  readonly key: string | undefined
  /** The user's headers, and Chasqui's own under `chasqui_`. A copy: changes last for this attempt only. */
  readonly headers: Readonly<Record<string, unknown>>
  readonly contentType: string | undefined
  /** The application that sent it (CloudEvents `source`). */
  readonly source: string | undefined
  /** The queue or topic that it was sent to. */
  readonly destination: string
  /** When it was sent. */
  readonly time: Date | undefined
  readonly correlationId: string | undefined
  /** The id of the message whose handler sent this one. */
  readonly causationId: string | undefined
  readonly tenantId: string | undefined
  /** The engine has handed it out before. */
  readonly redelivered: boolean
  /** Which attempt this is, from 1. */
  readonly attempt: number
}

/** What a handler gets beside the body. Its methods belong to it: call them on it. */
export interface Context extends MessageInfo, Senders {
  /**
   * Fires when the bus or consumer closes past its deadline, when the lane is lost, after `timeoutMs`, and with `aborted` when the
   * requester has cancelled its request or left its stream.
   */
  readonly signal: AbortSignal
  /** A logger that adds the message's id, queue and attempt. */
  readonly log: Logger
  /** Gives this attempt up and asks for another, after `delayMs` (default: as the retry policy says). Counts as an attempt. Throws. */
  retry(options?: { readonly delayMs?: number; readonly cause?: unknown }): never
  /** Gives the message up: it goes to the dead-letter queue with this reason. Throws. */
  deadLetter(reason: string): never
}

/** What incoming middleware sees and may change before `next`. After `decodeBody` the body is there. */
export interface IncomingMessage extends Context {
  position: number
  /** As it came from the engine; by reference, not to be written to. */
  readonly wire: WireMessage
  readonly contract: AnyContract | undefined
  readonly schema: StandardSchemaV1 | undefined
  /** The contract's format, for messages without a content type. */
  readonly format: Format | undefined
  readonly formats: PipelineFormats
  body: unknown
}

/** A step on the way in. What it returns is the handler's result (or a promise of it); throwing fails the attempt. */
export type IncomingMiddleware = (message: IncomingMessage, next: (message: IncomingMessage) => unknown) => unknown

/** What all messages of one consumer have in common. */
export interface Scope {
  readonly source: Source
  readonly sourceName: string
  /** The application's own name, for what its handlers send. */
  readonly application: string
  readonly formats: PipelineFormats
  readonly logger: Logger
  readonly outlets: Outlets
  readonly requests: Requests
  readonly streams: Streams
}

/** The part of a route that an attempt reads. */
export interface RouteInfo {
  readonly contract: AnyContract | undefined
  readonly schema: StandardSchemaV1 | undefined
  readonly format: Format | undefined
}

export class Attempt implements IncomingMessage {
  position = 0
  readonly wire: WireMessage
  readonly redelivered: boolean
  readonly attempt: number
  body: unknown = undefined
  /** Its requester has cancelled it. */
  cancelled = false
  /** Answers the message by a stream; absent before it does, and where it does not. */
  streamRun: StreamRun | undefined = undefined
  /** When it began, if anybody wants to know (`performance.now()`). */
  startedAt = 0
  /** When its handler began, if anybody wants to know. */
  handlerStartedAt = 0
  readonly #scope: Scope
  readonly #route: RouteInfo
  #headers: Record<string, HeaderValue> | undefined
  #carried: Carried | undefined
  #controller: AbortController | undefined
  #abortReason: unknown
  #log: Logger | undefined

  constructor(scope: Scope, route: RouteInfo, wire: WireMessage, redelivered: boolean, attempt: number) {
    this.#scope = scope
    this.#route = route
    this.wire = wire
    this.redelivered = redelivered
    this.attempt = attempt
  }

  get id(): string | undefined {
    return this.wire.id
  }
  get type(): string | undefined {
    return this.wire.type
  }
  get key(): string | undefined {
    return this.wire.key
  }
  get contentType(): string | undefined {
    return this.wire.contentType
  }
  get correlationId(): string | undefined {
    return correlationOf(this.wire)
  }
  get source(): string | undefined {
    return this.wire.attributes.source
  }
  get causationId(): string | undefined {
    return this.wire.attributes.causationid
  }
  get tenantId(): string | undefined {
    return this.wire.attributes.tenantid
  }
  get destination(): string {
    const { source } = this.#scope
    return source.kind === 'subscription' ? source.topic : source.name
  }
  get time(): Date | undefined {
    return this.wire.time === undefined ? undefined : new Date(this.wire.time)
  }
  get headers(): Record<string, HeaderValue> {
    this.#headers ??= { ...this.wire.headers }
    return this.#headers
  }

  get contract(): AnyContract | undefined {
    return this.#route.contract
  }
  get schema(): StandardSchemaV1 | undefined {
    return this.#route.schema
  }
  get format(): Format | undefined {
    return this.#route.format
  }
  get formats(): PipelineFormats {
    return this.#scope.formats
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason)
    }
    return this.#controller.signal
  }

  get log(): Logger {
    const { logger, sourceName } = this.#scope
    this.#log ??= boundLogger(logger, { id: this.id, queue: sourceName, attempt: this.attempt })
    return this.#log
  }

  /** Fires the signal. The first reason stands. */
  abort(reason: unknown): void {
    this.#abortReason ??= reason
    this.#controller?.abort(this.#abortReason)
  }

  /** Its requester wants no reply any more, and no other attempt. */
  cancel(reason: unknown): void {
    this.cancelled = true
    this.abort(reason)
  }

  /** What goes on from this message to those that its handler sends. */
  get carried(): Carried {
    this.#carried ??= carryOn(this.#scope.application, this.wire)
    return this.#carried
  }

  send(to: CommandContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    return this.#scope.outlets.send('command', to, body, options, this.carried)
  }

  publish(to: EventContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    return this.#scope.outlets.send('event', to, body, options, this.carried)
  }

  sendBatch(to: CommandContract | string, bodies: Bodies<unknown>, options?: SendBatchOptions): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.send(to, body, each), 'ctx.sendBatch()')
  }

  publishBatch(
    to: EventContract | string,
    bodies: Bodies<unknown>,
    options?: SendBatchOptions,
  ): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.publish(to, body, each), 'ctx.publishBatch()')
  }

  request<RO>(
    to: RequestContract<unknown, unknown, unknown, RO> | string,
    body: unknown,
    options?: RequestOptions,
  ): Promise<RO> {
    return this.#scope.requests.request(to, body, options, this.carried) as Promise<RO>
  }

  stream<RO>(
    to: StreamContract<unknown, unknown, unknown, RO> | string,
    body: unknown,
    options?: StreamOptions,
  ): AsyncGenerator<RO, void, void> {
    return this.#scope.streams.stream(to, body, options, this.carried) as AsyncGenerator<RO, void, void>
  }

  retry(options: { readonly delayMs?: number; readonly cause?: unknown } = {}): never {
    throw retryRequested(options, 'ctx.retry')
  }

  deadLetter(reason: string): never {
    throw new ChasquiError('dead-lettered', String(reason))
  }
}
