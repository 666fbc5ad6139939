/**
 * The steps between a body and its bytes: `encodeBody` on the way out, `decodeBody` on the way in. They choose the format
 * and make whatever it throws a typed error.
 */
import type { WireMessage } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { IncomingMiddleware } from '../consume/incoming.ts'
import type { Format } from '../format/format.ts'
import type { OutgoingMiddleware } from '../send/outgoing.ts'
import type { PipelineFormats } from './pipeline-formats.ts'

/**
 * Outgoing: the contract's format; for plain names text for strings, bytes for Uint8Arrays, else JSON. Bytes that the
 * caller still owns are copied where the engine would hand on the very same memory.
 */
export const encodeBody: OutgoingMiddleware = (message, next) => {
  const { body, formats } = message
  const format = message.format ?? usualFormat(body, formats)
  const bytes = encoded(body, format, message.to.name)
  message.bytes = bytes === body && formats.copyBytes ? Buffer.from(bytes) : bytes
  message.contentType = format.contentType
  return next(message)
}

/** Incoming: the format that the content type names; without one the contract's, and bytes for plain names. */
export const decodeBody: IncomingMiddleware = (message, next) => {
  const { formats } = message
  const value = decoded(message.wire, formats, message.format)
  // The same memory may lie before other consumers, and is the original should this message be dead-lettered.
  message.body = value instanceof Uint8Array && formats.copyBytes ? Buffer.from(value) : value
  return next(message)
}

/** The format of a body that no contract speaks of. */
export function usualFormat(body: unknown, formats: PipelineFormats): Format {
  if (typeof body === 'string') return formats.text
  return body instanceof Uint8Array ? formats.bytes : formats.json
}

/** The body's bytes in the format. Throws `body-not-encodable`. */
export function encoded(body: unknown, format: Format, destination: string): Uint8Array {
  try {
    return format.encode(body)
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    throw new ChasquiError(
      'body-not-encodable',
      `The body for "${destination}" cannot be written as ${format.contentType}: ${reason(cause)}.`,
      { cause, details: { contentType: format.contentType } },
    )
  }
}

/** The body of a message as its content type says, else in the format given, else bytes. Throws `body-not-decodable`, `format-unknown`. */
export function decoded(wire: WireMessage, formats: PipelineFormats, fallback: Format | undefined): unknown {
  const { contentType, body: bytes } = wire
  const choice = contentType === undefined ? undefined : formats.registry.choose(contentType)
  const format = choice?.format ?? fallback ?? formats.bytes
  try {
    return format.decode(bytes, choice?.parameters ?? {})
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    throw new ChasquiError(
      'body-not-decodable',
      `The ${bytes.byteLength} bytes received are not ${contentType ?? format.contentType}: ${reason(cause)}.`,
      { cause, details: { contentType: contentType ?? format.contentType, bytes: bytes.byteLength } },
    )
  }
}

/** A parser's sentence may quote the text that it could not read: bodies do not belong in errors and logs. */
function reason(cause: unknown): string {
  if (cause instanceof SyntaxError) {
    const position = /at position \d+/.exec(cause.message)?.[0]
    return position === undefined ? 'its syntax is wrong' : `its syntax is wrong ${position}`
  }
  return cause instanceof Error ? cause.message.slice(0, 200) : 'the format gave no reason'
}
