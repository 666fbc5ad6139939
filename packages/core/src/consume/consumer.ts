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
import { closeOptions } from '../options/connecting.ts'
import { consumeOptions } from '../options/consuming.ts'
import { checkOptions } from '../options/option.ts'
import type { Replies } from '../request/replies.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import type { PutAside } from '../retry/put-aside.ts'
import type { Settlements } from '../settle/settlement.ts'
import { staleError } from '../settle/settlement.ts'
import { Controls } from './controls.ts'
import type { Scope } from './incoming.ts'
import { Intake } from './intake.ts'
import { Loop } from './loop.ts'
import type { ConsumeSettings } from './options.ts'
import type { Routes } from './routes.ts'
import { StallWatch } from './stall.ts'
import type { Station } from './station.ts'

/** What `handle` and `subscribe` give. `await using` stops it. */
export interface Consumer extends AsyncDisposable {
  /**
   * How many handlers may run at once; may be set at any time: 1 to 100,000. Lowered, those that run finish. Setting it throws
   * `option-invalid` for other values, where `ordered` makes it 1, and where it tunes itself.
   */
  concurrency: number
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
  /** What handles messages in a way of its own; opened already. */
  readonly stations: readonly Station[]
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
  readonly #controls: Controls
  #stall: StallWatch | undefined
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
    this.#controls = new Controls({
      settings,
      source: this.name,
      events,
      running: () => this.#loop.running,
      drain: () => this.#loop.drain(),
      setConcurrency: concurrency => this.#setConcurrency(concurrency),
    })
    const { gates, watchers, breaker } = this.#controls
    const { capabilities } = driver
    this.#loop = new Loop({ ...parts, capabilities, intake: this.#intake, gates, watchers, breaker })
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
    this.#watch()
    this.#run()
  }

  /** Why the consumer does not consume; `undefined` while it does, or was told not to. */
  get failure(): string | undefined {
    return this.#failure?.message ?? this.#stall?.reason ?? this.#controls.breaker?.reason ?? this.#loop.bound
  }

  /** How many handlers run, for metrics. */
  get inFlight(): number {
    return this.#loop.running
  }

  get concurrency(): number {
    return this.#loop.limit
  }

  set concurrency(concurrency: number) {
    const where = `The consumer of "${this.name}"`
    checkOptions({ concurrency: consumeOptions.concurrency }, { concurrency: Number(concurrency) }, where)
    const { order, tuning } = this.#settings
    if (order === 'strict' && concurrency !== 1) {
      throw new ChasquiError('option-invalid', `${where} is \`ordered\`: it handles one message at a time.`)
    }
    if (tuning !== undefined) {
      throw new ChasquiError('option-invalid', `${where} finds its concurrency by itself; give a number to change it.`)
    }
    this.#setConcurrency(concurrency)
  }

  pause(): Promise<void> {
    if (this.#state !== 'running') return this.#turning
    this.#state = 'paused'
    this.#loop.close()
    this.#loop.hurry(true)
    return this.#turn(() => this.#pause())
  }

  resume(): Promise<void> {
    if (this.#state !== 'paused') return this.#turning
    this.#state = 'running'
    return this.#turn(async () => {
      this.#loop.expect()
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

  #setConcurrency(concurrency: number): void {
    if (concurrency === this.#loop.limit) return
    this.#loop.limit = concurrency
    this.#intake.atLeast(concurrency)
    this.#events.emit({ kind: 'concurrency-changed', source: this.name, concurrency })
    this.#loop.drain()
  }

  /** Looks for messages that wait while nothing is handled. */
  #watch(): void {
    const { driver, scope, settings } = this.#parts
    const { inspector } = driver
    if (inspector === undefined) return
    this.#stall = new StallWatch({
      sourceName: this.name,
      stallMs: settings.stallMs,
      events: this.#events,
      ready: () => this.#state === 'running' && driver.state === 'up' && (this.#loop.hungry || !this.#intake.isOpen),
      progress: () => this.#loop.progress,
      broken: () => !this.#intake.isOpen,
      waiting: async () => {
        const own = await this.#intake.waiting()
        if (own !== undefined) return own > 0
        const depth = await inspector.depth(scope.source)
        if (depth === undefined || depth.ready === 0) return false
        // Where another consumer has the key or the turn, waiting messages may be that one's.
        return !this.#ordered || depth.consumers <= 1
      },
      rebuild: () => this.#turn(() => this.#rebuild()),
    })
  }

  /** The receiver looks alive and brings nothing: another takes its place. */
  async #rebuild(): Promise<void> {
    if (this.#state !== 'running') return
    this.#loop.close()
    this.#loop.forget(staleError())
    await this.#parts.settlements.flushed()
    await this.#intake.shut()
    this.#loop.forget(staleError())
    if (this.#state !== 'running') return
    this.#loop.expect()
    await this.#intake.open(this)
    this.#run()
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
    this.#controls.stop()
    this.#stall?.stop()
    this.#settings.signal?.removeEventListener('abort', this.#onAbort)
    // An ordered source keeps what it has until the receiver stops: given back before, followers would overtake.
    if (!this.#ordered) await this.#intake.pause()
    this.#loop.giveBack('the consumer was stopped')
    if (deadlineMs > 0) {
      this.#loop.hurry(true)
      await this.#loop.idle(deadlineMs)
    }
    mover.stop()
    const closed = new ChasquiError('closed', `The consumer of "${this.name}" was stopped; its message goes back.`)
    const cancelled = this.#loop.cancelAll(closed)
    this.#loop.giveBack('the consumer was stopped')
    await settlements.flushed()
    await Promise.all(this.#parts.stations.map(station => station.close()))
    await this.#turn(() => this.#intake.shut())
    this.#state = 'stopped'
    this.#parts.ended(this)
    this.#events.emit({ kind: 'consumer-stopped', source: this.name, cancelled })
  }
}
