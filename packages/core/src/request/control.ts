/** What a requester says to a run that answers it: to the queue that the run has named, in headers alone. */
import type { Headers } from '@chasqui/driver'
import { isChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import type { Outlets } from '../send/outlet.ts'
import { runHeader } from './run-protocol.ts'
import { isGone } from './stream-run.ts'

/** One attempt of a handler, as its requester knows it. */
export interface RunAddress {
  readonly id: string
  /** The queue that takes what is said to the run; empty where it names none. */
  readonly control: string
}

/** A run that nobody waits for is told so once in this time, in milliseconds: its last items must not cost a message each. */
const toldForMs = 1000
/** How many such runs are remembered. */
const maxTold = 10_000

export class Control {
  readonly #outlets: Outlets
  readonly #events: EventHub
  /** When runs were told that nobody waits for them (`performance.now()`). */
  readonly #told = new Map<string, number>()

  constructor(outlets: Outlets, events: EventHub) {
    this.#outlets = outlets
    this.#events = events
  }

  /** So many items may be sent in all. `request` is the id of the request. */
  grant(request: string, run: RunAddress, credit: number): void {
    this.#say(request, run, { [runHeader.credit]: credit })
  }

  /** Nothing of the run is wanted any more. May be called often. */
  cancel(request: string, run: RunAddress): void {
    const now = performance.now()
    if (now - (this.#told.get(run.id) ?? Number.NEGATIVE_INFINITY) < toldForMs) return
    if (this.#told.size >= maxTold) this.#told.clear()
    this.#told.set(run.id, now)
    this.#say(request, run, { [runHeader.cancel]: true })
  }

  #say(request: string, run: RunAddress, headers: Headers): void {
    if (run.control === '') return
    this.#outlets.control(run.control, request, { ...headers, [runHeader.run]: run.id }).catch((error: unknown) => {
      // Whoever took it is gone, or this bus is: nobody is left to be told.
      if (isGone(error) || (isChasquiError(error) && error.code === 'closed')) return
      this.#events.emit({ kind: 'driver-failed', doing: 'telling a handler of its requester', error })
    })
  }
}
