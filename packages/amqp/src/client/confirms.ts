/**
 * Which published message a confirm is about. The channel counts its publishes from 1 and so does the broker; an
 * ack or nack bears that number and, with `multiple`, all that are open below it (RabbitMQ, "Consumer Acknowledgements
 * and Publisher Confirms").
 *
 *   settled ... | #first                     #next |
 *               [open][settled][open] ... [open]      a ring; it doubles when it is full
 *
 * A mandatory message without a queue comes back (basic.return) before its ack, with neither number nor order
 * towards other acks. It is found among the open mandatory ones by exchange, key and content: returns keep the
 * order of publishing, so the first that is equal is the one, or no different from it.
 */

import type { BasicReturn } from '../generated/methods.ts'
import type { BasicProperties } from '../generated/properties.ts'
import { encodeProperties } from '../properties.ts'
import { PublishError } from './connection-error.ts'

/** What became of a message. `lost`: channel or connection ended first, so that it is in doubt. */
export type ConfirmOutcome =
  | 'ack'
  | 'nack'
  | { readonly returned: { readonly replyCode: number; readonly replyText: string } }
  | { readonly lost: Error }

export type Settled = (outcome: ConfirmOutcome) => void

class Mandatory {
  readonly settled: Settled
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties | Uint8Array
  readonly body: Uint8Array
  outcome: ConfirmOutcome = 'ack'

  constructor(
    settled: Settled,
    exchange: string,
    routingKey: string,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
  ) {
    this.settled = settled
    this.exchange = exchange
    this.routingKey = routingKey
    this.properties = properties
    this.body = body
  }
}

const startSlots = 64

export class Confirms {
  #slots: (Settled | Mandatory | undefined)[] = new Array(startSlots).fill(undefined)
  #mask = startSlots - 1
  #first = 1
  #next = 1
  #open = 0
  readonly #onListenerError: (error: unknown) => void

  /** `onListenerError` hears of a callback that threw; the others are called all the same. */
  constructor(onListenerError: (error: unknown) => void) {
    this.#onListenerError = onListenerError
  }

  /** How many messages are published and not settled. */
  get open(): number {
    return this.#open
  }

  /** A publish that nobody waits for takes a number too. */
  skip(): void {
    this.#take(undefined)
  }

  add(settled: Settled): void {
    this.#take(settled)
    this.#open++
  }

  addMandatory(
    settled: Settled,
    exchange: string,
    routingKey: string,
    properties: BasicProperties | Uint8Array,
    body: Uint8Array,
  ): void {
    this.#take(new Mandatory(settled, exchange, routingKey, properties, body))
    this.#open++
  }

  #take(entry: Settled | Mandatory | undefined): void {
    if (this.#next - this.#first > this.#mask) {
      // Behind skipped numbers there may be room.
      this.#advance()
      if (this.#next - this.#first > this.#mask) this.#grow()
    }
    this.#slots[this.#next & this.#mask] = entry
    this.#next++
  }

  /** A broker that acknowledges what was never published: false. */
  settle(tag: number, multiple: boolean, outcome: 'ack' | 'nack'): boolean {
    if (tag >= this.#next) return false
    if (multiple) {
      // 0 means all so far (AMQP 0-9-1, basic.ack, multiple).
      const last = tag === 0 ? this.#next - 1 : tag
      while (this.#first <= last) this.#settleSlot(this.#first++, outcome)
      return true
    }
    if (tag < this.#first) return true
    this.#settleSlot(tag, outcome)
    if (tag === this.#first) {
      this.#first++
      this.#advance()
    }
    return true
  }

  #settleSlot(tag: number, outcome: 'ack' | 'nack'): void {
    const at = tag & this.#mask
    const entry = this.#slots[at]
    if (entry === undefined) return
    this.#slots[at] = undefined
    this.#open--
    if (typeof entry === 'function') this.#call(entry, outcome)
    else this.#call(entry.settled, outcome === 'ack' ? entry.outcome : outcome)
  }

  /** Moves over what is settled already. */
  #advance(): void {
    while (this.#first < this.#next && this.#slots[this.#first & this.#mask] === undefined) this.#first++
  }

  #call(settled: Settled, outcome: ConfirmOutcome): void {
    try {
      settled(outcome)
    } catch (error) {
      this.#onListenerError(error)
    }
  }

  /** Notes on a mandatory message that it came back. `header` holds its encoded properties. */
  returned(method: BasicReturn, header: Uint8Array, body: Uint8Array): void {
    const entry =
      this.#find(candidate => sameAddress(candidate, method) && sameContent(candidate, header, body)) ??
      // A broker may have changed the properties on the way.
      this.#find(candidate => sameAddress(candidate, method))
    if (entry === undefined) return
    entry.outcome = { returned: { replyCode: method.replyCode, replyText: method.replyText } }
  }

  #find(matches: (entry: Mandatory) => boolean): Mandatory | undefined {
    for (let tag = this.#first; tag < this.#next; tag++) {
      const entry = this.#slots[tag & this.#mask]
      if (entry instanceof Mandatory && entry.outcome === 'ack' && matches(entry)) return entry
    }
    return undefined
  }

  /** Tells everybody who still waits, oldest first. */
  lose(error: Error): void {
    const lost: ConfirmOutcome = { lost: error }
    while (this.#first < this.#next) {
      const at = this.#first++ & this.#mask
      const entry = this.#slots[at]
      if (entry === undefined) continue
      this.#slots[at] = undefined
      this.#open--
      this.#call(typeof entry === 'function' ? entry : entry.settled, lost)
    }
  }

  #grow(): void {
    const slots: (Settled | Mandatory | undefined)[] = new Array((this.#mask + 1) * 2).fill(undefined)
    const mask = slots.length - 1
    for (let tag = this.#first; tag < this.#next; tag++) slots[tag & mask] = this.#slots[tag & this.#mask]
    this.#slots = slots
    this.#mask = mask
  }
}

function sameAddress(entry: Mandatory, method: BasicReturn): boolean {
  return entry.exchange === method.exchange && entry.routingKey === method.routingKey
}

function sameContent(entry: Mandatory, header: Uint8Array, body: Uint8Array): boolean {
  if (Buffer.compare(entry.body, body) !== 0) return false
  const { properties } = entry
  return Buffer.compare(properties instanceof Uint8Array ? properties : encodeProperties(properties), header) === 0
}

/** The outcome as an error that says where the message was to go. */
export function publishError(
  outcome: Exclude<ConfirmOutcome, 'ack'>,
  exchange: string,
  routingKey: string,
): PublishError {
  const to = exchange === '' ? `queue '${routingKey}'` : `exchange '${exchange}' with key '${routingKey}'`
  if (outcome === 'nack') {
    return new PublishError('nacked', `The broker refused the message for ${to}: a full queue, or its own failure.`)
  }
  if ('lost' in outcome) {
    const { lost } = outcome
    return new PublishError('lost', `The message for ${to} may have arrived or not: ${lost.message}`, { cause: lost })
  }
  const { replyCode, replyText } = outcome.returned
  return new PublishError('returned', `The message for ${to} came back: ${replyText} (reply code ${replyCode}).`, {
    replyCode,
    replyText,
  })
}
