/**
 * Moves what a consumer gives up to its dead-letter queue, and tries until it is confirmed there: while it is not, the
 * original stays unsettled, so the engine still has it. Nothing is given up silently.
 */
import type { Driver, Outgoing, Receiver, Source } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import type { Destinations } from '../send/destinations.ts'
import type { Ready } from '../send/outgoing.ts'
import { copyThenAck } from '../settle/copy-then-ack.ts'
import type { OpenDelivery, Settlements } from '../settle/settlement.ts'
import type { Failure, Telling } from './dead-letter.ts'
import { deadLetterCopy, deadLetterName, faultCopy, isLastStop, sourceName, tellingAfter } from './dead-letter.ts'

/** Pauses between tries, in milliseconds: doubling from the first to the last. */
const firstPauseMs = 1000
const lastPauseMs = 30_000

export interface MoverParts {
  readonly driver: Driver
  readonly destinations: Destinations
  readonly settlements: Settlements
  readonly events: EventHub
  readonly source: Source
  /** Who gave the message up, for its headers. */
  readonly consumer: string
  readonly sendTimeoutMs: number
  readonly faults: boolean
  /** `false`: queues that are absent stay so, and messages stay where they are. */
  readonly create: boolean
}

export class DeadLetterMover {
  readonly #parts: MoverParts
  readonly #name: string
  readonly #deadLetter: string
  readonly #queue: Ready
  readonly #fault: Ready | undefined
  #receiver: Receiver | undefined
  /** Wakes those who wait between two tries, so that stopping need not wait for them. */
  readonly #sleepers = new Set<() => void>()
  #stopped = false

  constructor(parts: MoverParts) {
    const { destinations, source, create } = parts
    this.#parts = parts
    this.#name = sourceName(source)
    this.#deadLetter = deadLetterName(source)
    const wanted = { durable: true, create, lanes: undefined }
    this.#queue = destinations.queue(this.#deadLetter, wanted)
    this.#fault =
      parts.faults && !isLastStop(this.#name) ? destinations.topic(`${this.#name}.fault`, wanted) : undefined
  }

  attach(receiver: Receiver): void {
    this.#receiver = receiver
  }

  /** Resolves when the message lies in the dead-letter queue, or the delivery is not open any more. Does not reject. */
  async move(delivery: OpenDelivery, failure: Failure): Promise<void> {
    let pauseMs = firstPauseMs
    let telling: Telling = 'all'
    while (delivery.state === 'open' && !this.#stopped) {
      const error = await this.#try(delivery, failure, telling)
      if (error === undefined) return
      const next = tellingAfter(telling, error)
      if (next !== telling) {
        telling = next
        continue
      }
      const { id, type } = delivery.item.message
      this.#parts.events.emit({
        kind: 'dead-letter-failed',
        source: this.#name,
        id,
        type,
        deadLetter: this.#deadLetter,
        error,
        delayMs: pauseMs,
      })
      await this.#sleep(pauseMs)
      pauseMs = Math.min(pauseMs * 2, lastPauseMs)
    }
  }

  /** No further try; what is open goes back with its receiver. */
  stop(): void {
    this.#stopped = true
    for (const wake of this.#sleepers) wake()
  }

  /** What kept the message from moving; `undefined` when it moved or is not ours any more. */
  async #try(delivery: OpenDelivery, failure: Failure, telling: Telling): Promise<unknown> {
    const { driver, settlements, source, consumer, sendTimeoutMs, events } = this.#parts
    const { message } = delivery.item
    try {
      // Those who read dead letters would move them in a circle: there the message stays where it is.
      if (isLastStop(this.#name)) return new Error(`"${this.#name}" is the last stop: handle the message or delete it`)
      if (!this.#queue.ready) await this.#queue.wait()
      const letter = deadLetterCopy(message, source, consumer, failure, telling)
      const copies: Outgoing[] = [{ to: { kind: 'queue', name: this.#deadLetter }, message: letter }]
      if (this.#fault !== undefined) {
        if (!this.#fault.ready) await this.#fault.wait()
        copies.push({ to: { kind: 'topic', name: `${this.#name}.fault` }, message: faultCopy(message) })
      }
      const moved = await copyThenAck(driver, this.#receiver, settlements, delivery, copies, sendTimeoutMs)
      if (moved === 'moved' && events.heard['dead-lettered']) this.#tell(delivery, failure)
      return undefined
    } catch (error) {
      this.#queue.forget()
      this.#fault?.forget()
      return error
    }
  }

  #tell(delivery: OpenDelivery, failure: Failure): void {
    const { id, type } = delivery.item.message
    const { code, reason, error, attempts } = failure
    const deadLetter = this.#deadLetter
    this.#parts.events.emit({
      kind: 'dead-lettered',
      source: this.#name,
      id,
      type,
      attempts,
      code,
      reason,
      deadLetter,
      error,
    })
  }

  #sleep(delayMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#sleepers.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, delayMs)
      this.#sleepers.add(wake)
    })
  }
}
