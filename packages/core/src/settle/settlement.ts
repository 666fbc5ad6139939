/**
 * One delivery, settled once; and the settlements of one tick gathered into few calls to the driver.
 *
 * open -> settled (acknowledged, or gone back) | stale (its lane was lost, or its consumer gave up waiting)
 */
import type { Incoming, Receiver } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'

export type Settled = 'done' | 'stale'

/** A delivery in the hands of a consumer, over all its attempts. */
export class OpenDelivery {
  readonly lane: string
  readonly epoch: number
  readonly item: Incoming
  state: 'open' | 'settled' | 'stale' = 'open'
  attempt = 0
  /** Milliseconds since the epoch; 0: never failed. */
  firstFailedAt = 0
  /** Its place among the running ones, -1 when it is not among them. The consumer's. */
  slot = -1

  constructor(lane: string, epoch: number, item: Incoming) {
    this.lane = lane
    this.epoch = epoch
    this.item = item
  }
}

interface Group {
  readonly lane: string
  readonly epoch: number
  readonly outcome: 'ack' | 'requeue'
  readonly tags: number[]
  readonly settled: Promise<Settled>
  readonly tell: (settled: Settled) => void
}

/** So many settlements leave at once even while more keep coming. */
const maxGathered = 50

export class Settlements {
  readonly #source: string
  readonly #events: EventHub
  #receiver: Receiver | undefined
  #groups: Group[] = []
  /** The group that the last settlement went to: nearly always the next one's too. */
  #latest: Group | undefined
  #gathered = 0
  #gatheredBefore = 0
  #scheduled = false
  #inFlight = 0
  #idle: (() => void)[] = []
  readonly #send = () => {
    // While more keep coming, as they do when handlers resolve in the same turn, the call waits for them.
    if (this.#gathered > this.#gatheredBefore && this.#gathered < maxGathered) {
      this.#gatheredBefore = this.#gathered
      queueMicrotask(this.#send)
    } else {
      this.#flush()
    }
  }

  constructor(source: string, events: EventHub) {
    this.#source = source
    this.#events = events
  }

  /** Nothing can be settled before the receiver is there. */
  attach(receiver: Receiver): void {
    this.#receiver = receiver
  }

  /**
   * Settles an open delivery with this tick's others. Resolves once the engine was told: `stale` when the delivery
   * belonged to a connection that is gone. Does not reject. Throws `already-settled` and `delivery-stale`.
   */
  settle(delivery: OpenDelivery, outcome: 'ack' | 'requeue'): Promise<Settled> {
    if (delivery.state !== 'open') throw notOpen(delivery)
    delivery.state = 'settled'
    const { lane, epoch } = delivery
    let group = this.#latest
    if (group === undefined || group.outcome !== outcome || group.epoch !== epoch || group.lane !== lane) {
      group = this.#groups.find(other => other.outcome === outcome && other.epoch === epoch && other.lane === lane)
    }
    if (group === undefined) {
      const { promise, resolve } = Promise.withResolvers<Settled>()
      group = { lane, epoch, outcome, tags: [], settled: promise, tell: resolve }
      this.#groups.push(group)
      if (!this.#scheduled) {
        this.#scheduled = true
        queueMicrotask(this.#send)
      }
    }
    this.#latest = group
    group.tags.push(delivery.item.tag)
    this.#gathered += 1
    return group.settled
  }

  /** Marks as settled what the driver settled in another way (a transfer). */
  settledElsewhere(delivery: OpenDelivery): void {
    if (delivery.state !== 'open') throw notOpen(delivery)
    delivery.state = 'settled'
  }

  /** Resolves when everything settled so far has been told to the engine. */
  async flushed(): Promise<void> {
    this.#flush()
    if (this.#inFlight > 0) await new Promise<void>(resolve => this.#idle.push(resolve))
  }

  #flush(): void {
    this.#scheduled = false
    this.#latest = undefined
    this.#gathered = 0
    this.#gatheredBefore = 0
    const groups = this.#groups
    if (groups.length === 0) return
    this.#groups = []
    for (const group of groups) {
      this.#inFlight += 1
      void this.#tell(group.lane, group.epoch, group.tags, group.outcome).then(settled => {
        group.tell(settled)
        this.#inFlight -= 1
        if (this.#inFlight > 0) return
        const idle = this.#idle
        this.#idle = []
        for (const tell of idle) tell()
      })
    }
  }

  /** A receiver that cannot settle any more has lost its deliveries; the engine hands them out again. */
  async #tell(lane: string, epoch: number, tags: readonly number[], outcome: Group['outcome']): Promise<Settled> {
    const receiver = this.#receiver
    if (receiver === undefined) return 'stale'
    const startedAt = this.#events.heard.settled ? performance.now() : 0
    try {
      const settled = await receiver.settle(lane, epoch, tags, outcome)
      if (settled === 'stale') this.#late(tags.length)
      else if (startedAt > 0) this.#tellSettled(outcome, tags.length, performance.now() - startedAt)
      return settled
    } catch (error) {
      this.#late(tags.length, error)
      return 'stale'
    }
  }

  #tellSettled(outcome: Group['outcome'], count: number, durationMs: number): void {
    this.#events.emit({ kind: 'settled', source: this.#source, outcome, count, durationMs })
  }

  #late(count: number, error?: unknown): void {
    if (this.#events.heard['settled-late'])
      this.#events.emit({ kind: 'settled-late', source: this.#source, count, error })
  }
}

export function notOpen(delivery: { readonly state: 'open' | 'settled' | 'stale' }): ChasquiError {
  return delivery.state === 'settled'
    ? new ChasquiError('already-settled', 'The delivery was settled before. Settle each one once.')
    : staleError()
}

export function staleError(): ChasquiError {
  return new ChasquiError(
    'delivery-stale',
    'The delivery went back to the engine (its connection was lost, or its consumer ended) and will be handed out again.',
  )
}
