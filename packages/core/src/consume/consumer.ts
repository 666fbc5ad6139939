/**
 * A consumer's life: started, paused, resumed, stopped, failed. It owns the intake, from which deliveries come, and the loop, which
 * gives each its turn.
 *
 *     running <-> paused
 *        |          |
 *        +---> stopping ---> stopped          failed: the engine ended it
 */
import type { Batch, ChasquiError as ChasquiErrorType, Driver, Sink } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import { checkOptions, closeOptions } from '../options.ts'
import type { Replies } from '../request/replies.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import type { PutAside } from '../retry/put-aside.ts'
import type { Settlements } from '../settle/settlement.ts'
import type { Scope } from './incoming.ts'
import { Intake } from './intake.ts'
import { Loop } from './loop.ts'
import type { ConsumeSettings } from './options.ts'
import type { Routes } from './routes.ts'

/** What `handle` and `subscribe` give. `await using` stops it. */
export interface Consumer extends AsyncDisposable {
  /**
   * No new handler starts and no message is fetched; running ones finish. Those that waited here go back, for other consumers to
   * handle. On an ordered source that must wait for the running handlers, at most 30,000 ms; this resolves after it.
   */
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
  readonly putAside: PutAside
  readonly replies: Replies
  readonly events: EventHub
  /** Called once, when the consumer has ended. */
  readonly ended: (consumer: MessageConsumer) => void
}

type State = 'running' | 'paused' | 'stopping' | 'stopped' | 'failed'

export class MessageConsumer implements Consumer, Sink {
  readonly name: string
  readonly #parts: ConsumerParts
  readonly #settings: ConsumeSettings
  readonly #events: EventHub
  readonly #ordered: boolean
  readonly #intake: Intake
  readonly #loop: Loop
  #state: State = 'running'
  #failure: ChasquiErrorType | undefined
  /** Opening and shutting the intake happen one after another. */
  #turning: Promise<void> = Promise.resolve()
  #stopping: Promise<void> | undefined
  readonly #onAbort = () => void this.stop({ deadlineMs: 0 })

  constructor(parts: ConsumerParts) {
    const { driver, scope, settings, settlements, mover, putAside, events } = parts
    const { window, order, wanted } = settings
    this.#parts = parts
    this.name = scope.sourceName
    this.#settings = settings
    this.#events = events
    this.#ordered = order !== 'none'
    this.#intake = new Intake({
      driver,
      source: scope.source,
      sourceName: this.name,
      options: { window, order, ...(wanted.lanes === undefined ? {} : { lanes: wanted.lanes }) },
      events,
      attach: receiver => {
        for (const part of [settlements, mover, putAside]) part.attach(receiver)
      },
    })
    this.#loop = new Loop({ ...parts, capabilities: driver.capabilities, intake: this.#intake, gates: [] })
  }

  async start(): Promise<void> {
    const { concurrency, window, signal } = this.#settings
    if (signal?.aborted) throw new ChasquiError('aborted', `The signal had fired before "${this.name}" was consumed.`)
    // What comes while the receiver is being made waits for it: nothing can be settled before.
    await this.#intake.open(this)
    if (this.#state !== 'running') {
      // Stopped or failed while it was starting.
      await this.#intake.shut()
      throw this.#failure ?? new ChasquiError('closed', `The consumer of "${this.name}" was stopped as it started.`)
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#events.emit({ kind: 'consumer-started', source: this.name, concurrency, window })
    if (signal?.aborted) this.#onAbort()
    this.#run()
  }

  /** Why the consumer does not consume; `undefined` while it does, or was told not to. */
  get failure(): string | undefined {
    return this.#failure?.message ?? this.#loop.bound
  }

  /** How many handlers run, for metrics. */
  get inFlight(): number {
    return this.#loop.running
  }

  pause(): Promise<void> {
    if (this.#state !== 'running') return this.#turning
    this.#state = 'paused'
    this.#loop.close()
    return this.#turn(() => this.#pause())
  }

  resume(): Promise<void> {
    if (this.#state !== 'paused') return this.#turning
    this.#state = 'running'
    return this.#turn(async () => {
      if (!this.#intake.isOpen) await this.#intake.open(this)
      await this.#intake.resume()
      this.#run()
      this.#events.emit({ kind: 'consumer-resumed', source: this.name })
    })
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
    this.#loop.deliver(batch)
  }

  revoke(lane: string, epoch: number, graceMs: number): Promise<void> {
    return this.#loop.revoke(lane, epoch, graceMs)
  }

  fail(error: ChasquiErrorType): void {
    if (this.#state === 'stopped' || this.#state === 'failed') return
    this.#state = 'failed'
    this.#failure = error
    this.#loop.close()
    this.#loop.forget(error)
    this.#events.emit({ kind: 'consumer-failed', source: this.name, error })
  }

  #run(): void {
    if (this.#state === 'running') this.#loop.start()
  }

  #turn(change: () => Promise<void>): Promise<void> {
    const turned = this.#turning.then(change)
    this.#turning = turned.catch(() => undefined)
    return turned
  }

  async #pause(): Promise<void> {
    if (!this.#ordered) {
      await this.#intake.pause()
      this.#loop.giveBack('the consumer was paused')
      await this.#parts.settlements.flushed()
    } else {
      // Followers must not reach another consumer before those ahead of them are settled.
      await this.#loop.idle(closeOptions.deadlineMs.default)
      if (this.#loop.running === 0) await this.#shut()
    }
    if (this.#state === 'paused') this.#events.emit({ kind: 'consumer-paused', source: this.name })
  }

  /** Everything in hand goes back to the engine, in order. */
  async #shut(): Promise<void> {
    await this.#parts.settlements.flushed()
    await this.#intake.shut()
    // Last: deliveries may have come until then.
    this.#loop.giveBack('the consumer was paused')
  }

  async #stop(deadlineMs: number): Promise<void> {
    if (this.#state !== 'failed') this.#state = 'stopping'
    const { settlements, mover } = this.#parts
    this.#loop.close()
    this.#settings.signal?.removeEventListener('abort', this.#onAbort)
    // An ordered source keeps what it has until the receiver stops: given back before, followers would overtake.
    if (!this.#ordered) await this.#intake.pause()
    this.#loop.giveBack('the consumer was stopped')
    if (deadlineMs > 0) await this.#loop.idle(deadlineMs)
    mover.stop()
    const closed = new ChasquiError('closed', `The consumer of "${this.name}" was stopped; its message goes back.`)
    const cancelled = this.#loop.cancelAll(closed)
    this.#loop.giveBack('the consumer was stopped')
    await settlements.flushed()
    await this.#turn(() => this.#intake.shut())
    this.#state = 'stopped'
    this.#parts.ended(this)
    this.#events.emit({ kind: 'consumer-stopped', source: this.name, cancelled })
  }
}
