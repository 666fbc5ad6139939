/** Writes what a channel publishes. Most messages go to the same address as the one before, so its method frame is kept. */

import { encodeMethodFrame } from '../frame.ts'
import type { FrameWriter } from '../frame-writer.ts'
import { BASIC_PUBLISH } from '../generated/methods.ts'
import type { BasicProperties } from '../generated/properties.ts'

export class Publishing {
  readonly #writer: FrameWriter
  readonly #channelNumber: number
  #exchange = ''
  #routingKey = ''
  #mandatory = false
  /** The frame of this address, made once a second message has it. */
  #frame: Buffer | undefined

  constructor(writer: FrameWriter, channelNumber: number) {
    this.#writer = writer
    this.#channelNumber = channelNumber
  }

  /** Throws EncodingError for what cannot be written; nothing is written then. */
  write(
    exchange: string,
    routingKey: string,
    mandatory: boolean,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
  ): void {
    const same = exchange === this.#exchange && routingKey === this.#routingKey && mandatory === this.#mandatory
    if (same && this.#frame !== undefined) {
      this.#writer.contentBehind(this.#frame, this.#channelNumber, properties, body)
      return
    }
    const method = { id: BASIC_PUBLISH, exchange, routingKey, mandatory, immediate: false } as const
    this.#writer.content(this.#channelNumber, method, properties, body)
    this.#frame = same ? encodeMethodFrame(this.#channelNumber, method) : undefined
    this.#exchange = exchange
    this.#routingKey = routingKey
    this.#mandatory = mandatory
  }
}
