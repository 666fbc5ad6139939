/**
 * The threads of one worker handler. To the consumer's loop they are the handler of each message: an attempt begins when its message
 * stands in line here, and its time when a ready thread gets it. Threads are started when messages want them, and stay.
 */
import { ChasquiError } from '@chasqui/driver'
import type { Context } from '../consume/incoming.ts'
import type { Station } from '../consume/station.ts'
import type { EventHub } from '../observe/events.ts'
import type { Job, ThreadFailure, ThreadOwner } from './hosted-thread.ts'
import { HostedThread } from './hosted-thread.ts'
import type { WorkerSettings } from './worker-handler.ts'

export interface ThreadsParts {
  readonly settings: WorkerSettings
  readonly sourceName: string
  readonly timeoutMs: number | undefined
  readonly events: EventHub
}

export class Threads implements Station, ThreadOwner {
  readonly #parts: ThreadsParts
  /** All that live, also those that are not to be used any more. */
  readonly #alive = new Set<HostedThread>()
  readonly #usable = new Set<HostedThread>()
  readonly #idle: HostedThread[] = []
  #starting = 0
  #line: Waiting[] = []
  #opening: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined
  #closed = false

  constructor(parts: ThreadsParts) {
    this.#parts = parts
  }

  /** The innermost step of an attempt. */
  readonly handle = (body: unknown, ctx: Context): Promise<unknown> => {
    const waiting = new Waiting(body, ctx, this.#lost)
    this.#line.push(waiting)
    this.#next()
    return waiting.result
  }

  /** Resolves when the first thread has loaded the module. Rejects with `worker-invalid`. */
  async open(): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#opening = { resolve, reject }
    this.#start()
    await promise
  }

  hurry(): void {}

  async close(): Promise<void> {
    this.#closed = true
    await Promise.all([...this.#alive].map(thread => thread.terminate()))
  }

  // ThreadOwner: what the threads say.

  ready(thread: HostedThread): void {
    if (!this.#usable.has(thread)) this.#started(thread)
    this.#idle.push(thread)
    this.#next()
  }

  gone(thread: HostedThread, failure: ThreadFailure | undefined): void {
    const place = this.#idle.indexOf(thread)
    if (place >= 0) this.#idle.splice(place, 1)
    this.#usable.delete(thread)
    if (failure?.during === 'start') this.#failedToStart(failure.error)
    if (failure?.during === 'rest') this.#told(failure.error)
    this.#next()
  }

  ended(thread: HostedThread): void {
    this.#alive.delete(thread)
  }

  #started(thread: HostedThread): void {
    this.#starting -= 1
    this.#usable.add(thread)
    this.#opening?.resolve()
    this.#opening = undefined
  }

  /** At set-up that fails the set-up, later the message that the thread was for. */
  #failedToStart(error: ChasquiError): void {
    this.#starting -= 1
    if (this.#opening === undefined) this.#line.shift()?.reject(error)
    else this.#opening.reject(error)
    this.#opening = undefined
  }

  /** Gives messages to threads, and starts some where messages wait. */
  #next(): void {
    while (this.#line.length > 0) {
      const thread = this.#idle.pop()
      if (thread === undefined) break
      this.#run(thread, this.#line.shift()!)
    }
    if (this.#closed) return
    const { threads } = this.#parts.settings
    while (this.#starting < this.#line.length && this.#starting + this.#usable.size < threads) this.#start()
  }

  #run(thread: HostedThread, waiting: Waiting): void {
    const { timeoutMs } = this.#parts
    waiting.thread = thread
    if (timeoutMs !== undefined) waiting.limit(timeoutMs, () => this.#late(timeoutMs))
    thread.run(waiting)
  }

  #start(): void {
    this.#starting += 1
    const { settings, sourceName } = this.#parts
    const thread = new HostedThread(settings, sourceName, this)
    this.#alive.add(thread)
  }

  /** An attempt was ended: one that waits leaves the line, a thread that has it is no use any more. */
  readonly #lost = (waiting: Waiting, reason: unknown): void => {
    if (waiting.thread !== undefined) {
      waiting.thread.retire(reason)
      return
    }
    const place = this.#line.indexOf(waiting)
    if (place >= 0) this.#line.splice(place, 1)
  }

  #told(error: ChasquiError): void {
    const hook = `a thread of ${this.#parts.sourceName}, between messages`
    this.#parts.events.emit({ kind: 'hook-failed', hook, error })
  }

  #late(timeoutMs: number): ChasquiError {
    return new ChasquiError(
      'handler-timeout',
      `The worker of "${this.#parts.sourceName}" did not return within ${timeoutMs} ms. Its thread is ended and replaced; let it be faster, or raise timeoutMs.`,
      { details: { timeoutMs } },
    )
  }
}

/** A message in line, later in a thread. Ended once: by the thread, by its time, or from outside. */
class Waiting implements Job {
  readonly body: unknown
  readonly ctx: Context
  readonly result: Promise<unknown>
  thread: HostedThread | undefined = undefined
  readonly #resolve: (value: unknown) => void
  readonly #reject: (error: unknown) => void
  readonly #lost: (waiting: Waiting, reason: unknown) => void
  readonly #onAbort = () => this.#cut(this.ctx.signal.reason)
  #timer: NodeJS.Timeout | undefined
  #over = false

  constructor(body: unknown, ctx: Context, lost: (waiting: Waiting, reason: unknown) => void) {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    this.body = body
    this.ctx = ctx
    this.result = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#lost = lost
    ctx.signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  limit(timeoutMs: number, late: () => ChasquiError): void {
    this.#timer = setTimeout(() => this.#cut(late()), timeoutMs)
  }

  readonly resolve = (value: unknown): void => {
    if (this.#end()) this.#resolve(value)
  }

  readonly reject = (error: unknown): void => {
    if (this.#end()) this.#reject(error)
  }

  #cut(reason: unknown): void {
    if (!this.#end()) return
    this.#reject(reason)
    this.#lost(this, reason)
  }

  #end(): boolean {
    if (this.#over) return false
    this.#over = true
    clearTimeout(this.#timer)
    this.ctx.signal.removeEventListener('abort', this.#onAbort)
    return true
  }
}
