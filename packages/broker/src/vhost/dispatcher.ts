/**
 * When queues hand out what they have. Whatever gives a queue something to do puts it into a list; one microtask later
 * each queue of the list takes its turn, then each session that got something is flushed. A burst of publishes so costs
 * one call per consumer. After `turnsPerTick` turns the rest waits for the event loop, so that sockets, timers and syncs
 * are served too, however long the queues are and however fast the consumers.
 */
import type { Queue } from '../queue/queue.ts'
import type { Session } from './session.ts'

/** Turns of queues in a row before the event loop gets its turn. */
const turnsPerTick = 64

export class Dispatcher {
  #awake: Queue[] = []
  #flushes: Session[] = []
  #scheduled = false
  #running = false
  #stopped = false
  #turns = 0
  readonly #beforeFlush: () => void
  readonly #onThrown: (session: Session, error: unknown) => void

  /** `beforeFlush`: deliveries are about to leave. `onThrown`: the session's listener threw. */
  constructor(beforeFlush: () => void, onThrown: (session: Session, error: unknown) => void) {
    this.#beforeFlush = beforeFlush
    this.#onThrown = onThrown
  }

  /** The queue, which is not awake, has something to hand out. */
  wake(queue: Queue): void {
    queue.awake = true
    this.#awake.push(queue)
    this.#schedule()
  }

  /** The session has deliveries that wait to be handed over. */
  flushLater(session: Session): void {
    this.#flushes.push(session)
    this.#schedule()
  }

  /** Does now what a microtask would do soon. */
  run(): void {
    if (this.#running || this.#stopped) return
    this.#running = true
    while ((this.#awake.length > 0 || this.#flushes.length > 0) && this.#turns < turnsPerTick) {
      this.#dispatch()
      this.#flush()
    }
    this.#running = false
    if (this.#awake.length > 0 || this.#flushes.length > 0) this.#schedule()
  }

  /** Nothing is handed out any more. */
  stop(): void {
    this.#stopped = true
    this.#awake = []
    this.#flushes = []
  }

  #dispatch(): void {
    const queues = this.#awake
    this.#awake = []
    for (const queue of queues) {
      this.#turns++
      // Stays awake until its turn is over, so that it does not enter the list twice.
      queue.awake = queue.dispatch()
      if (queue.awake) this.#awake.push(queue)
    }
  }

  #flush(): void {
    const sessions = this.#flushes
    if (sessions.length === 0) return
    this.#flushes = []
    this.#beforeFlush()
    for (const session of sessions) {
      try {
        session.flush()
      } catch (error) {
        this.#onThrown(session, error)
      }
    }
  }

  #schedule(): void {
    if (this.#scheduled || this.#running || this.#stopped) return
    this.#scheduled = true
    if (this.#turns < turnsPerTick) queueMicrotask(this.#runSoon)
    else setImmediate(this.#runNextTick)
  }

  readonly #runSoon = (): void => {
    this.#scheduled = false
    this.run()
  }

  readonly #runNextTick = (): void => {
    this.#scheduled = false
    this.#turns = 0
    this.run()
  }
}
