/** What a channel is given: to whom it goes, how much of it is out, and how it is settled. */

import type { FrameWriter } from '../frame-writer.ts'
import {
  BASIC_ACK,
  BASIC_NACK,
  type BasicDeliver,
  type BasicGetOk,
  type BasicNack,
  type BasicReject,
} from '../generated/methods.ts'
import { Acknowledgements } from './acknowledgements.ts'
import type { ChannelHost } from './channel-port.ts'
import { Consumers } from './consumers.ts'
import { Delivery, GetDelivery } from './delivery.ts'

export class Deliveries {
  /** The content of the basic.get-ok that is being read. */
  got: { readonly header: Buffer; readonly start: number; readonly end: number; readonly body: Buffer } | undefined
  readonly #writer: FrameWriter
  readonly #channelNumber: number
  readonly #acks: Acknowledgements
  readonly #consumers = new Consumers()
  /** What the next consumer lives by, and all of the channel together. */
  #prefetch = 0
  #globalPrefetch = 0

  constructor(host: ChannelHost, channelNumber: number) {
    this.#writer = host.writer
    this.#channelNumber = channelNumber
    this.#acks = new Acknowledgements(host.flushQueue, (tag, multiple) => {
      this.#writer.method(channelNumber, { id: BASIC_ACK, deliveryTag: tag, multiple })
    })
  }

  /** False: each acknowledgement leaves by itself. */
  set gathering(gathering: boolean) {
    this.#acks.coalescing = gathering
  }

  setPrefetch(prefetch: number, global: boolean): void {
    if (global) this.#globalPrefetch = prefetch
    else this.#prefetch = prefetch
    this.#tellPrefetch()
  }

  addConsumer(tag: string, noAck: boolean, onDelivery: (delivery: Delivery) => void): void {
    this.#consumers.add({ tag, noAck, prefetch: this.#prefetch, onDelivery })
    this.#tellPrefetch()
  }

  /** False: there was none. */
  removeConsumer(tag: string): boolean {
    const known = this.#consumers.remove(tag)
    this.#tellPrefetch()
    return known
  }

  clear(): void {
    this.#consumers.clear()
  }

  /** Hands it to its consumer. Returns what is wrong, as a sentence, if there is none; throws what the consumer throws. */
  deliver(method: BasicDeliver, header: Buffer, start: number, end: number, body: Buffer): string | undefined {
    const { consumerTag, deliveryTag, redelivered, exchange, routingKey } = method
    const consumer = this.#consumers.get(consumerTag)
    if (consumer === undefined) {
      return `the server sent a message for the consumer '${consumerTag}', which does not exist`
    }
    this.#acks.delivered(deliveryTag, !consumer.noAck)
    consumer.onDelivery(
      new Delivery(consumerTag, deliveryTag, redelivered, exchange, routingKey, header, start, end, body),
    )
    return undefined
  }

  /** The message that `got` is the content of. */
  takeGot(answer: BasicGetOk, noAck: boolean): GetDelivery {
    const { header, start, end, body } = this.got!
    const { messageCount, deliveryTag, redelivered, exchange, routingKey } = answer
    this.#acks.delivered(deliveryTag, !noAck)
    return new GetDelivery(messageCount, '', deliveryTag, redelivered, exchange, routingKey, header, start, end, body)
  }

  ack(tag: number, multiple: boolean): void {
    if (!multiple && this.#acks.ack(tag)) return
    this.#acks.flush()
    this.#writer.method(this.#channelNumber, { id: BASIC_ACK, deliveryTag: tag, multiple })
    this.#acks.settle(tag, multiple)
  }

  refuse(method: BasicNack | BasicReject): void {
    this.#acks.flush()
    this.#writer.method(this.#channelNumber, method)
    this.#acks.settle(method.deliveryTag, method.id === BASIC_NACK && method.multiple)
  }

  /** They have been settled by something else than an acknowledgement. */
  settled(tag: number, multiple: boolean): void {
    this.#acks.settle(tag, multiple)
  }

  /** Writes the acknowledgements that were gathered, for what comes after them. */
  flush(): void {
    if (this.#acks.waiting > 0) this.#acks.flush()
  }

  #tellPrefetch(): void {
    const smallest = this.#consumers.smallestPrefetch
    const global = this.#globalPrefetch
    this.#acks.prefetch = smallest === undefined || global === 0 ? smallest : Math.min(smallest || global, global)
  }
}
