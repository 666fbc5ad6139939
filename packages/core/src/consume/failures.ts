/**
 * What follows a failed attempt: tells of it, asks the retry policy, and carries its decision out (again now, again later, dead
 * letter). Decides nothing by itself.
 */
import { ChasquiError } from '@chasqui/driver'
import { isPromise } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import type { Replies } from '../request/replies.ts'
import type { Failure } from '../retry/dead-letter.ts'
import { decide } from '../retry/decide.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import { maxHoldMs } from '../retry/policy.ts'
import type { PutAside } from '../retry/put-aside.ts'
import type { Settlements } from '../settle/settlement.ts'
import type { CircuitBreaker } from './circuit-breaker.ts'
import type { RouteInfo, Scope } from './incoming.ts'
import { Attempt } from './incoming.ts'
import type { ConsumeSettings } from './options.ts'
import type { Floor, Work } from './work.ts'

export interface FailuresParts {
  readonly scope: Scope
  readonly settings: ConsumeSettings
  readonly settlements: Settlements
  readonly mover: DeadLetterMover
  readonly putAside: PutAside
  readonly replies: Replies
  readonly events: EventHub
  readonly floor: Floor
  readonly breaker: CircuitBreaker | undefined
}

const noRoute: RouteInfo = { contract: undefined, schema: undefined, format: undefined }

export class Failures {
  readonly #parts: FailuresParts
  readonly #name: string
  #unrouted = 0

  constructor(parts: FailuresParts) {
    this.#parts = parts
    this.#name = parts.scope.sourceName
  }

  failed(work: Work, attempt: Attempt, error: Error): void {
    const { events, settings, floor } = this.#parts
    const now = Date.now()
    if (work.firstFailedAt === 0) work.firstFailedAt = now
    const { id, type } = work.item.message
    if (events.heard['attempt-failed']) {
      const durationMs = performance.now() - attempt.startedAt
      events.emit({
        kind: 'attempt-failed',
        source: this.#name,
        id,
        type,
        attempt: work.attempt,
        durationMs,
        error,
      })
    }
    this.#tellHook(error, attempt)
    const seen = (attempt.streamRun?.sent ?? 0) > 0
    const failed = { attempt: work.attempt, error, firstFailedAt: work.firstFailedAt, now, seen }
    const decision = decide(settings.retry, failed, Math.random)
    if (decision.kind === 'dead-letter') {
      this.#deadLetter(work, attempt, decision.code, decision.reason, error, now)
      return
    }
    // An attempt that would meet an open circuit waits for it instead.
    const delayMs = Math.max(decision.delayMs, this.#parts.breaker?.restMs ?? 0)
    if (events.heard.retried) {
      events.emit({ kind: 'retried', source: this.#name, id, type, attempt: work.attempt + 1, delayMs })
    }
    if (delayMs > 0) this.#later(work, delayMs)
    // Not in this turn: attempts that fail at once, many or without end, would let nothing else of the process run.
    else setImmediate(() => floor.again(work))
  }

  /** Without another attempt, and without one that just failed: the message goes to the dead letters. */
  giveUp(work: Work, error: ChasquiError): void {
    const now = Date.now()
    if (work.firstFailedAt === 0) work.firstFailedAt = now
    const { scope } = this.#parts
    const { message, redelivered } = work.item
    // Whoever asked is told, as by an attempt that failed.
    const attempt =
      message.replyTo === undefined
        ? undefined
        : new Attempt(scope, work.route ?? noRoute, message, redelivered, work.attempt)
    this.#deadLetter(work, attempt, error.code, error.message, error, now)
  }

  /**
   * The engine keeps the message until its next attempt where it can and order allows; else, and when it does not take the copy,
   * the message is held here.
   */
  #later(work: Work, delayMs: number): void {
    const { settings, putAside, floor, events } = this.#parts
    if (settings.order !== 'none' || !settings.wanted.durable || !putAside.canDelay) {
      floor.hold(work, this.#cut(work, delayMs))
      return
    }
    const dueAt = Date.now() + delayMs
    void putAside.put(work, work.crashes, dueAt).then(error => {
      if (error === undefined) {
        floor.finish(work)
        return
      }
      const { id, type } = work.item.message
      const restMs = Math.max(dueAt - Date.now(), 1)
      events.emit({ kind: 'retry-held', source: this.#name, id, type, delayMs: restMs, error })
      floor.hold(work, this.#cut(work, restMs))
    })
  }

  /** No message may be held for longer. */
  #cut(work: Work, askedMs: number): number {
    if (askedMs <= maxHoldMs) return askedMs
    const { id, type } = work.item.message
    this.#parts.events.emit({ kind: 'delay-cut', source: this.#name, id, type, askedMs, delayMs: maxHoldMs })
    return maxHoldMs
  }

  /** The engine could not let it expire: it waited for its moment where messages do not. */
  expired(work: Work): void {
    const { notBefore, expiresAt } = work.item.message
    const lateMs = Date.now() - expiresAt!
    this.giveUp(
      work,
      new ChasquiError('expired', `Its time to live was over ${lateMs} ms before it could be handled.`, {
        details: { notBefore, expiresAt },
      }),
    )
  }

  /** No route takes the message: dead-lettered on a queue, acknowledged and counted on a subscription. */
  unroutable(work: Work): void {
    const { events, scope, settlements, floor } = this.#parts
    this.#unrouted += 1
    const { id, type } = work.item.message
    events.emit({ kind: 'unrouted', source: this.#name, id, type, count: this.#unrouted })
    if (scope.source.kind === 'subscription') {
      void settlements.settle(work, 'ack')
      floor.finish(work)
      return
    }
    const error = new ChasquiError(
      'unrouted',
      `No handler of "${this.#name}" takes ${type === undefined ? 'messages without type' : `the type "${type}"`}.`,
      { details: { type } },
    )
    this.giveUp(work, error)
  }

  #deadLetter(
    work: Work,
    attempt: Attempt | undefined,
    code: string,
    reason: string,
    error: unknown,
    lastFailedAt: number,
  ): void {
    const { mover, replies, floor } = this.#parts
    const { firstFailedAt, attempt: attempts } = work
    const failure: Failure = { code, reason, error, attempts, firstFailedAt, lastFailedAt }
    const told = attempt === undefined ? Promise.resolve() : replies.replyFailure(attempt, failure)
    void told.then(() => mover.move(work, failure)).then(() => floor.finish(work))
  }

  #tellHook(error: unknown, attempt: Attempt): void {
    const { onError } = this.#parts.settings
    if (onError === undefined) return
    const failed = (cause: unknown) => this.#parts.events.emit({ kind: 'hook-failed', hook: 'onError', error: cause })
    try {
      const result: unknown = onError(error, attempt)
      if (isPromise(result)) result.then(undefined, failed)
    } catch (cause) {
      failed(cause)
    }
  }
}
