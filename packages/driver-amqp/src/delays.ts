/**
 * Messages that wait for their moment, on a broker that keeps none back by itself: they are published to where an
 * engine's own driver says, once everything that brings them back is there.
 */
import type { FieldTable } from '@chasqui/amqp'
import type { Connection } from '@chasqui/amqp/client'
import { ChasquiError, type Outgoing } from '@chasqui/driver'
import type { Address } from './address.ts'

/** How an engine without delays comes by them. */
export interface DelayRoutes {
  /**
   * Makes, on this connection, what leads a delayed message to `address` in the end. The queue or topic exists. Every
   * address has been prepared before it is published to, and may be prepared again.
   */
  prepare(connection: Connection, address: Address): Promise<void>
  /** Where to publish for `address` instead; `undefined` for a delay that is longer than this engine can wait. */
  detour(address: Address, delayMs: number): Address | undefined
  /** The headers of a message that leaves on a detour. */
  departing(headers: FieldTable): FieldTable
  /** The headers of a message that has arrived, without the traces of a detour. */
  arriving(headers: FieldTable): FieldTable
}

/** Knows which addresses are prepared, so that only the first delayed message for each waits. */
export class DelayPreparations {
  readonly #prepare: (address: Address, outgoing: Outgoing) => Promise<void>
  readonly #addressOf: (outgoing: Outgoing) => Address
  #ready = new Set<string>()
  readonly #running = new Map<string, Promise<void>>()

  constructor(options: {
    prepare(address: Address, outgoing: Outgoing): Promise<void>
    addressOf(outgoing: Outgoing): Address
  }) {
    this.#prepare = options.prepare
    this.#addressOf = options.addressOf
  }

  /** What was prepared may be gone. */
  forget(): void {
    this.#ready = new Set()
  }

  /** The messages of a batch that cannot be published yet. */
  missing(batch: readonly Outgoing[], now: number): Outgoing[] {
    return batch.filter(outgoing => isDelayed(outgoing, now) && !this.#ready.has(placeOf(this.#addressOf(outgoing))))
  }

  /** Prepares for these, and resolves with what cannot be. */
  async prepareFor(all: readonly Outgoing[]): Promise<ReadonlyMap<Outgoing, unknown>> {
    const failed = new Map<Outgoing, unknown>()
    await Promise.all(all.map(outgoing => this.#prepareOne(outgoing).catch(error => failed.set(outgoing, error))))
    return failed
  }

  #prepareOne(outgoing: Outgoing): Promise<void> {
    const address = this.#addressOf(outgoing)
    const place = placeOf(address)
    let running = this.#running.get(place)
    if (running === undefined) {
      const ready = this.#ready
      running = this.#prepare(address, outgoing)
        .then(() => {
          ready.add(place)
        })
        .finally(() => this.#running.delete(place))
      this.#running.set(place, running)
    }
    return running
  }
}

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
