/** One call of a batch's handler: limits its time, and tells how it went. Never rejects. */
import { ChasquiError } from '@chasqui/driver'
import type { Scope } from '../consume/incoming.ts'
import { retryRequested } from '../consume/retry-requested.ts'
import { isPromise } from '../middleware/chain.ts'
import type { Logger } from '../observe/logging.ts'
import { boundLogger } from '../observe/logging.ts'
import type { BatchItem, Gathered } from './gathered.ts'
import { RunItem } from './gathered.ts'

/** Why a batch was closed: full; its oldest item old enough; the consumer pauses or ends; part of one that failed. */
export type ClosedBy = 'size' | 'age' | 'end' | 'split'

/** What a batch's handler gets beside the items. */
export interface BatchContext {
  readonly closedBy: ClosedBy
  /** Fires after `timeoutMs`, and when none of the batch's open items is this consumer's any more. */
  readonly signal: AbortSignal
  /** A logger that adds the queue and the number of items. */
  readonly log: Logger
  /** Gives up what is not settled of the batch and asks for another attempt of each item. Does not split. Throws. */
  retry(options?: { readonly delayMs?: number; readonly cause?: unknown }): never
  /** Gives up what is not settled of the batch: each item goes to the dead-letter queue with this reason. Does not split. Throws. */
  deadLetter(reason: string): never
}

export type AnyBatchHandler = (items: readonly BatchItem<never>[], ctx: BatchContext) => unknown

/** How a call ended; `thrown` may be anything, also `undefined`. */
export type RunEnd = { readonly failed: false } | { readonly failed: true; readonly thrown: unknown }

const returned: RunEnd = { failed: false }

export class BatchRun implements BatchContext {
  readonly closedBy: ClosedBy
  /** What its items still say counts for nothing. */
  over = false
  readonly #items: readonly Gathered[]
  readonly #scope: Scope
  readonly #controller = new AbortController()
  readonly #end: Promise<RunEnd>
  readonly #tell: (end: RunEnd) => void
  #log: Logger | undefined

  constructor(items: readonly Gathered[], closedBy: ClosedBy, scope: Scope) {
    const { promise, resolve } = Promise.withResolvers<RunEnd>()
    this.#items = items
    this.closedBy = closedBy
    this.#scope = scope
    this.#end = promise
    this.#tell = resolve
  }

  /** Calls the handler. Resolves when it has ended, its time is over, or nothing in it is ours any more. */
  async call(handler: AnyBatchHandler, timeoutMs: number | undefined): Promise<RunEnd> {
    for (const item of this.#items) item.holder = this
    let timer: NodeJS.Timeout | undefined
    try {
      const result = handler(
        this.#items.map(item => new RunItem(item, this)),
        this,
      )
      if (isPromise(result)) {
        if (timeoutMs !== undefined) timer = setTimeout(() => this.#stop(this.#late(timeoutMs)), timeoutMs)
        result.then(
          () => this.#tell(returned),
          (thrown: unknown) => this.#tell({ failed: true, thrown }),
        )
      } else {
        this.#tell(returned)
      }
    } catch (thrown) {
      this.#tell({ failed: true, thrown })
    }
    const end = await this.#end
    clearTimeout(timer)
    this.over = true
    return end
  }

  /** An item's attempt was ended from outside. */
  lost(_: Gathered, reason: unknown): void {
    if (this.over || this.#items.some(item => item.state === 'open')) return
    this.#stop(reason)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get log(): Logger {
    const { logger, sourceName } = this.#scope
    this.#log ??= boundLogger(logger, { queue: sourceName, items: this.#items.length })
    return this.#log
  }

  retry(options: { readonly delayMs?: number; readonly cause?: unknown } = {}): never {
    throw retryRequested(options, 'ctx.retry')
  }

  deadLetter(reason: string): never {
    throw new ChasquiError('dead-lettered', String(reason))
  }

  #stop(reason: unknown): void {
    this.#tell({ failed: true, thrown: reason })
    this.#controller.abort(reason)
  }

  #late(timeoutMs: number): ChasquiError {
    return new ChasquiError(
      'handler-timeout',
      `The handler of "${this.#scope.sourceName}" did not return within ${timeoutMs} ms for a batch of ${this.#items.length}. Let it obey ctx.signal, raise timeoutMs, or make the batches smaller.`,
      { details: { timeoutMs, items: this.#items.length } },
    )
  }
}
