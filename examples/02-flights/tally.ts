/** Counts what the processes report, each flight once, and what came more than once apart. */
import type { Handled, Report } from './reports.ts'

export class Tally {
  readonly expected: number
  published = 0
  duplicates = 0
  #handled = new Map<number, Handled>()
  #rebooked = new Set<number>()
  #deadLettered = new Map<number, string>()

  constructor(expected: number) {
    this.expected = expected
  }

  get handled(): number {
    return this.#handled.size
  }

  get rebooked(): number {
    return this.#rebooked.size
  }

  get deadLettered(): ReadonlyMap<number, string> {
    return this.#deadLettered
  }

  /** Flights that were handled and are late enough for a rebooking, but of which nobody has reported one. */
  get rebookingsMissing(): number {
    let missing = 0
    for (const { flight, delay } of this.#handled.values()) {
      if (delay > 60 && !this.#rebooked.has(flight) && !this.#deadLettered.has(flight)) missing++
    }
    return missing
  }

  get lost(): number {
    return this.expected - this.handled + this.rebookingsMissing
  }

  add(report: Report): void {
    if (report.kind === 'published') {
      this.published += report.flights
    } else if (report.kind === 'handled') {
      for (const handled of report.flights) {
        if (this.#handled.has(handled.flight)) this.duplicates++
        this.#handled.set(handled.flight, handled)
      }
    } else {
      for (const flight of report.flights) {
        if (this.#rebooked.has(flight)) this.duplicates++
        this.#rebooked.add(flight)
      }
    }
  }

  addDeadLetter(flight: number, reason: string): void {
    if (this.#deadLettered.has(flight)) this.duplicates++
    this.#deadLettered.set(flight, reason)
  }

  /** The airports with the longest mean delay, among those with enough flights to speak of one. */
  mostDelayed(count: number, minimumFlights = 50): { origin: string; flights: number; meanDelay: number }[] {
    const airports = new Map<string, { flights: number; delay: number }>()
    for (const { origin, delay } of this.#handled.values()) {
      const airport = airports.get(origin) ?? { flights: 0, delay: 0 }
      airport.flights++
      airport.delay += delay
      airports.set(origin, airport)
    }
    return [...airports]
      .filter(([, { flights }]) => flights >= minimumFlights)
      .map(([origin, { flights, delay }]) => ({ origin, flights, meanDelay: delay / flights }))
      .sort((a, b) => b.meanDelay - a.meanDelay)
      .slice(0, count)
  }
}
