/** `application/octet-stream`: bytes as they are. Handlers get a Buffer. */
import type { Format } from './format.ts'
import { asBuffer } from './text.ts'

export const bytesFormat: Format = {
  name: 'bytes',
  contentType: 'application/octet-stream',
  encode(value) {
    if (!(value instanceof Uint8Array)) {
      throw new TypeError(`application/octet-stream holds a Uint8Array or Buffer, not a value of type ${typeof value}`)
    }
    return value
  },
  decode(bytes) {
    return asBuffer(bytes)
  },
}
