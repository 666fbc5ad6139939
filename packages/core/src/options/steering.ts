/** Options of what steers a consumer beside its window. */
import type { OptionInfo, OptionTable } from './option.ts'
import { maxTimerMs } from './option.ts'

/** `concurrency` as a goal. */
export const tuningOptions = {
  goalMs: {
    type: 'number',
    unit: 'ms',
    defaultText: 'to be given',
    minimum: 0.001,
    maximum: maxTimerMs,
    meaning: 'How long nine of ten attempts should take at most.',
  },
  min: {
    type: 'integer',
    default: 1,
    minimum: 1,
    maximum: 100_000,
    meaning: 'The fewest handlers at once; it begins there.',
  },
  max: { type: 'integer', default: 100, minimum: 1, maximum: 100_000, meaning: 'The most handlers at once.' },
} as const satisfies OptionTable

export const rateLimitOptions = {
  perSecond: {
    type: 'number',
    defaultText: 'to be given',
    minimum: 0.001,
    maximum: 1_000_000,
    meaning: 'How many messages may begin in a second, on average.',
  },
  burst: {
    type: 'integer',
    defaultText: 'what one second gives, at least 1',
    minimum: 1,
    maximum: 1_000_000,
    meaning: 'How many may begin at once after a rest.',
  },
} as const satisfies OptionTable

export const circuitBreakerOptions = {
  failures: {
    type: 'integer',
    default: 10,
    minimum: 1,
    maximum: 100_000,
    meaning: 'So many failed attempts within `windowMs` open the circuit: no handler begins.',
  },
  windowMs: {
    type: 'integer',
    unit: 'ms',
    default: 10_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How far back failures count.',
  },
  openMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 1,
    maximum: 300_000,
    meaning: 'How long it stays open; then one message probes: if it succeeds the circuit closes, else it opens again.',
  },
  when: {
    type: 'error',
    defaultText: 'every failure',
    meaning: 'Which failures count: an error class, a code, or a function that says yes.',
  },
} as const satisfies OptionTable

export const fairOptions = {
  header: { type: 'string', defaultText: "the message's tenant id", meaning: 'The header that names the tenant.' },
  weights: {
    type: 'object',
    defaultText: '1 each',
    meaning: 'How many messages each tenant may begin in its turn, by name: 1 to 1,000.',
  },
} as const satisfies OptionTable

export const tenantWeight: OptionInfo = { type: 'integer', minimum: 1, maximum: 1000, meaning: 'Messages a turn.' }
