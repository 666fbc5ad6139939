/**
 * The loop of a consumer: window -> incoming chain -> handler -> settle. Decides nothing by itself: which handler is the
 * routes' matter, what follows a failure the retry policy's, the way of a dead letter the mover's.
 *
 * A delivery is queued -> running -> (waiting for a delayed attempt -> queued)* -> settled, or void when its lane is lost.
 * Handlers that return no promise are settled in the same turn; each settlement leaves with the others of its tick.
 */
import type { Batch, ChasquiError as ChasquiErrorType, Driver, Receiver, Sink } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import { isPromise } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import { checkOptions, closeOptions } from '../options.ts'
import type { Replies } from '../request/replies.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import { decide } from '../retry/policy.ts'
import type { Settlements } from '../settle/settlement.ts'
import { OpenDelivery, staleError } from '../settle/settlement.ts'
import type { Scope } from './incoming.ts'
import { Attempt } from './incoming.ts'
import type { ConsumeSettings } from './options.ts'
import { FifoQueue } from './queue.ts'
import type { Routes, RunnableRoute } from './routes.ts'
import { Running } from './running.ts'

/** What `handle` and `subscribe` give. `await using` stops it. */
export interface Consumer extends AsyncDisposable {
  /** No new handler starts and no message is fetched; running ones finish. Those that waited here go back. */
  pause(): Promise<void>
  resume(): Promise<void>
  /**
   * Ends the consumer: running handlers may finish until the deadline (default 30,000 ms), then their signal fires and
   * their messages go back to the engine. May be called twice.
   */
  stop(options?: { readonly deadlineMs?: number }): Promise<void>
}

export interface ConsumerParts {
  readonly driver: Driver
  readonly scope: Scope
  readonly routes: Routes
  readonly settings: ConsumeSettings
  readonly settlements: Settlements
  readonly mover: DeadLetterMover
  readonly replies: Replies
  readonly events: EventHub
  /** Called once, when the consumer has ended. */
  readonly ended: (consumer: MessageConsumer) => void
}

type State = 'running' | 'paused' | 'stopping' | 'stopped' | 'failed'

/** A delivery with the route and attempt that are at work on it. */
class Work extends OpenDelivery {
  route: RunnableRoute | undefined = undefined
  current: Attempt | undefined = undefined
  timer: NodeJS.Timeout | undefined = undefined
}

export class MessageConsumer implements Consumer, Sink {
  readonly name: string
  readonly #parts: ConsumerParts
  readonly #scope: Scope
  readonly #settings: ConsumeSettings
  readonly #settlements: Settlements
  readonly #events: EventHub
  #receiver: Receiver | undefined
  #state: State = 'running'
  #failure: ChasquiErrorType | undefined
  #unrouted = 0
  readonly #queue = new FifoQueue<Work>()
  readonly #running = new Running<Work>()
  /** Held for a delayed attempt, out of the way of others. */
  readonly #waiting = new Set<Work>()
  #scheduled = false
  #draining = false
  #stopping: Promise<void> | undefined
  readonly #onAbort = () => void this.stop({ deadlineMs: 0 })
  readonly #drainLater = () => {
    this.#scheduled = false
    this.#drain()
  }

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.name = parts.scope.sourceName
    this.#scope = parts.scope
    this.#settings = parts.settings
    this.#settlements = parts.settlements
    this.#events = parts.events
  }

  async start(): Promise<void> {
    const { concurrency, window, order, signal } = this.#settings
    if (signal?.aborted) throw new ChasquiError('aborted', `The signal had fired before "${this.name}" was consumed.`)
    const receiver = await this.#parts.driver.receive(this.#scope.source, this, { window, order })
    this.#receiver = receiver
    this.#settlements.attach(receiver)
    this.#parts.mover.attach(receiver)
    if (this.#state !== 'running') {
      // Stopped or failed while it was starting.
      await receiver.stop()
      throw this.#failure ?? new ChasquiError('closed', `The consumer of "${this.name}" was stopped as it started.`)
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#events.emit({ kind: 'consumer-started', source: this.name, concurrency, window })
    if (signal?.aborted) this.#onAbort()
    this.#drain()
  }

  /** Why the consumer does not consume; `undefined` while it does, or was told not to. */
  get failure(): string | undefined {
    return this.#failure?.message
  }

  async pause(): Promise<void> {
    if (this.#state !== 'running') return
    this.#state = 'paused'
    await this.#receiver?.window(0)
    this.#giveBack('the consumer was paused')
    await this.#settlements.flushed()
    this.#events.emit({ kind: 'consumer-paused', source: this.name })
  }

  async resume(): Promise<void> {
    if (this.#state !== 'paused') return
    this.#state = 'running'
    await this.#receiver?.window(this.#settings.window)
    this.#events.emit({ kind: 'consumer-resumed', source: this.name })
    this.#drain()
  }

  stop(options: { readonly deadlineMs?: number } = {}): Promise<void> {
    if (this.#stopping !== undefined) return this.#stopping
    try {
      checkOptions(closeOptions, options, 'stop()')
    } catch (error) {
      return Promise.reject(error)
    }
    this.#stopping = this.#stop(options.deadlineMs ?? closeOptions.deadlineMs.default)
    return this.#stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  // Sink: what the driver calls.

  deliver(batch: Batch): void {
    const { lane, epoch, items } = batch
    for (let i = 0; i < items.length; i++) {
      const work = new Work(lane, epoch, items[i]!)
      if (this.#state === 'running') this.#queue.push(work)
      // It was on its way when the window closed.
      else this.#release(work, 'the consumer does not run')
    }
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(this.#drainLater)
  }

  async revoke(lane: string, epoch: number, graceMs: number): Promise<void> {
    const theirs = (work: Work) => work.lane === lane && work.epoch === epoch
    for (const work of this.#queue.drain()) {
      if (theirs(work)) work.state = 'stale'
      else this.#queue.push(work)
    }
    for (const work of [...this.#waiting].filter(theirs)) this.#void(work)
    if (graceMs > 0) {
      await this.#running.noneLeft(theirs, graceMs)
      await this.#settlements.flushed()
    }
    for (const work of this.#running.filter(theirs)) this.#cancel(work, staleError())
    this.#drain()
  }

  fail(error: ChasquiErrorType): void {
    if (this.#state === 'stopped' || this.#state === 'failed') return
    this.#state = 'failed'
    this.#failure = error
    for (const work of this.#queue.drain()) work.state = 'stale'
    for (const work of this.#waiting) this.#void(work)
    for (const work of this.#running.filter(any)) this.#cancel(work, error)
    this.#events.emit({ kind: 'consumer-failed', source: this.name, error })
  }

  // One message.

  #drain(): void {
    if (this.#draining || this.#receiver === undefined) return
    this.#draining = true
    const { concurrency } = this.#settings
    while (this.#state === 'running' && this.#running.size < concurrency) {
      const work = this.#queue.shift()
      if (work === undefined) break
      this.#begin(work)
    }
    this.#draining = false
  }

  #begin(work: Work): void {
    this.#running.enter(work)
    const { message, redelivered } = work.item
    if (work.attempt === 0 && this.#events.heard.received) {
      const { id, type, body } = message
      this.#events.emit({ kind: 'received', source: this.name, id, type, redelivered, bytes: body.byteLength })
    }
    const route = this.#parts.routes.find(message.type)
    if (route === undefined) {
      this.#unroutable(work)
      return
    }
    work.route = route
    this.#attempt(work, route)
  }

  #attempt(work: Work, route: RunnableRoute): void {
    work.attempt += 1
    const attempt = new Attempt(this.#scope, route, work.item.message, work.item.redelivered, work.attempt)
    work.current = attempt
    if (this.#events.heard.handled || this.#events.heard['attempt-failed']) attempt.startedAt = performance.now()
    try {
      const result = route.run(attempt)
      if (isPromise(result)) {
        if (this.#settings.timeoutMs !== undefined) this.#limit(work, attempt, this.#settings.timeoutMs)
        result.then(
          value => this.#succeeded(work, attempt, value),
          error => this.#failed(work, attempt, error),
        )
      } else {
        this.#succeeded(work, attempt, result)
      }
    } catch (error) {
      this.#failed(work, attempt, error)
    }
  }

  #limit(work: Work, attempt: Attempt, timeoutMs: number): void {
    work.timer = setTimeout(() => {
      const error = new ChasquiError(
        'handler-timeout',
        `The handler of "${this.name}" did not return within ${timeoutMs} ms. Let it obey ctx.signal, or raise timeoutMs.`,
        { details: { timeoutMs } },
      )
      attempt.abort(error)
      this.#failed(work, attempt, error)
    }, timeoutMs)
  }

  /** Results of attempts that are over (timed out, cancelled) come late and count for nothing. */
  #over(work: Work, attempt: Attempt): boolean {
    if (work.current !== attempt) return true
    work.current = undefined
    if (work.timer !== undefined) {
      clearTimeout(work.timer)
      work.timer = undefined
    }
    return work.state !== 'open'
  }

  #succeeded(work: Work, attempt: Attempt, result: unknown): void {
    if (this.#over(work, attempt)) return
    if (this.#events.heard.handled) {
      const { id, type } = work.item.message
      const durationMs = performance.now() - attempt.startedAt
      this.#events.emit({ kind: 'handled', source: this.name, id, type, attempt: work.attempt, durationMs })
    }
    if (work.item.message.replyTo !== undefined && this.#parts.replies.answers(attempt, result)) {
      this.#answer(work, attempt, result)
      return
    }
    void this.#settlements.settle(work, 'ack')
    this.#finish(work)
  }

  /** The reply is confirmed before the request is acknowledged; one that cannot be sent fails the attempt. */
  #answer(work: Work, attempt: Attempt, result: unknown): void {
    work.current = attempt
    this.#parts.replies.reply(attempt, result).then(
      () => {
        if (this.#over(work, attempt)) return
        void this.#settlements.settle(work, 'ack')
        this.#finish(work)
      },
      (error: unknown) => this.#failed(work, attempt, error),
    )
  }

  #failed(work: Work, attempt: Attempt, thrown: unknown): void {
    if (this.#over(work, attempt)) return
    const error = thrown instanceof Error ? thrown : wrapped(thrown)
    const now = Date.now()
    if (work.firstFailedAt === 0) work.firstFailedAt = now
    const { id, type } = work.item.message
    if (this.#events.heard['attempt-failed']) {
      const durationMs = performance.now() - attempt.startedAt
      this.#events.emit({
        kind: 'attempt-failed',
        source: this.name,
        id,
        type,
        attempt: work.attempt,
        durationMs,
        error,
      })
    }
    this.#tellHook(error, attempt)
    const decision = decide(this.#settings.retry, work.attempt, error)
    if (decision.kind === 'dead-letter') {
      this.#deadLetter(work, attempt, { ...decision, error, lastFailedAt: now })
      return
    }
    const { delayMs } = decision
    if (this.#events.heard.retried) {
      this.#events.emit({ kind: 'retried', source: this.name, id, type, attempt: work.attempt + 1, delayMs })
    }
    if (delayMs > 0) this.#later(work, delayMs)
    // Not at once in this call: an attempt that throws synchronously would stack up a thousand deep.
    else queueMicrotask(() => this.#again(work))
  }

  #again(work: Work): void {
    if (work.state !== 'open' || work.slot < 0 || work.route === undefined) return
    this.#attempt(work, work.route)
  }

  /** Holds a message for its next attempt. Unordered, it leaves its place to others meanwhile. */
  #later(work: Work, delayMs: number): void {
    if (this.#state !== 'running') {
      this.#release(work, 'the consumer does not run')
      this.#finish(work)
      return
    }
    if (this.#settings.order === 'none') this.#running.leave(work)
    this.#waiting.add(work)
    work.timer = setTimeout(() => {
      work.timer = undefined
      this.#waiting.delete(work)
      if (work.slot >= 0) this.#again(work)
      else if (this.#state === 'running') {
        this.#queue.push(work)
        this.#drain()
      } else this.#release(work, 'the consumer does not run')
    }, delayMs)
    this.#drain()
  }

  #deadLetter(
    work: Work,
    attempt: Attempt | undefined,
    what: { code: string; reason: string; error: unknown; lastFailedAt: number },
  ): void {
    const { code, reason, error, lastFailedAt } = what
    const failure = { code, reason, error, lastFailedAt, firstFailedAt: work.firstFailedAt, attempts: work.attempt }
    const told = attempt === undefined ? Promise.resolve() : this.#parts.replies.replyFailure(attempt, failure)
    void told.then(() => this.#parts.mover.move(work, failure)).then(() => this.#finish(work))
  }

  #unroutable(work: Work): void {
    this.#unrouted += 1
    const { id, type } = work.item.message
    this.#events.emit({ kind: 'unrouted', source: this.name, id, type, count: this.#unrouted })
    if (this.#scope.source.kind === 'subscription') {
      void this.#settlements.settle(work, 'ack')
      this.#finish(work)
      return
    }
    work.firstFailedAt = Date.now()
    const error = new ChasquiError(
      'unrouted',
      `No handler of "${this.name}" takes ${type === undefined ? 'messages without type' : `the type "${type}"`}.`,
      { details: { type } },
    )
    this.#deadLetter(work, undefined, {
      code: error.code,
      reason: error.message,
      error,
      lastFailedAt: work.firstFailedAt,
    })
  }

  #tellHook(error: unknown, attempt: Attempt): void {
    const { onError } = this.#settings
    if (onError === undefined) return
    const failed = (cause: unknown) => this.#events.emit({ kind: 'hook-failed', hook: 'onError', error: cause })
    try {
      const result: unknown = onError(error, attempt)
      if (isPromise(result)) result.then(undefined, failed)
    } catch (cause) {
      failed(cause)
    }
  }

  // Leaving.

  #finish(work: Work): void {
    this.#running.leave(work)
    this.#drain()
  }

  #release(work: Work, reason: string): void {
    if (work.state !== 'open') return
    void this.#settlements.settle(work, 'requeue')
    if (!this.#events.heard.released) return
    const { id, type } = work.item.message
    this.#events.emit({ kind: 'released', source: this.name, id, type, reason })
  }

  /** Everything that waits here goes back to the engine. */
  #giveBack(reason: string): void {
    for (const work of this.#queue.drain()) this.#release(work, reason)
    for (const work of this.#waiting) {
      this.#waiting.delete(work)
      if (work.timer !== undefined) clearTimeout(work.timer)
      this.#release(work, reason)
      this.#running.leave(work)
    }
  }

  /** The engine has it already. */
  #void(work: Work): void {
    work.state = 'stale'
    if (work.timer !== undefined) clearTimeout(work.timer)
    this.#waiting.delete(work)
    this.#running.leave(work)
  }

  /** Ends an attempt from outside: its signal fires, and whatever it returns counts for nothing. */
  #cancel(work: Work, reason: ChasquiErrorType): void {
    const attempt = work.current
    this.#void(work)
    attempt?.abort(reason)
  }

  async #stop(deadlineMs: number): Promise<void> {
    if (this.#state !== 'failed') this.#state = 'stopping'
    this.#settings.signal?.removeEventListener('abort', this.#onAbort)
    await this.#receiver?.window(0).catch((error: unknown) => this.#tellStopFailure(error))
    this.#giveBack('the consumer was stopped')
    if (deadlineMs > 0) await this.#running.noneLeft(any, deadlineMs)
    const cancelled = this.#running.size
    this.#parts.mover.stop()
    const closed = new ChasquiError('closed', `The consumer of "${this.name}" was stopped; its message goes back.`)
    for (const work of this.#running.filter(any)) this.#cancel(work, closed)
    await this.#settlements.flushed()
    await this.#receiver?.stop().catch((error: unknown) => this.#tellStopFailure(error))
    this.#state = 'stopped'
    this.#parts.ended(this)
    this.#events.emit({ kind: 'consumer-stopped', source: this.name, cancelled })
  }

  /** An engine that is gone cannot be told; it takes the unsettled back by itself. */
  #tellStopFailure(error: unknown): void {
    this.#events.emit({ kind: 'driver-failed', doing: `stopping the receiver of ${this.name}`, error })
  }
}

function any(): boolean {
  return true
}

/** Handlers may throw anything; what is no Error is put into one. */
function wrapped(thrown: unknown): ChasquiError {
  // Objects may have a toString that throws.
  const what =
    typeof thrown === 'object' || typeof thrown === 'function' ? `a value of type ${typeof thrown}` : String(thrown)
  return new ChasquiError('handler-failed', `The handler threw what is no Error: ${what.slice(0, 200)}.`, {
    cause: thrown,
  })
}
