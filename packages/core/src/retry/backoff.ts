/**
 * The delays before retries, as pure functions. A list says each; a backoff grows from the first to the longest:
 *
 *     retry      1        2        3        4
 *     delay   first    first*f  first*f2    max      each longer by up to its jitter
 */
import { ChasquiError } from '@chasqui/driver'
import { checkOptions } from '../options/option.ts'
import { backoffOptions } from '../options/retrying.ts'

/** Delays that grow. The fields that are left out have the defaults of the table. */
export interface BackoffOptions {
  /** The first delay, in milliseconds. Default 1,000. */
  readonly firstMs?: number
  /** How many times as long each delay is as the one before: 1 to 100. Default 2. */
  readonly factor?: number
  /** The longest delay, in milliseconds. Default 60,000, and at least `firstMs`. */
  readonly maxMs?: number
  /** The share by which a delay may be longer, at random: 0 to 1. Default 0.2. */
  readonly jitter?: number
}

type Backoff = Required<BackoffOptions>
export type Delays = readonly number[] | Backoff

/** Completes and checks. Throws `option-invalid`, and `policy-invalid` for a longest delay below the first. */
export function delaysOf(given: readonly number[] | BackoffOptions | undefined, where: string): Delays {
  if (isList(given)) return given
  const options = given ?? {}
  checkOptions(backoffOptions, options, `${where}: \`delays\``)
  const firstMs = options.firstMs ?? backoffOptions.firstMs.default
  const maxMs = options.maxMs ?? Math.max(backoffOptions.maxMs.default, firstMs)
  if (maxMs < firstMs) {
    throw new ChasquiError(
      'policy-invalid',
      `${where}: \`maxMs\` (${maxMs}) is shorter than \`firstMs\` (${firstMs}). Let delays grow.`,
    )
  }
  return {
    firstMs,
    factor: options.factor ?? backoffOptions.factor.default,
    maxMs,
    jitter: options.jitter ?? backoffOptions.jitter.default,
  }
}

/** The delay before the delayed retry with this number, from 1. `random` gives a number from 0 to below 1. */
export function delayOf(delays: Delays, retry: number, random: () => number): number {
  if (isList(delays)) return delays.length === 0 ? 0 : delays[Math.min(retry, delays.length) - 1]!
  const delayMs = withoutJitter(delays, retry)
  // Longer and never shorter: not early is a promise.
  return Math.round(delayMs * (1 + delays.jitter * random()))
}

/** The longest that any of so many delayed retries may wait. */
export function longestDelay(delays: Delays, retries: number): number {
  if (retries <= 0) return 0
  if (isList(delays)) return delays.length === 0 ? 0 : Math.max(...delays.slice(0, retries))
  return Math.round(withoutJitter(delays, retries) * (1 + delays.jitter))
}

function withoutJitter({ firstMs, factor, maxMs }: Backoff, retry: number): number {
  return Math.min(firstMs * factor ** (retry - 1), maxMs)
}

export function isList(delays: readonly number[] | BackoffOptions | undefined): delays is readonly number[] {
  return Array.isArray(delays)
}
