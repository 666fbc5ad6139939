/**
 * The loop of a consumer: window -> attempt -> settle. Lets deliveries in, gives each its turn, and sees to it that all of them
 * leave when the consumer pauses, stops, or loses its lane. The steps are files beside this one: attempts run the handler,
 * failures carry out what the retry policy decides, held keeps what waits for a delayed attempt.
 *
 * A delivery is queued -> running -> (held for a delayed attempt -> queued)* -> settled, or void when its lane is lost. Each
 * settlement leaves with the others of its tick.
 */
import type { Batch, ChasquiError as ChasquiErrorType, Driver, Receiver, Sink } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import { checkOptions, closeOptions } from '../options.ts'
import type { Replies } from '../request/replies.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import type { Settlements } from '../settle/settlement.ts'
import { staleError } from '../settle/settlement.ts'
import { Attempts } from './attempts.ts'
import { Failures } from './failures.ts'
import { Held } from './held.ts'
import type { Scope } from './incoming.ts'
import type { ConsumeSettings } from './options.ts'
import { FifoQueue } from './queue.ts'
import type { Routes } from './routes.ts'
import { Running } from './running.ts'
import type { Floor } from './work.ts'
import { Work } from './work.ts'

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

export class MessageConsumer implements Consumer, Sink, Floor {
  readonly name: string
  readonly #parts: ConsumerParts
  readonly #scope: Scope
  readonly #settings: ConsumeSettings
  readonly #settlements: Settlements
  readonly #events: EventHub
  #receiver: Receiver | undefined
  #state: State = 'running'
  #failure: ChasquiErrorType | undefined
  readonly #queue = new FifoQueue<Work>()
  readonly #running = new Running<Work>()
  readonly #held = new Held()
  readonly #attempts: Attempts
  readonly #failures: Failures
  #scheduled = false
  #draining = false
  #stopping: Promise<void> | undefined
  readonly #onAbort = () => void this.stop({ deadlineMs: 0 })
  readonly #drainLater = () => {
    this.#scheduled = false
    this.#drain()
  }
  /** The wait of a held delivery is over. */
  readonly #due = (work: Work) => {
    if (work.slot >= 0) this.again(work)
    else {
      this.#queue.push(work)
      this.#drain()
    }
  }

  constructor(parts: ConsumerParts) {
    this.#parts = parts
    this.name = parts.scope.sourceName
    this.#scope = parts.scope
    this.#settings = parts.settings
    this.#settlements = parts.settlements
    this.#events = parts.events
    this.#failures = new Failures({ ...parts, floor: this })
    this.#attempts = new Attempts({
      ...parts,
      timeoutMs: parts.settings.timeoutMs,
      floor: this,
      failed: (work, attempt, error) => this.#failures.failed(work, attempt, error),
    })
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
      else this.release(work, 'the consumer does not run')
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
    for (const work of this.#held.take(theirs)) this.#void(work)
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
    for (const work of this.#held.take(any)) this.#void(work)
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
      this.#failures.unroutable(work)
      return
    }
    work.route = route
    this.#attempts.run(work, route)
  }

  // Floor: what the steps ask for.

  get open(): boolean {
    return this.#state === 'running'
  }

  again(work: Work): void {
    if (work.state !== 'open' || work.slot < 0 || work.route === undefined) return
    this.#attempts.run(work, work.route)
  }

  hold(work: Work, delayMs: number): void {
    if (!this.open) {
      this.release(work, 'the consumer does not run')
      this.finish(work)
      return
    }
    // In strict order nothing may overtake it.
    if (this.#settings.order === 'none') this.#running.leave(work)
    this.#held.add(work, delayMs, this.#due)
    this.#drain()
  }

  release(work: Work, reason: string): void {
    if (work.state !== 'open') return
    void this.#settlements.settle(work, 'requeue')
    if (!this.#events.heard.released) return
    const { id, type } = work.item.message
    this.#events.emit({ kind: 'released', source: this.name, id, type, reason })
  }

  finish(work: Work): void {
    this.#running.leave(work)
    this.#drain()
  }

  // Leaving.

  /** Everything that waits here goes back to the engine. */
  #giveBack(reason: string): void {
    for (const work of this.#queue.drain()) this.release(work, reason)
    for (const work of this.#held.take(any)) {
      this.release(work, reason)
      this.#running.leave(work)
    }
  }

  /** The engine has it already. */
  #void(work: Work): void {
    work.state = 'stale'
    work.clearTimer()
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
