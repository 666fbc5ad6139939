/**
 * Messages that wait for their moment, on a broker that keeps none back by itself: they are published to where an
 * engine's own driver says, once everything that brings them back is there.
 */
import type { FieldTable } from '@chasqui/amqp'
import type { Connection } from '@chasqui/amqp/client'
import { ChasquiError, type Outgoing, type Target } from '@chasqui/driver'
import type { Address } from './address.ts'

/** How an engine without delays comes by them. */
export interface DelayRoutes {
  /**
   * Makes, on this connection, what leads a delayed message to `address` in the end. The queue or topic exists. Every
   * address has been prepared before it is published to, and may be prepared again.
   */
  prepare(connection: Connection, address: Address): Promise<void>
  /** What was made may be gone: the next preparation makes everything. */
  forget(): void
  /** Where to publish for `address` instead; `undefined` for a delay that is longer than this engine can wait. */
  detour(address: Address, delayMs: number): Address | undefined
  /** The headers of a message that leaves on a detour. */
  departing(headers: FieldTable): FieldTable
  /** The headers of a message that has arrived, without the traces of a detour. */
  arriving(headers: FieldTable): FieldTable
}

/** Knows which addresses are prepared, so that only the first delayed message for each waits. */
export class DelayPreparations {
  readonly #prepare: (address: Address, to: Target) => Promise<void>
  readonly #addressOf: (outgoing: Outgoing) => Address
  /** By place, with what is needed to prepare it again. */
  #ready = new Map<string, Outgoing>()
  readonly #running = new Map<string, Promise<void>>()

  constructor(options: {
    prepare(address: Address, to: Target): Promise<void>
    addressOf(outgoing: Outgoing): Address
  }) {
    this.#prepare = options.prepare
    this.#addressOf = options.addressOf
  }

  /** What was prepared may be gone. Returns what to prepare again for those messages that are on their way. */
  forget(): readonly Outgoing[] {
    const ready = this.#ready
    this.#ready = new Map()
    return [...ready.values()]
  }

  /** The messages of a batch that cannot be published yet. */
  missing(batch: readonly Outgoing[], now: number): Outgoing[] {
    return batch.filter(outgoing => isDelayed(outgoing, now) && !this.#ready.has(placeOf(this.#addressOf(outgoing))))
  }

  /** Prepares for these, and resolves with what cannot be. One after another, for each takes a channel. */
  async prepareFor(all: readonly Outgoing[]): Promise<ReadonlyMap<Outgoing, unknown>> {
    const failures = new Map<string, unknown>()
    const failed = new Map<Outgoing, unknown>()
    for (const outgoing of all) {
      const place = placeOf(this.#addressOf(outgoing))
      if (!this.#ready.has(place) && !failures.has(place)) {
        await this.#prepareOne(place, outgoing).catch(error => failures.set(place, error))
      }
      if (failures.has(place)) failed.set(outgoing, failures.get(place))
    }
    return failed
  }

  #prepareOne(place: string, outgoing: Outgoing): Promise<void> {
    let running = this.#running.get(place)
    if (running === undefined) {
      const ready = this.#ready
      const { to, message } = outgoing
      running = this.#prepare(this.#addressOf(outgoing), to)
        .then(() => {
          // The body may go.
          ready.set(place, { to, message: { ...message, body: nothing } })
        })
        .finally(() => this.#running.delete(place))
      this.#running.set(place, running)
    }
    return running
  }
}

const nothing = new Uint8Array(0)

/** The past means now. */
export function isDelayed({ message: { notBefore } }: Outgoing, now: number): boolean {
  return notBefore !== undefined && notBefore > now
}

export function tooLong(delayMs: number): ChasquiError {
  return new ChasquiError(
    'delay-unsupported',
    `The broker cannot keep a message back for ${Math.round(delayMs / 86_400_000)} days. Send it closer to its time.`,
    { details: { delayMs } },
  )
}

/** A topic takes every routing key, a queue has one. */
function placeOf({ exchange, routingKey }: Address): string {
  return exchange === '' ? `queue:${routingKey}` : `topic:${exchange}`
}
