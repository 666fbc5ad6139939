/**
 * When what was gathered is written: at the end of the present turn of the event loop, or within a millisecond, during
 * which more may join it. One timer a connection, and only while something waits.
 */

import type { FrameWriter } from '../frame-writer.ts'

/** The shortest time that Node's timers know. */
const laterMs = 1

export class FlushQueue {
  readonly #writer: FrameWriter
  #soon: (() => void)[] = []
  #later: (() => void)[] = []
  #timer: NodeJS.Timeout | undefined
  readonly #runSoon = (): void => {
    const tasks = this.#soon
    this.#soon = []
    this.#run(tasks)
  }
  readonly #runLater = (): void => {
    const tasks = this.#later
    this.#later = []
    this.#timer = undefined
    this.#run(tasks)
  }

  constructor(writer: FrameWriter) {
    this.#writer = writer
  }

  /** Calls `task`, which writes frames, when the present turn is over. */
  soon(task: () => void): void {
    if (this.#soon.push(task) === 1) process.nextTick(this.#runSoon)
  }

  /** Calls `task` within some milliseconds, few more than one. */
  later(task: () => void): void {
    this.#later.push(task)
    this.#timer ??= setTimeout(this.#runLater, laterMs)
  }

  /** Everything now. */
  run(): void {
    clearTimeout(this.#timer)
    this.#runSoon()
    this.#runLater()
  }

  /** Nothing more: the connection has ended. */
  stop(): void {
    clearTimeout(this.#timer)
    this.#soon = []
    this.#later = []
  }

  #run(tasks: readonly (() => void)[]): void {
    for (const task of tasks) task()
    // Without this the frames would wait for another turn.
    this.#writer.flush()
  }
}
