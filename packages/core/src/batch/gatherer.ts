/**
 * Gathers messages into batches and gives each batch to the handler. To the consumer's loop it is the handler of each message: an
 * attempt begins when its message is gathered, and ends when the message is settled.
 *
 *     attempt -> waiting, in order -> in a batch -> settled by itself, with its batch, or with a part of it
 *
 * A batch is closed when it is full, or when its oldest item has waited for `maxAgeMs`: the time runs from that item on and nothing
 * that comes later restarts it. A batch whose handler throws is split into halves, in order, until what fails stands alone.
 */
import { isChasquiError } from '@chasqui/driver'
import type { Context, Scope } from '../consume/incoming.ts'
import type { Station } from '../consume/station.ts'
import type { EventHub } from '../observe/events.ts'
import type { AnyBatchHandler, ClosedBy } from './batch-run.ts'
import { BatchRun } from './batch-run.ts'
import { Gathered } from './gathered.ts'

export interface GathererParts {
  readonly handler: AnyBatchHandler
  readonly size: number
  readonly maxAgeMs: number
  /** How many batches run at once. */
  readonly concurrency: number
  readonly timeoutMs: number | undefined
  readonly scope: Scope
  readonly events: EventHub
}

export class Gatherer implements Station {
  readonly #parts: GathererParts
  #concurrency: number
  #waiting: Gathered[] = []
  #running = 0
  #hurrying = false
  #timer: NodeJS.Timeout | undefined
  readonly #ripe = () => {
    this.#timer = undefined
    this.#pump()
  }

  constructor(parts: GathererParts) {
    this.#parts = parts
    this.#concurrency = parts.concurrency
  }

  get concurrency(): number {
    return this.#concurrency
  }

  set concurrency(concurrency: number) {
    this.#concurrency = concurrency
    this.#pump()
  }

  /** The innermost step of an attempt. */
  readonly gather = (body: unknown, ctx: Context): Promise<undefined> => {
    const item = new Gathered(body, ctx, performance.now())
    item.holder = this
    this.#waiting.push(item)
    if (this.#timer === undefined || this.#hurrying || this.#waiting.length >= this.#parts.size) this.#pump()
    return item.result
  }

  async open(): Promise<void> {}

  hurry(on: boolean): void {
    this.#hurrying = on
    if (on) this.#pump()
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  /** One that waits is not ours any more. */
  lost(item: Gathered): void {
    const place = this.#waiting.indexOf(item)
    if (place >= 0) this.#waiting.splice(place, 1)
    if (this.#waiting.length === 0) void this.close()
  }

  #pump(): void {
    for (;;) {
      const oldest = this.#waiting[0]
      if (oldest === undefined || this.#running >= this.#concurrency) break
      const { size, maxAgeMs } = this.#parts
      const restMs = maxAgeMs - (performance.now() - oldest.since)
      const closedBy = this.#waiting.length >= size ? 'size' : this.#hurrying ? 'end' : restMs <= 0 ? 'age' : undefined
      if (closedBy === undefined) {
        // At least the rest: timers may fire a little early.
        this.#timer ??= setTimeout(this.#ripe, Math.ceil(restMs))
        return
      }
      this.#begin(this.#waiting.splice(0, size), closedBy)
    }
    // Nothing waits, or what waits is looked at when a batch has ended.
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #begin(batch: Gathered[], closedBy: ClosedBy): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running += 1
    void this.#handle(batch, closedBy).then(() => {
      this.#running -= 1
      this.#pump()
    })
  }

  /** One part after another, in order. Does not reject. */
  async #handle(batch: Gathered[], closedBy: ClosedBy): Promise<void> {
    const { handler, timeoutMs, scope } = this.#parts
    const parts = [batch]
    for (let part = parts.pop(); part !== undefined; part = parts.pop()) {
      const open = part.filter(isOpen)
      if (open.length === 0) continue
      const run = new BatchRun(open, part === batch ? closedBy : 'split', scope)
      const end = await run.call(handler, timeoutMs)
      const left = open.filter(isOpen)
      if (!end.failed) {
        for (const item of left) item.acknowledge()
      } else if (left.length === 0) {
        this.#unheard(open, end.thrown)
      } else if (left.length === 1 || concernsAll(end.thrown)) {
        for (const item of left) item.fail(end.thrown)
      } else {
        const middle = Math.ceil(left.length / 2)
        parts.push(left.slice(middle), left.slice(0, middle))
      }
    }
  }

  /** It threw when each of its items had been settled: nothing is left that could fail with it. */
  #unheard(items: readonly Gathered[], error: unknown): void {
    if (items.some(item => item.state === 'stale')) return
    const hook = `the batch handler of ${this.#parts.scope.sourceName}, after it had settled every item`
    this.#parts.events.emit({ kind: 'hook-failed', hook, error })
  }
}

function isOpen(item: Gathered): boolean {
  return item.state === 'open'
}

/** Asked for by `ctx.retry` or `ctx.deadLetter`, for the batch as a whole. */
function concernsAll(error: unknown): boolean {
  return isChasquiError(error) && (error.code === 'retry-requested' || error.code === 'dead-lettered')
}
