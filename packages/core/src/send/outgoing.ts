/**
 * One message on its way out: what `send` was given, what the outgoing middleware makes of it, and at the end the
 * wire message that goes to the driver. The same object then waits in the sender until the engine has answered.
 */
import type { Headers, Outgoing, Target, WireMessage } from '@chasqui/driver'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { AnyContract } from '../contract/contract.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { Format } from '../format/format.ts'

/** What a send resolves to. */
export interface Receipt {
  /** The message's id. */
  readonly id: string
  /** The message survives a restart of the engine: it and its destination are durable. */
  readonly durable: boolean
}

/** What outgoing middleware sees and may change before `next`. After `encodeBody` the bytes are there. */
export interface OutgoingMessage {
  position: number
  readonly to: Target
  readonly contract: AnyContract | undefined
  readonly schema: StandardSchemaV1 | undefined
  readonly formats: PipelineFormats
  /** The contract's format; `encodeBody` chooses by the body when it is absent. */
  format: Format | undefined
  body: unknown
  /** The encoded body, once `encodeBody` has run. */
  bytes: Uint8Array | undefined
  readonly id: string
  readonly type: string | undefined
  headers: Headers
  attributes: Readonly<Record<string, string>>
  contentType: string | undefined
  contentEncoding: string | undefined
  key: string | undefined
  correlationId: string | undefined
  replyTo: string | undefined
  readonly time: number
  expiresAt: number | undefined
  notBefore: number | undefined
  readonly durable: boolean
}

/** A step on the way out. What it returns is the caller's promise; throwing rejects it. */
export type OutgoingMiddleware = (
  message: OutgoingMessage,
  next: (message: OutgoingMessage) => Promise<Receipt>,
) => Promise<Receipt>

const noHeaders: Headers = Object.freeze({})

/** The message and its place in the sender. */
export class Draft implements OutgoingMessage, Outgoing {
  position = 0
  readonly to: Target
  readonly contract: AnyContract | undefined
  readonly schema: StandardSchemaV1 | undefined
  readonly formats: PipelineFormats
  format: Format | undefined
  body: unknown
  bytes: Uint8Array | undefined = undefined
  readonly id: string
  readonly type: string | undefined
  headers: Headers = noHeaders
  attributes: Readonly<Record<string, string>>
  contentType: string | undefined = undefined
  contentEncoding: string | undefined = undefined
  key: string | undefined = undefined
  correlationId: string | undefined = undefined
  replyTo: string | undefined = undefined
  readonly time: number
  expiresAt: number | undefined = undefined
  notBefore: number | undefined = undefined
  durable = true
  /** What goes to the driver; set by `seal`. */
  message: WireMessage = unsealed
  signal: AbortSignal | undefined = undefined
  destination: Ready | undefined = undefined

  // What waits for the engine's answer; set by the sender.
  resolve: (receipt: Receipt) => void = nobody
  reject: (error: Error) => void = nobody
  settled = false
  enteredAt = 0

  constructor(
    to: Target,
    contract: AnyContract | undefined,
    format: Format | undefined,
    formats: PipelineFormats,
    id: string,
    type: string | undefined,
    body: unknown,
    attributes: Readonly<Record<string, string>>,
    time: number,
  ) {
    this.to = to
    this.contract = contract
    this.schema = contract?.schema
    this.format = format
    this.formats = formats
    this.id = id
    this.type = type
    this.body = body
    this.attributes = attributes
    this.time = time
  }

  /** The sender has taken it over. */
  get accepted(): boolean {
    return this.message !== unsealed
  }

  /** Makes the wire message; nothing of the draft is read by the engine after that. */
  seal(bytes: Uint8Array): void {
    this.message = new SealedMessage(this, bytes)
    // The caller's body is not kept alive while the message waits.
    this.body = undefined
    this.bytes = undefined
  }
}

/** Whether a destination is there already; what the sender asks before it hands a message on. */
export interface Ready {
  readonly ready: boolean
  wait(): Promise<void>
  /** The engine says that it is not there any more. */
  forget(): void
}

/** One shape for every message that the core sends, so that what reads it stays fast. */
class SealedMessage implements WireMessage {
  readonly id: string | undefined
  readonly type: string | undefined
  readonly attributes: Readonly<Record<string, string>>
  readonly headers: Headers
  readonly contentType: string | undefined
  readonly contentEncoding: string | undefined
  readonly key: string | undefined
  readonly correlationId: string | undefined
  readonly replyTo: string | undefined
  readonly time: number
  readonly expiresAt: number | undefined
  readonly notBefore: number | undefined
  readonly durable: boolean
  readonly body: Uint8Array

  constructor(draft: Draft, bytes: Uint8Array) {
    this.id = draft.id
    this.type = draft.type
    this.attributes = draft.attributes
    this.headers = draft.headers
    this.contentType = draft.contentType
    this.contentEncoding = draft.contentEncoding
    this.key = draft.key
    this.correlationId = draft.correlationId
    this.replyTo = draft.replyTo
    this.time = draft.time
    this.expiresAt = draft.expiresAt
    this.notBefore = draft.notBefore
    this.durable = draft.durable
    this.body = bytes
  }
}

const unsealed: WireMessage = Object.freeze({ attributes: {}, headers: {}, durable: false, body: new Uint8Array(0) })
function nobody(): void {}
