/** A message as it came in. */

import { type BasicProperties, readProperties } from '../generated/properties.ts'

export class Delivery {
  /** Which consumer it is for; empty on the answer to `get`. */
  readonly consumerTag: string
  /** Names it for `ack`, `nack` and `reject`, on the channel that it came on. */
  readonly deliveryTag: number
  /** It was delivered before: to whom, and whether they saw it, is unknown. */
  readonly redelivered: boolean
  readonly exchange: string
  readonly routingKey: string
  /**
   * A view of the memory that it was read into, which other messages may share: copy it to keep a small body for
   * long. Nobody writes to it.
   */
  readonly body: Buffer
  readonly #header: Buffer
  readonly #start: number
  readonly #end: number
  #properties: BasicProperties | undefined

  constructor(
    consumerTag: string,
    deliveryTag: number,
    redelivered: boolean,
    exchange: string,
    routingKey: string,
    header: Buffer,
    start: number,
    end: number,
    body: Buffer,
  ) {
    this.consumerTag = consumerTag
    this.deliveryTag = deliveryTag
    this.redelivered = redelivered
    this.exchange = exchange
    this.routingKey = routingKey
    this.body = body
    this.#header = header
    this.#start = start
    this.#end = end
    this.#properties = undefined
  }

  /** Read at the first access. Throws an AmqpError (502) where a peer wrote no good properties and the broker let them pass. */
  get properties(): BasicProperties {
    this.#properties ??= readProperties(this.#header, this.#start, this.#end)
    return this.#properties
  }

  /** The properties as they came, from their flags on. */
  get propertyBytes(): Buffer {
    return this.#header.subarray(this.#start, this.#end)
  }
}

/** The answer to `get`. */
export class GetDelivery extends Delivery {
  /** How many messages are left in the queue. */
  readonly messageCount: number

  constructor(messageCount: number, ...delivery: ConstructorParameters<typeof Delivery>) {
    super(...delivery)
    this.messageCount = messageCount
  }
}

/** A mandatory message that no queue took. */
export interface Returned {
  readonly replyCode: number
  readonly replyText: string
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  readonly body: Buffer
}
