/**
 * One attempt after another: runs the incoming chain with the handler at its end, limits its time, and hands on how it went.
 * Handlers that return no promise are through in the same turn.
 */
import { ChasquiError } from '@chasqui/driver'
import { isPromise } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import type { Replies } from '../request/replies.ts'
import type { Settlements } from '../settle/settlement.ts'
import type { Scope } from './incoming.ts'
import { Attempt } from './incoming.ts'
import type { RunnableRoute } from './routes.ts'
import type { Floor, Watcher, Work } from './work.ts'

export interface AttemptsParts {
  readonly scope: Scope
  readonly timeoutMs: number | undefined
  readonly settlements: Settlements
  readonly replies: Replies
  readonly events: EventHub
  readonly floor: Floor
  /** Those who want to know how attempts went. */
  readonly watchers: readonly Watcher[]
  /** An attempt failed. What follows is the failures' matter. */
  readonly failed: (work: Work, attempt: Attempt, error: Error) => void
}

export class Attempts {
  readonly #parts: AttemptsParts
  readonly #name: string

  constructor(parts: AttemptsParts) {
    this.#parts = parts
    this.#name = parts.scope.sourceName
  }

  run(work: Work, route: RunnableRoute): void {
    const { scope, events, timeoutMs, watchers } = this.#parts
    work.attempt += 1
    const attempt = new Attempt(
      scope,
      route,
      work.item.message,
      work.item.redelivered || work.crashes > 0,
      work.attempt,
    )
    work.current = attempt
    if (events.heard.handled || events.heard['attempt-failed'] || watchers.length > 0)
      attempt.startedAt = performance.now()
    try {
      const result = route.run(attempt)
      if (isPromise(result)) {
        if (timeoutMs !== undefined && !route.timed) this.#limit(work, attempt, timeoutMs)
        this.#listen(attempt, result)
        result.then(
          value => this.#returned(work, attempt, value),
          error => this.#failed(work, attempt, error),
        )
      } else {
        this.#returned(work, attempt, result)
      }
    } catch (error) {
      this.#failed(work, attempt, error)
    }
  }

  /** A requester that asked for it may cancel the attempt while it runs. */
  #listen(attempt: Attempt, result: PromiseLike<unknown>): void {
    const { replyTo } = attempt.wire
    const stop = replyTo === undefined ? undefined : this.#parts.replies.listen(attempt)
    if (stop !== undefined) result.then(stop, stop)
  }

  #limit(work: Work, attempt: Attempt, timeoutMs: number): void {
    work.timer = setTimeout(() => {
      const error = new ChasquiError(
        'handler-timeout',
        `The handler of "${this.#name}" did not return within ${timeoutMs} ms. Let it obey ctx.signal, or raise timeoutMs.`,
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
    work.clearTimer()
    return work.state !== 'open'
  }

  #returned(work: Work, attempt: Attempt, result: unknown): void {
    let streams: boolean
    try {
      streams = this.#parts.replies.streams(attempt, result)
    } catch (error) {
      this.#failed(work, attempt, error)
      return
    }
    if (!streams) {
      if (this.#succeeded(work, attempt)) this.#answer(work, attempt, result)
    } else if (work.current === attempt && work.state === 'open') {
      this.#stream(work, attempt, result as AsyncIterable<unknown>)
    }
  }

  /** The attempt lasts as long as its stream. */
  #stream(work: Work, attempt: Attempt, items: AsyncIterable<unknown>): void {
    const { timeoutMs, replies } = this.#parts
    if (timeoutMs !== undefined && work.timer === undefined) this.#limit(work, attempt, timeoutMs)
    replies.stream(attempt, items).then(
      () => {
        if (this.#succeeded(work, attempt)) this.#acknowledge(work)
      },
      error => this.#failed(work, attempt, error),
    )
  }

  /** False for an attempt that is over already. */
  #succeeded(work: Work, attempt: Attempt): boolean {
    if (this.#over(work, attempt)) return false
    const { events, watchers } = this.#parts
    if (watchers.length > 0) this.#tell(attempt, undefined)
    if (events.heard.handled) {
      const { id, type } = work.item.message
      const durationMs = performance.now() - attempt.startedAt
      const pipelineMs = attempt.handlerStartedAt === 0 ? durationMs : attempt.handlerStartedAt - attempt.startedAt
      events.emit({ kind: 'handled', source: this.#name, id, type, attempt: work.attempt, durationMs, pipelineMs })
    }
    return true
  }

  /** The reply is confirmed before the request is acknowledged; one that cannot be sent fails the attempt. */
  #answer(work: Work, attempt: Attempt, result: unknown): void {
    const { replies } = this.#parts
    if (work.item.message.replyTo === undefined || !replies.answers(attempt, result)) {
      this.#acknowledge(work)
      return
    }
    if (attempt.cancelled) {
      this.#giveUp(work)
      return
    }
    work.current = attempt
    replies.reply(attempt, result).then(
      () => {
        if (!this.#over(work, attempt)) this.#acknowledge(work)
      },
      (error: unknown) => this.#failed(work, attempt, error),
    )
  }

  /** The requester has cancelled: neither a reply nor another attempt is wanted. */
  #giveUp(work: Work): void {
    const { events } = this.#parts
    const { id, type } = work.item.message
    if (events.heard['request-cancelled']) events.emit({ kind: 'request-cancelled', source: this.#name, id, type })
    this.#acknowledge(work)
  }

  #acknowledge(work: Work): void {
    void this.#parts.settlements.settle(work, 'ack')
    this.#parts.floor.finish(work)
  }

  #failed(work: Work, attempt: Attempt, thrown: unknown): void {
    if (this.#over(work, attempt)) return
    const error = isTellable(thrown) ? thrown : wrapped(thrown)
    if (this.#parts.watchers.length > 0) this.#tell(attempt, error)
    if (attempt.cancelled) this.#giveUp(work)
    else this.#parts.failed(work, attempt, error)
  }

  #tell(attempt: Attempt, error: Error | undefined): void {
    const durationMs = performance.now() - attempt.startedAt
    for (const watcher of this.#parts.watchers) watcher.ended(durationMs, error)
  }
}

/** An Error may have anything for a message, or a getter that throws: logs, headers and retries need text. */
function isTellable(thrown: unknown): thrown is Error {
  if (!(thrown instanceof Error)) return false
  try {
    String(thrown.message)
    String(thrown.name)
    return true
  } catch {
    return false
  }
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
