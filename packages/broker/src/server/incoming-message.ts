/**
 * A message as it came over the wire. Its properties stay the bytes that they were: they are checked when they come
 * in, decoded only when somebody asks for one of them, and sent on as they are.
 */
import { type BasicProperties, readProperties } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'

export class IncomingMessage implements BrokerMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly body: Uint8Array
  readonly persistent: boolean
  readonly timed: boolean
  readonly #header: Buffer
  readonly #start: number
  readonly #end: number
  #propertyBytes: Uint8Array | undefined = undefined
  #properties: BasicProperties | undefined = undefined

  /** The property bytes lie in `header` from `start` up to `end` and have passed `checkProperties`. */
  constructor(
    exchange: string,
    routingKey: string,
    header: Buffer,
    start: number,
    end: number,
    body: Uint8Array,
    persistent: boolean,
    timed: boolean,
  ) {
    this.exchange = exchange
    this.routingKey = routingKey
    this.body = body
    this.persistent = persistent
    this.timed = timed
    this.#header = header
    this.#start = start
    this.#end = end
  }

  get propertyBytes(): Uint8Array {
    this.#propertyBytes ??= this.#header.subarray(this.#start, this.#end)
    return this.#propertyBytes
  }

  get properties(): BasicProperties {
    this.#properties ??= readProperties(this.#header, this.#start, this.#end)
    return this.#properties
  }
}
