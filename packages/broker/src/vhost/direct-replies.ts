/**
 * Replies without a queue (RabbitMQ, "Direct Reply-to"): a session consumes the name `amq.rabbitmq.reply-to`, gets an
 * address for its requests, and what is published to that address goes to it at once, or nowhere when it is gone.
 *
 *     consume 'amq.rabbitmq.reply-to' -> address 'amq.rabbitmq.reply-to.TOKEN'
 *     publish, reply_to = 'amq.rabbitmq.reply-to'  -> reply_to = the address
 *     publish to exchange '', key = the address    -> the session that has it
 *
 * An address cannot be guessed, and dies with its consumer. Replies that its client is too slow to take wait up to a bound.
 */
import { randomBytes } from 'node:crypto'
import type { BrokerMessage, Delivery } from '../message.ts'

export const directReplyName = 'amq.rabbitmq.reply-to'
const prefix = `${directReplyName}.`

/** Bytes of bodies that may wait for one consumer; what comes beyond is dropped. */
const mostWaitingBytes = 16_777_216

/** The session that replies go to. */
interface ReplyTaker {
  takeReply(message: BrokerMessage): void
}

export class DirectReplies {
  readonly #takers = new Map<string, ReplyTaker>()

  /** An address for this session. */
  open(taker: ReplyTaker): string {
    const address = prefix + randomBytes(18).toString('base64url')
    this.#takers.set(address, taker)
    return address
  }

  close(address: string): void {
    this.#takers.delete(address)
  }

  /** The name is one that replies may go to, or the one that gives an address. */
  has(name: string): boolean {
    return name === directReplyName || this.#takers.has(name)
  }

  /** Hands it over, when its routing key is the address of somebody. */
  deliver(message: BrokerMessage): void {
    if (message.routingKey.startsWith(prefix)) this.#takers.get(message.routingKey)?.takeReply(message)
  }
}

/** True for the name that gives an address, and for addresses. */
export function isReplyName(name: string): boolean {
  return name === directReplyName || name.startsWith(prefix)
}

/** What one session consumes of replies. */
export class ReplyConsumer {
  readonly tag: string
  readonly address: string
  /** Replies were dropped since the last `take`. */
  dropping = false
  #waiting: Delivery[] = []
  #bytes = 0

  constructor(tag: string, address: string) {
    this.tag = tag
    this.address = address
  }

  /** False when too much waits: the reply is dropped. */
  add(tag: number, message: BrokerMessage): boolean {
    if (this.#bytes > 0 && this.#bytes + message.body.byteLength > mostWaitingBytes) return false
    this.#bytes += message.body.byteLength
    this.#waiting.push({ consumerTag: this.tag, tag, message, redelivered: false, deliveryCount: 0 })
    return true
  }

  /** What waits, which nothing does afterwards. */
  take(): readonly Delivery[] {
    const waiting = this.#waiting
    this.#waiting = []
    this.#bytes = 0
    this.dropping = false
    return waiting
  }
}
