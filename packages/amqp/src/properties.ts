/** A message's properties on their own: the bytes from their flags on, as a content header holds them. */

import { asBuffer } from './field-table.ts'
import { type BasicProperties, propertiesBound, readProperties, writeProperties } from './generated/properties.ts'

/** The bytes from the flags on. Throws EncodingError. */
export function encodeProperties(properties: BasicProperties): Buffer {
  const buffer = Buffer.allocUnsafe(propertiesBound(properties))
  return buffer.subarray(0, writeProperties(buffer, 0, properties))
}

/**
 * The properties that `bytes` hold from `offset` on. Throws an AmqpError (502) where they are cut short or
 * malformed. Short strings that are no UTF-8 come with U+FFFD in the place of what is wrong: they are a stranger's,
 * and the message they are on must be got rid of somehow.
 */
export function decodeProperties(bytes: Uint8Array, offset = 0): BasicProperties {
  return readProperties(asBuffer(bytes), offset, bytes.length)
}
