/**
 * Metrics, made of events, in prom-client's registry: which event counts as what. Labels are bounded: destinations beyond the first
 * `maxDestinations` share one, reply queues share one, and errors are told by the codes of the error table alone.
 */
import { isChasquiError } from '@chasqui/driver'
import { Registry } from 'prom-client'
import type { BusEvent, EventHub, EventKind } from './events.ts'
import type { Series } from './metric-books.ts'
import { Durations, showGauge, Tally } from './metric-books.ts'
import { label, maxDestinations, metricTable, otherDestinations, replyDestination } from './metric-table.ts'

/** What a consumer tells of this moment. */
export interface InFlight {
  readonly name: string
  /** How many of its handlers run. */
  readonly inFlight: number
  /** How many may. */
  readonly concurrency: number
}

const kinds: readonly EventKind[] = [
  'sent',
  'send-failed',
  'send-refused',
  'received',
  'handled',
  'attempt-failed',
  'retried',
  'delay-cut',
  'retry-held',
  'dead-lettered',
  'dead-letter-failed',
  'redriven',
  'discarded',
  'released',
  'unrouted',
  'settled',
  'settled-late',
  'request-cancelled',
  'streamed',
  'late-reply',
  'hook-failed',
  'driver-failed',
  'state',
  'reconnected',
  'bound-reached',
  'circuit-opened',
  'circuit-closed',
  'consumer-stalled',
  'consumer-stopped',
  'consumer-failed',
]

type Table = typeof metricTable
type NameOf<T extends 'counter' | 'histogram'> = {
  [N in keyof Table]: Table[N]['type'] extends T ? N : never
}[keyof Table]
type Counted = NameOf<'counter'>

export class Metrics {
  /** prom-client's registry, to be merged with an application's own. */
  readonly registry = new Registry()
  readonly #system: Record<string, string>
  readonly #names = new Set<string>()
  #lastName = ''
  readonly #tallies: Readonly<Record<Counted, Tally>>
  readonly #sending: Series
  readonly #settling: Series
  readonly #handling: Series
  readonly #pipeline: Series
  readonly #circuits = new Map<string, number>()
  #up = true

  constructor(engine: string, inFlight: () => Iterable<InFlight>) {
    const { registry } = this
    this.#system = { [label.system]: engine }
    this.#tallies = this.#counters()
    const operations = new Durations(metricTable.operations, registry)
    this.#sending = operations.series(this.#operation('send'))
    this.#settling = operations.series(this.#operation('settle'))
    this.#handling = new Durations(metricTable.handling, registry).series(this.#operation('process'))
    this.#pipeline = new Durations(metricTable.pipeline, registry).series(this.#system)
    const consumers = (value: (one: InFlight) => number) => () => this.#summed(inFlight(), value)
    showGauge(
      metricTable.inFlight,
      registry,
      this.#system,
      consumers(one => one.inFlight),
    )
    showGauge(
      metricTable.concurrency,
      registry,
      this.#system,
      consumers(one => one.concurrency),
    )
    showGauge(metricTable.circuitOpen, registry, this.#system, () => this.#circuits)
    showGauge(metricTable.connected, registry, this.#system, () => [['', this.#up ? 1 : 0]])
  }

  /** Counts from now on; the returned function ends that. */
  listen(events: EventHub): () => void {
    return events.listen(event => this.#count(event), kinds)
  }

  #count(event: BusEvent): void {
    const tallies = this.#tallies
    switch (event.kind) {
      case 'sent': {
        const name = event.target === 'reply' ? replyDestination : this.#label(event.destination)
        tallies.sent.add(name)
        this.#sending.add(name, event.durationMs)
        return
      }
      case 'send-failed':
      case 'send-refused': {
        const name = event.target === 'reply' ? replyDestination : this.#label(event.destination)
        tallies.sent.add(name, codeOf(event.error))
        return
      }
      case 'received': {
        const name = this.#label(event.source)
        tallies.received.add(name)
        if (event.redelivered) tallies.redelivered.add(name)
        return
      }
      case 'handled': {
        const name = this.#label(event.source)
        this.#handling.add(name, event.durationMs)
        this.#pipeline.add(name, event.pipelineMs)
        return
      }
      case 'attempt-failed': {
        const name = this.#label(event.source)
        this.#handling.add(name, event.durationMs)
        tallies.failed.add(name, codeOf(event.error))
        return
      }
      case 'settled':
        this.#settling.add(this.#label(event.source), event.durationMs)
        return
      case 'settled-late':
        tallies.lateSettlements.add(this.#label(event.source), '', event.count)
        return
      case 'dead-lettered':
        tallies.deadLettered.add(this.#label(event.source), event.code)
        return
      case 'consumer-failed':
        tallies.consumerFailures.add(this.#label(event.source), codeOf(event.error))
        return
      case 'streamed': {
        const name = this.#label(event.source)
        tallies.streams.add(name, event.end)
        tallies.streamItems.add(name, '', event.items)
        return
      }
      default:
        this.#countRare(event)
    }
  }

  #countRare(event: BusEvent): void {
    const tallies = this.#tallies
    switch (event.kind) {
      case 'retried':
        tallies.retried.add(this.#label(event.source))
        return
      case 'delay-cut':
        tallies.cutDelays.add(this.#label(event.source))
        return
      case 'retry-held':
        tallies.heldRetries.add(this.#label(event.source))
        return
      case 'dead-letter-failed':
        tallies.deadLetterFailures.add(this.#label(event.source))
        return
      case 'redriven':
        tallies.redriven.add(this.#label(event.source))
        return
      case 'discarded':
        tallies.discarded.add(this.#label(event.source))
        return
      case 'released':
        tallies.released.add(this.#label(event.source))
        return
      case 'unrouted':
        tallies.unrouted.add(this.#label(event.source))
        return
      case 'bound-reached':
        tallies.boundReached.add(this.#label(event.source))
        return
      case 'circuit-opened':
        tallies.circuitOpenings.add(this.#label(event.source))
        this.#circuits.set(this.#label(event.source), 1)
        return
      case 'circuit-closed':
      case 'consumer-stopped':
        if (this.#circuits.has(event.source)) this.#circuits.set(event.source, 0)
        return
      case 'request-cancelled':
        tallies.cancelled.add(this.#label(event.source))
        return
      case 'consumer-stalled':
        tallies.stalls.add(this.#label(event.source))
        return
      case 'late-reply':
        tallies.lateReplies.add('')
        return
      case 'hook-failed':
        tallies.hookFailures.add('')
        return
      case 'driver-failed':
        tallies.driverFailures.add('')
        return
      case 'state':
        this.#up = event.state === 'up'
        return
      case 'reconnected':
        tallies.reconnects.add('')
        return
    }
  }

  /** The name itself for the first destinations, one label for all others. */
  #label(name: string): string {
    if (name === this.#lastName || this.#names.has(name)) {
      this.#lastName = name
      return name
    }
    if (this.#names.size >= maxDestinations) return otherDestinations
    this.#names.add(name)
    return name
  }

  /** Consumers of one source count together. */
  #summed(consumers: Iterable<InFlight>, value: (one: InFlight) => number): Map<string, number> {
    const sums = new Map<string, number>()
    for (const one of consumers) {
      const name = this.#label(one.name)
      sums.set(name, (sums.get(name) ?? 0) + value(one))
    }
    return sums
  }

  #operation(name: string): Record<string, string> {
    return { ...this.#system, [label.operation]: name }
  }

  #counters(): Record<Counted, Tally> {
    const operations: { readonly [N in Counted]?: string } = { sent: 'send', received: 'receive' }
    const tallies: Partial<Record<Counted, Tally>> = {}
    for (const [name, info] of Object.entries(metricTable) as [Counted, (typeof metricTable)[Counted]][]) {
      if (info.type !== 'counter') continue
      const tally = new Tally()
      const operation = operations[name]
      const second = info.labels.find(one => one === label.error || one === label.end) ?? ''
      tally.show(info, this.registry, operation === undefined ? this.#system : this.#operation(operation), second)
      tallies[name] = tally
    }
    return tallies as Record<Counted, Tally>
  }
}

/** A code of the table; an error of the user's own counts as `handler-failed`, so that labels stay few. */
function codeOf(error: unknown): string {
  return isChasquiError(error) ? error.code : 'handler-failed'
}
