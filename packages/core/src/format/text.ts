/** `text/plain`: strings. Written as UTF-8; read in the charset that the message names, UTF-8 without one. */

import { isUtf8 } from 'node:buffer'
import type { ContentTypeParameters, Format } from './format.ts'

export const textFormat: Format = {
  name: 'text',
  contentType: 'text/plain; charset=utf-8',
  encode(value) {
    if (typeof value !== 'string') throw new TypeError(`text/plain holds a string, not a value of type ${typeof value}`)
    if (!value.isWellFormed()) throw new TypeError('the string has half a surrogate pair, which UTF-8 cannot hold')
    return Buffer.from(value, 'utf8')
  },
  decode(bytes, parameters) {
    return decodeText(bytes, parameters)
  },
}

/** The text that the bytes are; throws when they are not valid in their charset, or the charset is unknown. */
export function decodeText(bytes: Uint8Array, parameters: ContentTypeParameters): string {
  const charset = parameters.charset
  if (charset !== undefined && !/^(?:utf-?8|us-ascii)$/i.test(charset)) {
    return new TextDecoder(charset, { fatal: true }).decode(bytes)
  }
  const text = asBuffer(bytes).toString('utf8')
  // A replacement character is either in the text itself or stands for a wrong byte: only then is the second look needed.
  if (text.includes('\ufffd') && !isUtf8(bytes)) throw new TypeError('the bytes are not valid UTF-8')
  return text
}

/** The same bytes as a Buffer, without a copy. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
