/**
 * The steps between a body and its bytes: `encodeBody` on the way out, `decodeBody` on the way in. They choose the format
 * and make whatever it throws a typed error.
 */
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { IncomingMiddleware } from '../consume/incoming.ts'
import type { OutgoingMiddleware } from '../send/outgoing.ts'

/**
 * Outgoing: the contract's format; for plain names text for strings, bytes for Uint8Arrays, else JSON. Bytes that the
 * caller still owns are copied where the engine would hand on the very same memory.
 */
export const encodeBody: OutgoingMiddleware = (message, next) => {
  const { body, formats } = message
  let format = message.format
  if (format === undefined) {
    if (typeof body === 'string') format = formats.text
    else if (body instanceof Uint8Array) format = formats.bytes
    else format = formats.json
  }
  let bytes: Uint8Array
  try {
    bytes = format.encode(body)
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    throw new ChasquiError(
      'body-not-encodable',
      `The body for "${message.to.name}" cannot be written as ${format.contentType}: ${reason(cause)}.`,
      { cause, details: { contentType: format.contentType } },
    )
  }
  message.bytes = bytes === body && formats.copyBytes ? Buffer.from(bytes) : bytes
  message.contentType = format.contentType
  return next(message)
}

/** Incoming: the format that the content type names; without one the contract's, and bytes for plain names. */
export const decodeBody: IncomingMiddleware = (message, next) => {
  const { contentType, body: bytes } = message.wire
  const { formats } = message
  const choice = contentType === undefined ? undefined : formats.registry.choose(contentType)
  const format = choice?.format ?? message.format ?? formats.bytes
  try {
    const value = format.decode(bytes, choice?.parameters ?? {})
    // The same memory may lie before other consumers, and is the original should this message be dead-lettered.
    message.body = value instanceof Uint8Array && formats.copyBytes ? Buffer.from(value) : value
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    throw new ChasquiError(
      'body-not-decodable',
      `The ${bytes.byteLength} bytes received are not ${contentType ?? format.contentType}: ${reason(cause)}.`,
      { cause, details: { contentType: contentType ?? format.contentType, bytes: bytes.byteLength } },
    )
  }
  return next(message)
}

/** A parser's sentence may quote the text that it could not read: bodies do not belong in errors and logs. */
function reason(cause: unknown): string {
  if (cause instanceof SyntaxError) {
    const position = /at position \d+/.exec(cause.message)?.[0]
    return position === undefined ? 'its syntax is wrong' : `its syntax is wrong ${position}`
  }
  return cause instanceof Error ? cause.message.slice(0, 200) : 'the format gave no reason'
}
