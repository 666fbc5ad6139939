/**
 * The books behind prom-client's metrics. The way of a message adds to plain numbers of ours, found by one look into a map or two; the
 * registry's own books, which hash the labels at each step, are filled only when somebody asks.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client'
import type { MetricInfo } from './metric-table.ts'
import { label } from './metric-table.ts'

type Labels = Record<string, string>

interface Cell {
  count: number
}

/** Counts by destination and by one more label; the empty string stands for no label. */
export class Tally {
  readonly #counts = new Map<string, Map<string, Cell>>()
  // The usual case, found without looking: the same destination as the time before, and no second label.
  #lastDestination: string | undefined
  #last: Cell = { count: 0 }

  add(destination: string, second = '', count = 1): void {
    if (destination !== this.#lastDestination || second !== '') this.#find(destination, second).count += count
    else this.#last.count += count
  }

  #find(destination: string, second: string): Cell {
    let counts = this.#counts.get(destination)
    if (counts === undefined) {
      counts = new Map()
      this.#counts.set(destination, counts)
    }
    let cell = counts.get(second)
    if (cell === undefined) {
      cell = { count: 0 }
      counts.set(second, cell)
    }
    if (second === '') {
      this.#lastDestination = destination
      this.#last = cell
    }
    return cell
  }

  /** Registers a counter that shows what stands here. `second` names the second label; `constant` ones are on all of them. */
  show(info: MetricInfo, registry: Registry, constant: Labels, second: string): void {
    const counts = this.#counts
    new Counter({
      name: info.name,
      help: info.help,
      labelNames: [label.system, ...info.labels],
      registers: [registry],
      collect() {
        this.reset()
        if (info.labels.length === 0 && counts.size === 0) this.inc(constant, 0)
        for (const [destination, ofDestination] of counts) {
          for (const [value, { count }] of ofDestination) {
            const labels = { ...constant }
            if (destination !== '') labels[label.destination] = destination
            if (value !== '') labels[second] = value
            this.inc(labels, count)
          }
        }
      },
    })
  }
}

/** Registers a gauge that shows what is so at the moment of asking: pairs of a destination, or '', and a value. */
export function showGauge(
  info: MetricInfo,
  registry: Registry,
  constant: Labels,
  values: () => Iterable<readonly [string, number]>,
): void {
  new Gauge({
    name: info.name,
    help: info.help,
    labelNames: [label.system, ...info.labels],
    registers: [registry],
    collect() {
      this.reset()
      for (const [destination, value] of values()) {
        this.inc(destination === '' ? constant : { ...constant, [label.destination]: destination }, value)
      }
    },
  })
}

/** One histogram's books: how many fell into each bucket (not cumulative; the last one is beyond all bounds), and their sum. */
class Buckets {
  readonly counts: number[]
  sum = 0
  readonly #bounds: readonly number[]

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  add(seconds: number): void {
    const bounds = this.#bounds
    let at = 0
    while (at < bounds.length && seconds > bounds[at]!) at += 1
    this.counts[at]! += 1
    this.sum += seconds
  }
}

/** The durations of one operation, by destination. */
export class Series {
  readonly #bounds: readonly number[]
  readonly books = new Map<string, Buckets>()
  #lastDestination: string | undefined
  #last: Buckets | undefined

  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
  }

  add(destination: string, durationMs: number): void {
    if (destination !== this.#lastDestination || this.#last === undefined) {
      this.#last = this.#find(destination)
      this.#lastDestination = destination
    }
    this.#last.add(durationMs / 1000)
  }

  #find(destination: string): Buckets {
    let buckets = this.books.get(destination)
    if (buckets === undefined) {
      buckets = new Buckets(this.#bounds)
      this.books.set(destination, buckets)
    }
    return buckets
  }
}

/** A histogram that shows several series, each with labels of its own beside the destination. */
export class Durations extends Histogram<string> {
  readonly #info: MetricInfo & { readonly bounds: readonly number[] }
  readonly #series: { readonly series: Series; readonly labels: Labels }[] = []

  constructor(info: MetricInfo & { readonly bounds: readonly number[] }, registry: Registry) {
    const { name, help, labels, bounds } = info
    super({ name, help, labelNames: [label.system, ...labels], buckets: [...bounds], registers: [registry] })
    this.#info = info
  }

  series(labels: Labels): Series {
    const series = new Series(this.#info.bounds)
    this.#series.push({ series, labels })
    return series
  }

  /** Where prom-client's histograms say what they hold: its text and its `get()` are both made from this. */
  async getForPromString(): Promise<object> {
    const { name, help, bounds } = this.#info
    const values: object[] = []
    for (const { series, labels: constant } of this.#series) {
      for (const [destination, { counts, sum }] of series.books) {
        const sharedLabels = { ...constant, [label.destination]: destination }
        let total = 0
        for (let i = 0; i < counts.length; i++) {
          total += counts[i]!
          const le = bounds[i] ?? '+Inf'
          values.push({ metricName: `${name}_bucket`, value: total, labels: { le }, sharedLabels })
        }
        values.push({ metricName: `${name}_sum`, value: sum, labels: {}, sharedLabels })
        values.push({ metricName: `${name}_count`, value: total, labels: {}, sharedLabels })
      }
    }
    return { name, help, type: 'histogram', aggregator: 'sum', values }
  }
}
