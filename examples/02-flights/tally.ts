/** Counts what the processes report, each flight once, and what came more than once apart. */
import type { Attempted, Report } from './reports.ts'

export class Tally {
  readonly expected: number
  published = 0
  duplicates = 0
  #handled = new Map<number, Attempted>()
  /** Flights with a failed attempt. */
  #refused = new Set<number>()
  #attempts: Attempted[] = []
  #rebooked = new Set<number>()
  /** Flights for which no seat was found, as their handler said. */
  #givenUp = new Set<number>()
  /** Those whose message was found in the dead-letter queue, and why. */
  #deadLettered = new Map<number, string>()

  constructor(expected: number) {
    this.expected = expected
  }

  get handled(): number {
    return this.#handled.size
  }

  /** Flights that failed and were handled at a later attempt. */
  get retried(): number {
    return [...this.#refused].filter(flight => this.#handled.has(flight)).length
  }

  get rebooked(): number {
    return this.#rebooked.size
  }

  get givenUp(): number {
    return this.#givenUp.size
  }

  get deadLettered(): ReadonlyMap<number, string> {
    return this.#deadLettered
  }

  /** Dead-lettered flights whose passengers were rebooked after all. */
  get redriven(): number {
    return [...this.#deadLettered.keys()].filter(flight => this.#rebooked.has(flight)).length
  }

  /** Flights that nobody has handled, and those late enough for a rebooking of which nobody has reported one. */
  get lost(): number {
    return this.#missing(() => false)
  }

  /** The same before the dead letters are sent back: what was given up is not lost. */
  get awaited(): number {
    return this.#missing(flight => this.#givenUp.has(flight))
  }

  /**
   * Flights that overtook: one of an airport's attempts began before an earlier flight of it was done for the first time. What a
   * killed worker had already done may come again later; that is a duplicate, not a violation.
   */
  get orderViolations(): number {
    const done = new Set<number>()
    const latest = new Map<string, number>()
    let violations = 0
    for (const attempt of this.#attempts.toSorted((a, b) => a.beganNs - b.beganNs)) {
      const { flight, origin } = attempt
      const ahead = latest.get(origin) ?? -1
      if (flight < ahead && !done.has(flight)) violations++
      if (attempt.done) done.add(flight)
      latest.set(origin, Math.max(ahead, flight))
    }
    return violations
  }

  add(report: Report): void {
    if (report.kind === 'published') {
      this.published += report.flights
    } else if (report.kind === 'attempted') {
      for (const attempt of report.flights) this.#addAttempt(attempt)
    } else {
      const flights = report.kind === 'rebooked' ? this.#rebooked : this.#givenUp
      for (const flight of report.flights) {
        if (flights.has(flight)) this.duplicates++
        flights.add(flight)
      }
    }
  }

  addDeadLetter(flight: number, reason: string): void {
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

  #missing(excused: (flight: number) => boolean): number {
    let missing = this.expected - this.handled
    for (const { flight, delay } of this.#handled.values()) {
      if (delay > 60 && !this.#rebooked.has(flight) && !excused(flight)) missing++
    }
    return missing
  }

  #addAttempt(attempt: Attempted): void {
    const { flight, done } = attempt
    this.#attempts.push(attempt)
    if (!done) {
      this.#refused.add(flight)
      return
    }
    if (this.#handled.has(flight)) this.duplicates++
    this.#handled.set(flight, attempt)
  }
}
