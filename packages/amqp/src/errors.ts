/**
 * What can go wrong on the wire. Two classes, by who is at fault: `AmqpError` is what one peer tells the other
 * (or would tell it), with the protocol's reply code; `EncodingError` is a mistake of the local caller, found
 * before a single byte left.
 */

import { type ReplyName, replyCodes, replyNames, softReplyCodes } from './generated/constants.ts'

/** What dies with the error: the channel it happened on, or the whole connection. */
export type ErrorScope = 'channel' | 'connection'

export interface AmqpErrorOptions {
  /** Overrides the definition's class of the code: some codes close a channel in one place and the connection in another. */
  readonly scope?: ErrorScope
  /** Class and method that caused it; 0 where none did. */
  readonly classId?: number
  readonly methodId?: number
  readonly cause?: unknown
}

/** A failure in the protocol's own words, as `channel.close` and `connection.close` carry it (AMQP 0-9-1 section 1.2). */
export class AmqpError extends Error {
  override readonly name = 'AmqpError'
  readonly replyCode: number
  /** As it stands on the wire, for example `NOT_FOUND - no queue 'hello' in vhost '/'`. */
  readonly replyText: string
  readonly scope: ErrorScope
  readonly classId: number
  readonly methodId: number

  constructor(replyCode: number, replyText: string, options: AmqpErrorOptions = {}) {
    super(`${replyText} (reply code ${replyCode})`, options.cause === undefined ? undefined : { cause: options.cause })
    this.replyCode = replyCode
    this.replyText = replyText
    this.scope = options.scope ?? (softReplyCodes.has(replyCode) ? 'channel' : 'connection')
    this.classId = options.classId ?? 0
    this.methodId = options.methodId ?? 0
  }

  /** The code's name in the definition, for example `not-found`; undefined for a code that the definition lacks. */
  get replyName(): ReplyName | undefined {
    return replyNames.get(this.replyCode)
  }

  /** An error by its name, its text written as RabbitMQ writes it: `NOT_FOUND - explanation`. */
  static of(name: ReplyName, explanation: string, options?: AmqpErrorOptions): AmqpError {
    return new AmqpError(replyCodes[name], `${name.toUpperCase().replaceAll('-', '_')} - ${explanation}`, options)
  }
}

export type EncodingErrorCode =
  /** A short string is longer than 255 bytes of UTF-8. */
  | 'string-too-long'
  /** A number does not fit its field. */
  | 'out-of-range'
  /** A value of a field table has no AMQP type. */
  | 'value-not-encodable'
  /** A field table is nested deeper than `maxTableDepth`. */
  | 'nested-too-deep'
  /** A method or a content header does not fit one frame of the negotiated size. */
  | 'frame-too-large'

/** The caller asked for something that cannot be written. Nothing was sent; the connection is as it was. */
export class EncodingError extends Error {
  override readonly name = 'EncodingError'
  readonly code: EncodingErrorCode

  constructor(code: EncodingErrorCode, message: string) {
    super(message)
    this.code = code
  }
}
