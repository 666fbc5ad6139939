/** Bodies as they are: what stands on the command line goes out byte for byte, and what comes in is read for showing only. */
import { isUtf8 } from 'node:buffer'
import { extname } from 'node:path'
import type { IncomingMiddleware, OutgoingMiddleware } from '@chasqui/core'
import { ChasquiError } from '@chasqui/core'

export interface RawBody {
  readonly bytes: Uint8Array
  readonly contentType: string
}

const contentTypes = { json: 'application/json', text: 'text/plain; charset=utf-8', bytes: 'application/octet-stream' }

/** The one outgoing step of this command line: the bytes are there already. */
export const sendRaw: OutgoingMiddleware = (message, next) => {
  const { bytes, contentType } = message.body as RawBody
  message.bytes = bytes
  message.contentType = contentType
  return next(message)
}

/** The one incoming step: nothing is decoded, so that nothing can fail to be. */
export const receiveRaw: IncomingMiddleware = (message, next) => {
  message.body = message.wire.body
  return next(message)
}

/**
 * The content type that was given, else the one that the bytes look like: JSON where they parse as such, text where they
 * are UTF-8, else bytes. `file` decides by its name where that ends in `.json` or `.txt`.
 *
 * @throws ChasquiError `body-not-encodable` for what was said to be JSON and is not
 */
export function rawBody(bytes: Uint8Array, contentType: string | undefined, file?: string): RawBody {
  const named = extname(file ?? '') === '.txt' ? contentTypes.text : undefined
  const type =
    contentType ?? named ?? (isJson(bytes) ? contentTypes.json : isUtf8(bytes) ? contentTypes.text : contentTypes.bytes)
  const isWrong =
    (extname(file ?? '') === '.json' && contentType === undefined && type !== contentTypes.json) ||
    (saysJson(type) && !isJson(bytes))
  if (isWrong) {
    throw new ChasquiError('body-not-encodable', `The body is no JSON. Mend it, or say what it is with --content-type.`)
  }
  return { bytes, contentType: type }
}

/** What a person sees of a body: text as it is, of other bytes their number and kind. */
export function shownBody(bytes: Uint8Array, contentType: string | undefined): string {
  if (isUtf8(bytes)) return Buffer.from(bytes).toString('utf8')
  return `(${bytes.byteLength} bytes of ${contentType ?? 'no content type'})`
}

/** What a program reads of a body: JSON as its value, text as a string, other bytes in base64. */
export function bodyFields(bytes: Uint8Array, contentType: string | undefined): object {
  if (!isUtf8(bytes)) return { bodyBase64: Buffer.from(bytes).toString('base64') }
  const text = Buffer.from(bytes).toString('utf8')
  return { body: contentType !== undefined && saysJson(contentType) && isJson(bytes) ? JSON.parse(text) : text }
}

function saysJson(contentType: string): boolean {
  return /^application\/(?:[\w.+-]+\+)?json\b/i.test(contentType)
}

function isJson(bytes: Uint8Array): boolean {
  if (!isUtf8(bytes)) return false
  try {
    JSON.parse(Buffer.from(bytes).toString('utf8'))
    return true
  } catch {
    // It is something else, which is what was asked.
    return false
  }
}
