/**
 * The one reply queue of a bus, made when it is first needed: replies come here, items of streams, and what requesters say to the
 * streams that this bus serves. Everything is taken and acknowledged as it comes, so the queue does not grow.
 */
import { randomUUID } from 'node:crypto'
import type { Batch, ChasquiError as ChasquiErrorType, Driver, Receiver, Sink, WireMessage } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import { replyDestination } from '../observe/metric-table.ts'
import { OpenDelivery, Settlements } from '../settle/settlement.ts'

/** How many replies may be unsettled at the reply queue. They are settled as they come. */
const replyWindow = 1000

/** Somebody who waits for messages at the reply queue. */
export interface Recipient {
  /** True if the message was for this one. */
  take(message: WireMessage): boolean
  /** What was under way is lost with its connection; the queue itself is there again. */
  interrupted(): void
  /** The queue has ended for good, or the bus is closed. */
  ended(error: ChasquiErrorType): void
}

export class ReplyQueue implements Sink {
  readonly name = `reply-${randomUUID()}`
  readonly #driver: Driver
  readonly #events: EventHub
  readonly #settlements: Settlements
  readonly #recipients: Recipient[] = []
  #receiver: Promise<Receiver> | undefined
  #closed: ChasquiErrorType | undefined

  constructor(driver: Driver, events: EventHub) {
    this.#driver = driver
    this.#events = events
    // Its own name is new with each bus, and says nothing to whoever reads metrics and logs.
    this.#settlements = new Settlements(replyDestination, events)
  }

  /** Messages are offered to those who joined, in that order. */
  join(recipient: Recipient): void {
    this.#recipients.push(recipient)
  }

  /** Resolves when the queue takes replies. May be called often. */
  open(): Promise<unknown> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed)
    this.#receiver ??= this.#driver
      .receive({ kind: 'reply', name: this.name }, this, { window: replyWindow, order: 'none' })
      .then(receiver => {
        this.#settlements.attach(receiver)
        return receiver
      })
      .catch((error: unknown) => {
        this.#receiver = undefined
        // A reply queue is made by receiving from it; a driver that looks for one instead cannot do this yet.
        if (isChasquiError(error) && error.code === 'destination-missing') throw noReplies(this.#driver, error)
        throw error
      })
    return this.#receiver
  }

  async close(error: ChasquiErrorType): Promise<void> {
    this.#closed = error
    for (const recipient of this.#recipients) recipient.ended(error)
    const receiver = await this.#receiver?.catch(() => undefined)
    await this.#settlements.flushed()
    await receiver?.stop()
  }

  // Sink

  deliver(batch: Batch): void {
    for (const item of batch.items) {
      const { message } = item
      if (!this.#recipients.some(recipient => recipient.take(message)) && this.#events.heard['late-reply']) {
        const { id, type, correlationId } = message
        this.#events.emit({ kind: 'late-reply', id, type, correlationId })
      }
      void this.#settlements.settle(new OpenDelivery(batch.lane, batch.epoch, item), 'ack')
    }
  }

  async revoke(): Promise<void> {
    for (const recipient of this.#recipients) recipient.interrupted()
  }

  fail(error: ChasquiErrorType): void {
    this.#receiver = undefined
    for (const recipient of this.#recipients) recipient.ended(error)
  }
}

function noReplies(driver: Driver, cause: ChasquiErrorType): ChasquiErrorType {
  const { engine } = driver.capabilities
  return new ChasquiError(
    'unsupported',
    `The driver of the engine ${engine} makes no reply queues yet: requests cannot be sent.`,
    {
      cause,
      details: { engine },
    },
  )
}
