/** What follows from one failed attempt. A pure decision on what is known of it; the consumer carries it out. */
import type { ErrorCode } from '@chasqui/driver'
import { isChasquiError } from '@chasqui/driver'
import { messageOf } from '../observe/message-of.ts'
import { maxTimerMs } from '../options/option.ts'
import { delayOf } from './backoff.ts'
import type { RetryPolicy, Terms } from './policy.ts'

/** A failed attempt. Times are in milliseconds since the epoch. */
export interface FailedAttempt {
  /** Which it was, from 1. */
  readonly attempt: number
  readonly error: unknown
  readonly firstFailedAt: number
  readonly now: number
  /** Others have seen part of its result: another attempt could not take that back. */
  readonly seen?: boolean
}

export type Decision =
  /** `asked`: the error itself said how long, not the policy. */
  | { readonly kind: 'retry'; readonly delayMs: number; readonly asked: boolean }
  | { readonly kind: 'dead-letter'; readonly code: ErrorCode; readonly reason: string }

/** Failures that another attempt cannot mend: the bytes, and the steps, stay the same. A rule may say otherwise. */
const hopeless: ReadonlySet<ErrorCode> = new Set(['body-not-decodable', 'body-invalid', 'format-unknown', 'next-twice'])
/** Failures that nobody may try again. */
const final: ReadonlySet<ErrorCode> = new Set(['dead-lettered', 'unrouted', 'crash-loop', 'reply-kind'])

export function decide(policy: RetryPolicy, failed: FailedAttempt, random: () => number): Decision {
  const { attempt, error, firstFailedAt, now, seen } = failed
  const code = isChasquiError(error) ? error.code : 'handler-failed'
  if (final.has(code)) return { kind: 'dead-letter', code, reason: messageOf(error) }
  if (seen) return { kind: 'dead-letter', code, reason: `part of its replies had been sent: ${messageOf(error)}` }
  const terms = termsFor(policy, error, code)
  if (terms === 'fatal') return { kind: 'dead-letter', code, reason: messageOf(error) }
  if (attempt >= terms.attempts) {
    const times = attempt === 1 ? 'the only attempt' : `the last of ${attempt} attempts`
    return { kind: 'dead-letter', code, reason: `${times} failed: ${messageOf(error)}` }
  }
  const wish = wishOf(error, code)
  const delayMs = wish ?? (attempt <= terms.immediate ? 0 : delayOf(terms.delays, attempt - terms.immediate, random))
  if (terms.deadlineMs !== undefined && now + delayMs > firstFailedAt + terms.deadlineMs) {
    const reason = `${attempt} attempts failed and the deadline of ${terms.deadlineMs} ms leaves no time for another: ${messageOf(error)}`
    return { kind: 'dead-letter', code, reason }
  }
  return { kind: 'retry', delayMs, asked: wish !== undefined }
}

function termsFor(policy: RetryPolicy, error: unknown, code: ErrorCode): Terms | 'fatal' {
  for (const { fits, terms } of policy.rules) {
    try {
      if (fits(error)) return terms
    } catch {
      // A predicate that fails on an error has not said yes to it.
    }
  }
  return hopeless.has(code) ? 'fatal' : policy
}

/** How long the error asks to wait: `ctx.retry({ delayMs })`, or `retryAfterMs` on the error or in its details. */
function wishOf(error: unknown, code: ErrorCode): number | undefined {
  if (typeof error !== 'object' || error === null) return undefined
  let asked: unknown
  try {
    const { retryAfterMs, details } = error as { retryAfterMs?: unknown; details?: unknown }
    const inDetails = (details ?? {}) as { retryAfterMs?: unknown; delayMs?: unknown }
    asked = code === 'retry-requested' ? inDetails.delayMs : (retryAfterMs ?? inDetails.retryAfterMs)
  } catch {
    // An error whose getters throw asks for nothing.
    return undefined
  }
  return typeof asked === 'number' && asked >= 0 ? Math.min(Math.ceil(asked), maxTimerMs) : undefined
}
