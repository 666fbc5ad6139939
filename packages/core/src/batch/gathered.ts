/**
 * One message in a batch. A `Gathered` is its attempt, which ends once; a `BatchItem` is what one run of the handler sees of it. When a
 * batch is split each part is a run of its own, and what an earlier run still says of its items counts for nothing.
 */
import { ChasquiError } from '@chasqui/driver'
import type { Context } from '../consume/incoming.ts'
import { retryRequested } from '../consume/retry-requested.ts'
import { notOpen, staleError } from '../settle/settlement.ts'

/** What is known of a message in a batch, and what sends on its behalf. It is settled by its item's methods. */
export type ItemContext = Omit<Context, 'retry' | 'deadLetter'>

/**
 * A message of a batch. What is not settled by one of the methods follows the handler: returning acknowledges, throwing fails. The
 * methods may be called once each item, while the handler runs: `already-settled`, `delivery-stale`.
 */
export interface BatchItem<B = unknown> {
  readonly body: B
  readonly ctx: ItemContext
  /** Acknowledges the message, whatever becomes of the others. */
  ack(): void
  /** Asks for another attempt, after `delayMs` (default: as the retry policy says). Counts as an attempt. */
  retry(options?: { readonly delayMs?: number; readonly cause?: unknown }): void
  /** Gives the message up: it goes to the dead-letter queue with this reason. */
  deadLetter(reason: string): void
  /** Fails the attempt, as if a handler of this message alone had thrown the error. */
  fail(error: unknown): void
}

/** A message that waits for its batch, or is in it. Its promise is the attempt's result. */
export class Gathered {
  readonly body: unknown
  readonly ctx: Context
  /** When it was gathered (`performance.now()`). */
  readonly since: number
  readonly result: Promise<undefined>
  /** `stale`: the attempt was ended from outside. */
  state: 'open' | 'settled' | 'stale' = 'open'
  /** Told when the attempt is ended from outside: its place in line, later the run that it is in. */
  holder: { lost(item: Gathered, reason: unknown): void } | undefined = undefined
  readonly #resolve: (value: undefined) => void
  readonly #reject: (error: unknown) => void
  readonly #signal: AbortSignal
  readonly #onAbort: () => void

  constructor(body: unknown, ctx: Context, since: number) {
    const { promise, resolve, reject } = Promise.withResolvers<undefined>()
    this.body = body
    this.ctx = ctx
    this.since = since
    this.result = promise
    this.#resolve = resolve
    this.#reject = reject
    this.#signal = ctx.signal
    this.#onAbort = () => {
      if (this.state !== 'open') return
      this.state = 'stale'
      this.#reject(this.#signal.reason)
      this.holder?.lost(this, this.#signal.reason)
    }
    this.#signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  acknowledge(): void {
    if (this.#end()) this.#resolve(undefined)
  }

  fail(error: unknown): void {
    if (this.#end()) this.#reject(error)
  }

  #end(): boolean {
    if (this.state !== 'open') return false
    this.state = 'settled'
    this.#signal.removeEventListener('abort', this.#onAbort)
    return true
  }
}

/** The item as one run of the handler sees it. */
export class RunItem implements BatchItem<never> {
  readonly body: never
  readonly #gathered: Gathered
  readonly #run: { readonly over: boolean }

  constructor(gathered: Gathered, run: { readonly over: boolean }) {
    this.body = gathered.body as never
    this.#gathered = gathered
    this.#run = run
  }

  get ctx(): ItemContext {
    return this.#gathered.ctx
  }

  ack(): void {
    this.#open.acknowledge()
  }

  retry(options: { readonly delayMs?: number; readonly cause?: unknown } = {}): void {
    const error = retryRequested(options, 'item.retry')
    this.#open.fail(error)
  }

  deadLetter(reason: string): void {
    this.#open.fail(new ChasquiError('dead-lettered', String(reason)))
  }

  fail(error: unknown): void {
    this.#open.fail(error)
  }

  get #open(): Gathered {
    if (this.#gathered.state === 'settled') throw notOpen({ state: 'settled' })
    if (this.#run.over || this.#gathered.state === 'stale') throw staleError()
    return this.#gathered
  }
}
