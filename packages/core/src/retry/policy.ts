/**
 * The language of retries: how often and after how long a failed message is tried again, and which errors are treated in another
 * way. Read and checked when a consumer is set up; what follows from one failure is decided in decide.ts.
 */
import { ChasquiError } from '@chasqui/driver'
import { checkOptions } from '../options/option.ts'
import { retryOptions } from '../options/retrying.ts'
import type { BackoffOptions, Delays } from './backoff.ts'
import { delaysOf, isList, longestDelay } from './backoff.ts'

type ErrorClass = abstract new (...args: never[]) => Error

/** What a rule looks at: an error class, a `code`, or a function that says yes. */
export type RetryWhen = ErrorClass | string | ((error: unknown) => boolean)

export interface RetryTerms {
  /** How often a handler is tried, the first time included: 1 to 1,000. Default 5, or what `delays` and `immediate` make. */
  readonly attempts?: number
  /** How many retries, the first ones, come at once: 0 to 999. Default 0. */
  readonly immediate?: number
  /**
   * Milliseconds before each delayed retry, of which the last repeats, or a backoff. An empty list: no retry waits.
   * Default: a backoff from 1 s, doubling, to 60 s, each up to a fifth longer at random.
   */
  readonly delays?: readonly number[] | BackoffOptions
  /** No attempt begins later than this after the first one failed, in milliseconds. Alone it also lifts the limit of attempts. */
  readonly deadlineMs?: number
}

/** Terms for some errors. The first rule that fits counts; what it leaves out is as in the policy around it. */
export type RetryRule = { readonly when: RetryWhen } & ({ readonly fatal: true } | RetryTerms)

export interface RetryOptions extends RetryTerms {
  readonly rules?: readonly RetryRule[]
}

/** Terms as the decision uses them. */
export interface Terms {
  readonly attempts: number
  readonly immediate: number
  readonly delays: Delays
  readonly deadlineMs: number | undefined
}

export interface RetryPolicy extends Terms {
  readonly rules: readonly { readonly fits: (error: unknown) => boolean; readonly terms: Terms | 'fatal' }[]
}

/**
 * The longest that a message is held in the process for a delayed attempt, in milliseconds; a longer wish is cut to it. RabbitMQ
 * closes a channel whose delivery stays unacknowledged for 30 minutes.
 */
export const maxHoldMs = 300_000

/**
 * Checks and completes what a call asked for over the bus's defaults. Throws `option-invalid` for what is out of bounds and
 * `policy-invalid` for what contradicts itself.
 */
export function retryPolicy(given: RetryOptions = {}, defaults: RetryOptions = {}, where = 'retry'): RetryPolicy {
  checkPolicy(defaults, where)
  checkPolicy(given, where)
  const merged = { ...defaults, ...given }
  const rules = merged.rules ?? []
  return {
    ...termsOf(merged, where),
    rules: rules.map((rule, i) => {
      const { when, fatal, ...terms } = rule as { when: RetryWhen; fatal?: true } & RetryTerms
      const place = `${where}: rule ${i + 1}`
      return { fits: matcher(when), terms: fatal === true ? 'fatal' : termsOf({ ...merged, ...terms }, place) }
    }),
  }
}

/** The longest delay that the policy itself may ask for. */
export function longestWait(policy: RetryPolicy): number {
  const waits = policy.rules.map(rule => (rule.terms === 'fatal' ? 0 : waitOf(rule.terms)))
  return Math.max(waitOf(policy), ...waits)
}

function waitOf({ attempts, immediate, delays }: Terms): number {
  return longestDelay(delays, attempts - 1 - immediate)
}

function checkPolicy(given: RetryOptions, where: string): void {
  checkOptions(retryOptions, given, where)
  const { rules = [], ...terms } = given
  checkTerms(terms, where)
  rules.forEach((rule: unknown, i) => {
    const place = `${where}: rule ${i + 1}`
    if (typeof rule !== 'object' || rule === null) {
      throw new ChasquiError('option-invalid', `${place} must be an object with \`when\`.`)
    }
    const { when, fatal, ...own } = rule as { when?: unknown; fatal?: unknown }
    if (typeof when !== 'function' && (typeof when !== 'string' || when === '')) {
      throw new ChasquiError('option-invalid', `${place}: \`when\` is an error class, a code, or a function.`)
    }
    if (fatal !== undefined && fatal !== true) {
      throw new ChasquiError('option-invalid', `${place}: \`fatal\` is true or left out.`)
    }
    const { rules: _, ...known } = retryOptions
    checkOptions(known, own, place)
    if (fatal === true && Object.keys(own).length > 0) {
      throw contradiction(place, '`fatal` gives up at once, so other terms mean nothing beside it')
    }
    if (fatal === undefined && Object.keys(own).length === 0) {
      throw contradiction(place, 'it changes nothing; say `fatal: true`, or how often to try')
    }
    checkTerms(own as RetryTerms, place)
  })
}

/** What one object of terms says must fit together; what comes from elsewhere gives way instead. */
function checkTerms(given: RetryTerms, where: string): void {
  const { attempts, immediate, delays, deadlineMs } = given
  if (attempts === 1 && delays !== undefined && !(isList(delays) && delays.length === 0)) {
    throw contradiction(where, 'with one attempt there is no retry to delay; leave `delays` out or raise `attempts`')
  }
  if (attempts !== undefined && immediate !== undefined && immediate > attempts - 1) {
    throw contradiction(where, `${attempts} attempts leave no room for ${immediate} immediate retries`)
  }
  if (isList(delays) && attempts !== undefined && attempts - 1 - (immediate ?? 0) < delays.length) {
    throw contradiction(where, `${attempts} attempts leave no room for ${delays.length} delayed retries`)
  }
  if (deadlineMs !== undefined && delays !== undefined) {
    const first = isList(delays) ? (delays[0] ?? 0) : (delaysOf(delays, where) as { firstMs: number }).firstMs
    if (deadlineMs <= first) {
      throw contradiction(where, `\`deadlineMs\` (${deadlineMs}) is over before the first delayed retry (${first})`)
    }
  }
  if (delays !== undefined) delaysOf(delays, where)
}

function termsOf(given: RetryTerms, where: string): Terms {
  const delays = delaysOf(given.delays, where)
  const attempts = given.attempts ?? impliedAttempts(given)
  return { attempts, immediate: Math.min(given.immediate ?? 0, attempts - 1), delays, deadlineMs: given.deadlineMs }
}

function impliedAttempts({ immediate = 0, delays, deadlineMs }: RetryTerms): number {
  if (deadlineMs !== undefined) return Number.POSITIVE_INFINITY
  const usual: number = retryOptions.attempts.default
  if (isList(delays) && delays.length > 0) return 1 + immediate + delays.length
  return Math.max(usual, 1 + immediate)
}

/** Whether an error is one of those meant. What it returns may throw where `when` is a function that does. */
export function matcher(when: RetryWhen): (error: unknown) => boolean {
  if (typeof when === 'string') {
    return error => typeof error === 'object' && error !== null && (error as { code?: unknown }).code === when
  }
  if (isErrorClass(when)) return error => error instanceof when
  return when as (error: unknown) => boolean
}

function isErrorClass(when: RetryWhen): when is ErrorClass {
  const { prototype } = when as { prototype?: unknown }
  return when === Error || prototype instanceof Error
}

function contradiction(where: string, what: string): ChasquiError {
  return new ChasquiError('policy-invalid', `${where} contradicts itself: ${what}.`)
}
