/** A delivery in the hands of a consumer: with the route and the attempt that are at work on it. */
import { OpenDelivery } from '../settle/settlement.ts'
import type { Attempt } from './incoming.ts'
import type { RunnableRoute } from './routes.ts'

export class Work extends OpenDelivery {
  /** Absent until its turn came for the first time. */
  route: RunnableRoute | undefined = undefined
  /** The attempt whose outcome counts; results of others come late and count for nothing. */
  current: Attempt | undefined = undefined
  /** Its time limit while an attempt runs, its wait while it is held. */
  timer: NodeJS.Timeout | undefined = undefined
  /** How often a process is known to have died with it in hand. */
  crashes = 0

  // The backlog's: who follows in line, and at the head of a line who is its last.
  next: Work | undefined = undefined
  last: Work | undefined = undefined

  clearTimer(): void {
    if (this.timer === undefined) return
    clearTimeout(this.timer)
    this.timer = undefined
  }
}

/** What the steps of a consumer ask of its loop. */
export interface Floor {
  /** The next attempt of a delivery that kept its place. */
  again(work: Work): void
  /** The delivery waits for its next attempt in this process, and leaves its place to others meanwhile. */
  hold(work: Work, delayMs: number): void
  /** The delivery is settled, or is not ours any more. */
  finish(work: Work): void
}

/** Says whether another handler may begin now. One that says no calls `loop.drain()` itself when that changes. */
export interface Gate {
  readonly open: boolean
  /** A handler begins. */
  began(): void
  /** The consumer ends: timers stop. */
  stop(): void
}

/** Is told how each attempt went; `error` is `undefined` for one that succeeded. */
export interface Watcher {
  ended(durationMs: number, error: unknown): void
}
