/**
 * Which failure is tried again, how often and after how long. A pure decision on what is known of the failure; the consumer
 * carries it out. Today: immediate attempts, and the delay that a handler asks for with `ctx.retry`.
 */
import type { ErrorCode } from '@chasqui/driver'
import { isChasquiError } from '@chasqui/driver'
import { checkOptions, retryOptions } from '../options.ts'

export interface RetryOptions {
  /** How often a handler is tried, the first time included: 1 to 1000. Default 5. */
  readonly attempts?: number
}

export interface RetryPolicy {
  readonly attempts: number
}

export type Decision =
  | { readonly kind: 'retry'; readonly delayMs: number }
  | { readonly kind: 'dead-letter'; readonly code: ErrorCode; readonly reason: string }

/**
 * The longest that a message is held for a delayed attempt, in milliseconds; a longer wish is cut to it. RabbitMQ closes a
 * channel whose delivery stays unacknowledged for 30 minutes.
 */
export const maxHoldMs = 300_000

/** Failures that another attempt cannot mend: the bytes stay the same. */
const fatal: ReadonlySet<ErrorCode> = new Set([
  'body-not-decodable',
  'body-invalid',
  'format-unknown',
  'dead-lettered',
  'unrouted',
])

export function retryPolicy(options: RetryOptions = {}): RetryPolicy {
  checkOptions(retryOptions, options, 'retry')
  return { attempts: options.attempts ?? retryOptions.attempts.default }
}

/** What follows from the failure of the attempt with this number. */
export function decide(policy: RetryPolicy, attempt: number, error: unknown): Decision {
  const code = isChasquiError(error) ? error.code : 'handler-failed'
  if (fatal.has(code)) return { kind: 'dead-letter', code, reason: sentence(error) }
  if (attempt >= policy.attempts) {
    const times = attempt === 1 ? 'the only attempt' : `the last of ${attempt} attempts`
    return { kind: 'dead-letter', code, reason: `${times} failed: ${sentence(error)}` }
  }
  const asked = isChasquiError(error) && error.code === 'retry-requested' ? error.details.delayMs : undefined
  return { kind: 'retry', delayMs: typeof asked === 'number' ? Math.min(asked, maxHoldMs) : 0 }
}

function sentence(error: unknown): string {
  // What is thrown may be an Error with anything for a message.
  return error instanceof Error ? String(error.message) : String(error)
}
