/**
 * Metrics, made of events, in prom-client's registry. Names and labels are those of OpenTelemetry's messaging conventions in
 * Prometheus' spelling (opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics); what the conventions have no word for
 * begins with `chasqui_`.
 *
 * The way of a message adds to plain numbers of ours, found by one look into a map; the registry's own books, which hash the
 * labels at each step, are filled only when somebody asks. Labels are bounded: destinations beyond the first
 * `maxDestinations` share the label `_other`, and errors are told by the codes of the error table alone.
 */
import { isChasquiError } from '@chasqui/driver'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { BusEvent, EventHub, EventKind } from './events.ts'

/** How many destinations have a label of their own. */
export const maxDestinations = 200
const overflow = '_other'

/** Upper bounds in seconds, as the conventions advise for durations. */
const bounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

const destination = 'messaging_destination_name'
const errorType = 'error_type'

/** How many handlers run for a source at this moment. */
export interface InFlight {
  readonly name: string
  readonly inFlight: number
}

/** Counts of one destination, by error code; the empty code stands for success. */
class Tally {
  readonly counts = new Map<string, Map<string, number>>()

  add(destinationName: string, code: string): void {
    let codes = this.counts.get(destinationName)
    if (codes === undefined) {
      codes = new Map()
      this.counts.set(destinationName, codes)
    }
    codes.set(code, (codes.get(code) ?? 0) + 1)
  }
}

/** One histogram's books: how many fell into each bucket (not cumulative; the last one is beyond all bounds), and their sum. */
class Buckets {
  readonly counts = new Array<number>(bounds.length + 1).fill(0)
  sum = 0

  add(seconds: number): void {
    let at = 0
    while (at < bounds.length && seconds > bounds[at]!) at += 1
    this.counts[at]! += 1
    this.sum += seconds
  }
}

class Durations extends Histogram<string> {
  readonly #about: { readonly name: string; readonly help: string }
  readonly #buckets = new Map<string, Buckets>()

  constructor(name: string, help: string, registry: Registry) {
    super({ name, help, labelNames: [destination], buckets: bounds, registers: [registry] })
    this.#about = { name, help }
  }

  add(destinationName: string, durationMs: number): void {
    let buckets = this.#buckets.get(destinationName)
    if (buckets === undefined) {
      buckets = new Buckets()
      this.#buckets.set(destinationName, buckets)
    }
    buckets.add(durationMs / 1000)
  }

  /** Where prom-client's histograms say what they hold: its text and its `get()` are both made from this. */
  async getForPromString(): Promise<object> {
    const { name, help } = this.#about
    const values: object[] = []
    for (const [destinationName, { counts, sum }] of this.#buckets) {
      const sharedLabels = { [destination]: destinationName }
      let total = 0
      for (let i = 0; i < counts.length; i++) {
        total += counts[i]!
        const le = bounds[i] ?? '+Inf'
        values.push({ metricName: `${name}_bucket`, value: total, labels: { le }, sharedLabels })
      }
      values.push({ metricName: `${name}_sum`, value: sum, labels: {}, sharedLabels })
      values.push({ metricName: `${name}_count`, value: total, labels: {}, sharedLabels })
    }
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }
}

const kinds: readonly EventKind[] = [
  'sent',
  'send-failed',
  'send-refused',
  'received',
  'handled',
  'attempt-failed',
  'retried',
  'dead-lettered',
  'released',
  'unrouted',
  'reconnected',
]

export class Metrics {
  /** prom-client's registry, to be merged with an application's own. */
  readonly registry = new Registry()
  readonly #names = new Set<string>()
  readonly #sent: Tally
  readonly #received: Tally
  readonly #failed: Tally
  readonly #retried: Tally
  readonly #deadLettered: Tally
  readonly #released: Tally
  readonly #unrouted: Tally
  readonly #sendDurations: Durations
  readonly #handleDurations: Durations
  #reconnects = 0

  constructor(inFlight: () => Iterable<InFlight>) {
    this.#sent = this.#counter('messaging_client_sent_messages_total', 'Messages sent, or tried to.')
    this.#received = this.#counter('messaging_client_consumed_messages_total', 'Messages whose first attempt began.')
    this.#failed = this.#counter('chasqui_failed_attempts_total', 'Attempts of handlers that failed.')
    this.#retried = this.#counter('chasqui_retried_messages_total', 'Further attempts, at once or delayed.')
    this.#deadLettered = this.#counter('chasqui_dead_lettered_messages_total', 'Messages moved to a dead-letter queue.')
    this.#released = this.#counter('chasqui_released_messages_total', 'Messages given back to the engine unhandled.')
    this.#unrouted = this.#counter('chasqui_unrouted_messages_total', 'Messages whose type has no route.')
    this.#sendDurations = this.#histogram('messaging_client_operation_duration_seconds', 'From send to confirm.')
    this.#handleDurations = this.#histogram('messaging_process_duration_seconds', 'One attempt, failed ones included.')
    const { registry } = this
    const reconnects = () => this.#reconnects
    new Counter({
      name: 'chasqui_reconnects_total',
      help: 'Lost connections that came back.',
      registers: [registry],
      collect() {
        this.reset()
        this.inc(reconnects())
      },
    })
    const label = (name: string) => this.#label(name)
    new Gauge({
      name: 'chasqui_in_flight_messages',
      help: 'Messages in the hands of a handler.',
      labelNames: [destination],
      registers: [registry],
      collect() {
        this.reset()
        for (const one of inFlight()) this.inc({ [destination]: label(one.name) }, one.inFlight)
      },
    })
  }

  /** Counts from now on; the returned function ends that. */
  listen(events: EventHub): () => void {
    return events.listen(event => this.#count(event), kinds)
  }

  #count(event: BusEvent): void {
    switch (event.kind) {
      case 'sent': {
        const name = this.#label(event.destination)
        this.#sent.add(name, '')
        this.#sendDurations.add(name, event.durationMs)
        return
      }
      case 'send-failed':
      case 'send-refused':
        this.#sent.add(this.#label(event.destination), codeOf(event.error))
        return
      case 'received':
        this.#received.add(this.#label(event.source), '')
        return
      case 'handled':
        this.#handleDurations.add(this.#label(event.source), event.durationMs)
        return
      case 'attempt-failed': {
        const name = this.#label(event.source)
        this.#handleDurations.add(name, event.durationMs)
        this.#failed.add(name, codeOf(event.error))
        return
      }
      case 'retried':
        this.#retried.add(this.#label(event.source), '')
        return
      case 'dead-lettered':
        this.#deadLettered.add(this.#label(event.source), event.code)
        return
      case 'released':
        this.#released.add(this.#label(event.source), '')
        return
      case 'unrouted':
        this.#unrouted.add(this.#label(event.source), '')
        return
      case 'reconnected':
        this.#reconnects += 1
        return
    }
  }

  /** The name itself for the first destinations, one label for all others. */
  #label(name: string): string {
    if (this.#names.has(name)) return name
    if (this.#names.size >= maxDestinations) return overflow
    this.#names.add(name)
    return name
  }

  #counter(name: string, help: string): Tally {
    const tally = new Tally()
    new Counter({
      name,
      help,
      labelNames: [destination, errorType],
      registers: [this.registry],
      collect() {
        this.reset()
        for (const [destinationName, codes] of tally.counts) {
          for (const [code, count] of codes) {
            const labels = { [destination]: destinationName }
            this.inc(code === '' ? labels : { ...labels, [errorType]: code }, count)
          }
        }
      },
    })
    return tally
  }

  #histogram(name: string, help: string): Durations {
    return new Durations(name, help, this.registry)
  }
}

/** A code of the table; an error of the user's own counts as `handler-failed`, so that labels stay few. */
function codeOf(error: unknown): string {
  return isChasquiError(error) ? error.code : 'handler-failed'
}
