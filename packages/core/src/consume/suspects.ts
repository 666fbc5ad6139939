/**
 * Messages that were in hand when processes died. One such death says nothing, for engines count everything that was prefetched;
 * from two on the message runs alone in its process, so that the next death is its own; above five it is dead-lettered as
 * `crash-loop`. Deaths are counted by the engine where it counts, else noted on a copy before the message runs.
 *
 * Of an ordered source nothing can be set apart or copied, so there the engine's count is believed only where it cannot have
 * counted others: with a window of 1.
 */
import type { Capabilities } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import { isLastStop } from '../retry/dead-letter.ts'
import { notedCrashes } from '../retry/notes.ts'
import type { PutAside } from '../retry/put-aside.ts'
import type { Scope } from './incoming.ts'
import type { Intake } from './intake.ts'
import type { ConsumeSettings } from './options.ts'
import type { Floor, Work } from './work.ts'

/** From so many deaths on a message runs alone. */
const suspectFrom = 2
/** With more deaths than this it is given up. */
const maxCrashes = 5

export interface SuspectsParts {
  readonly scope: Scope
  readonly settings: ConsumeSettings
  readonly capabilities: Capabilities
  readonly putAside: PutAside
  readonly intake: Intake
  readonly events: EventHub
  readonly floor: Floor
  /** The message is given up. */
  readonly giveUp: (work: Work, error: ChasquiError) => void
  /** The delivery takes up a place until it is finished or held. */
  readonly enter: (work: Work) => void
  /** Runs a delivery that nothing stands against any more. */
  readonly run: (work: Work) => void
}

export class Suspects {
  readonly #parts: SuspectsParts
  /** The engine's count is of this message alone. */
  readonly #exact: boolean
  /** Dead letters come back each time that somebody looks at them, and have nowhere to go if they are given up. */
  readonly #isLastStop: boolean
  /** The one that runs alone. */
  #alone: Work | undefined
  #waiting: Work[] = []

  constructor(parts: SuspectsParts) {
    this.#parts = parts
    this.#isLastStop = isLastStop(parts.scope.sourceName)
    const { order, window } = parts.settings
    this.#exact = window === 1 || (order === 'strict' && parts.capabilities.operations.strictOrder === 'native')
  }

  /** One of them runs: no other may begin. */
  get alone(): boolean {
    return this.#alone !== undefined
  }

  /** True if the delivery may not simply run: it waits to run alone, or goes another way. */
  takes(work: Work): boolean {
    const { redelivered, message } = work.item
    const noted = notedCrashes(message)
    const taken = !this.#isLastStop && (redelivered || noted > 0) && this.#judge(work, noted)
    if (!taken && this.#waiting.length === 0) this.#parts.intake.narrow(false)
    return taken
  }

  #judge(work: Work, noted: number): boolean {
    const { settings, intake } = this.#parts
    const { redelivered, deliveries } = work.item
    const returns = deliveries === undefined ? (redelivered ? 1 : 0) : deliveries - 1
    if (settings.order !== 'none') {
      if (!this.#exact || deliveries === undefined) return false
      work.crashes = returns
      return this.#givesUp(work)
    }
    // What was counted before it ran alone may have been the fault of its neighbours.
    work.crashes = noted >= suspectFrom ? noted + returns : Math.min(noted + returns, suspectFrom)
    if (this.#givesUp(work)) return true
    const counted = deliveries !== undefined && (noted >= suspectFrom || work.crashes < suspectFrom)
    if (returns > 0 && !counted) {
      // Noted at the end of the queue; it runs when it comes again.
      this.#putBack(work)
      return true
    }
    if (work.crashes < suspectFrom) return false
    intake.narrow(true)
    this.#waiting.push(work)
    return true
  }

  /**
   * To be called when nothing else runs or waits here: the next suspect runs, alone. The others go back first, uncounted, so that
   * they are not in hand meanwhile.
   */
  next(): void {
    const others = this.#waiting.splice(1)
    for (const other of others) this.#putBack(other)
    if (others.length > 0) return
    const work = this.#waiting.shift()
    if (work === undefined) return
    this.#alone = work
    this.#parts.run(work)
  }

  /** A delivery has left its place. */
  left(work: Work): void {
    if (this.#alone === work) this.#alone = undefined
  }

  /** Takes those out that wait and that the condition holds for. */
  take(condition: (work: Work) => boolean): Work[] {
    const taken = this.#waiting.filter(condition)
    if (taken.length > 0) this.#waiting = this.#waiting.filter(work => !condition(work))
    return taken
  }

  #putBack(work: Work): void {
    const { putAside, floor, events, scope, enter } = this.#parts
    enter(work)
    void putAside.put(work, work.crashes, undefined).then(error => {
      if (error === undefined) {
        floor.finish(work)
        return
      }
      const { id, type } = work.item.message
      events.emit({ kind: 'retry-held', source: scope.sourceName, id, type, delayMs: putBackPauseMs, error })
      floor.hold(work, putBackPauseMs)
    })
  }

  #givesUp(work: Work): boolean {
    const { crashes } = work
    if (crashes <= maxCrashes) return false
    const { enter, giveUp } = this.#parts
    enter(work)
    giveUp(
      work,
      new ChasquiError(
        'crash-loop',
        `The process died ${crashes} times while it had this message in hand. Find out why before it is sent again.`,
        { details: { crashes } },
      ),
    )
    return true
  }
}

/** How long to wait before a copy that was not confirmed is tried again, in milliseconds. */
const putBackPauseMs = 1000
