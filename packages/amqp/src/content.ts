/**
 * Contents on the way in: a method, its header, then bodies until the size that the header gave is there
 * (AMQP 0-9-1 section 2.3.5.2). Each channel has at most one content open.
 *
 * A body that lies in one frame is a view of the chunk it came in. One that is spread over frames is joined once,
 * when its last byte is there; what is held until then is what has arrived, never what was announced.
 */

import { AmqpError } from './errors.ts'
import { type ContentMethod, methodNames } from './generated/methods.ts'

/** The content that a channel is in the middle of. */
export class OpenContent {
  readonly method: ContentMethod
  /** Where the properties lie, from their flags on; undefined until the header came. */
  header: Buffer | undefined = undefined
  headerStart = 0
  headerEnd = 0
  /** Bytes of the body still to come. */
  missing = 0
  /** Set where the body is more than the reader takes: its frames are dropped. */
  refused = false
  readonly #parts: Buffer[] = []
  #bytes = 0

  constructor(method: ContentMethod) {
    this.method = method
  }

  /** No part of the body came yet, and it is wanted. */
  get untouched(): boolean {
    return this.#bytes === 0 && !this.refused
  }

  /** Takes the payload of one body frame. The caller makes sure that it does not live in memory that is used again. */
  add(part: Buffer): void {
    if (part.length > this.missing) {
      throw AmqpError.of(
        'unexpected-frame',
        `the body of ${methodNames.get(this.method.id)} is longer than its header said`,
        { classId: this.method.id >>> 16, methodId: this.method.id & 0xffff },
      )
    }
    this.missing -= part.length
    if (this.refused) return
    this.#parts.push(part)
    this.#bytes += part.length
  }

  /** The whole body, once nothing is missing. */
  body(): Buffer {
    return this.#parts.length === 1 ? this.#parts[0]! : Buffer.concat(this.#parts, this.#bytes)
  }
}
