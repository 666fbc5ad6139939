/** A delivery in the hands of a consumer: with the route and the attempt that are at work on it. */
import { OpenDelivery } from '../settle/settlement.ts'
import type { Attempt } from './incoming.ts'
import type { RunnableRoute } from './routes.ts'

export class Work extends OpenDelivery {
  route: RunnableRoute | undefined = undefined
  /** The attempt whose outcome counts; results of others come late and count for nothing. */
  current: Attempt | undefined = undefined
  /** Its time limit while an attempt runs, its wait while it is held. */
  timer: NodeJS.Timeout | undefined = undefined

  clearTimer(): void {
    if (this.timer === undefined) return
    clearTimeout(this.timer)
    this.timer = undefined
  }
}

/** What the steps of a consumer ask of its loop. */
export interface Floor {
  /** Handlers may begin. */
  readonly open: boolean
  /** The next attempt of a delivery that kept its place. */
  again(work: Work): void
  /** The delivery waits for its next attempt, and leaves its place to others meanwhile. */
  hold(work: Work, delayMs: number): void
  /** Back to the engine, unjudged. */
  release(work: Work, reason: string): void
  /** The delivery is settled, or is not ours any more. */
  finish(work: Work): void
}
