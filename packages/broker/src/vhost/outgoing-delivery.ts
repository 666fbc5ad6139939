/** A delivery as its session keeps it until it is settled. */
import type { BrokerMessage, Delivery } from '../message.ts'
import type { Consumer } from '../queue/consumer.ts'
import { DerivedMessage, readableProperties } from '../queue/dead-letter.ts'
import type { Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'

export class OutgoingDelivery implements Delivery {
  readonly tag: number
  readonly item: Item
  readonly queue: Queue
  readonly consumer: Consumer | undefined
  readonly message: BrokerMessage
  readonly redelivered: boolean
  readonly deliveryCount: number

  constructor(tag: number, item: Item, queue: Queue, consumer: Consumer | undefined) {
    this.tag = tag
    this.item = item
    this.queue = queue
    this.consumer = consumer
    this.message = item.envelope.message!
    this.redelivered = item.redelivered
    this.deliveryCount = item.returns
  }

  get consumerTag(): string {
    return this.consumer === undefined ? '' : this.consumer.tag
  }

  /**
   * The message as a client on the wire gets it: quorum queues say in `x-delivery-count` how often it came back, to
   * consumers from the second delivery on, to basic.get always.
   */
  get wireMessage(): BrokerMessage {
    if (this.deliveryCount === 0 && this.consumer !== undefined) return this.message
    if (this.queue.settings.type !== 'quorum') return this.message
    const properties = readableProperties(this.message)
    return new DerivedMessage(this.message, {
      properties: { ...properties, headers: { ...properties.headers, 'x-delivery-count': this.deliveryCount } },
    })
  }
}
