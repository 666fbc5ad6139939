/** Options of trying again. */
import type { OptionTable } from './option.ts'
import { maxTimerMs } from './option.ts'

export const retryOptions = {
  attempts: {
    type: 'integer',
    unit: 'attempts',
    default: 5,
    defaultText: '5; as many as `delays` and `immediate` make; no limit with `deadlineMs` alone',
    minimum: 1,
    maximum: 1000,
    meaning: 'How often a handler is tried, the first time included, before the message is dead-lettered.',
  },
  immediate: {
    type: 'integer',
    unit: 'retries',
    default: 0,
    minimum: 0,
    maximum: 999,
    meaning: 'How many of the retries, the first ones, come at once; those after them are delayed.',
  },
  delays: {
    type: 'delays',
    defaultText: 'firstMs 1,000, factor 2, maxMs 60,000, jitter 0.2',
    meaning:
      'Milliseconds before each delayed retry, of which the last repeats (an empty list: none waits), or a backoff (see its options).',
  },
  deadlineMs: {
    type: 'integer',
    unit: 'ms',
    defaultText: 'none',
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'No attempt begins later than this after the first one failed.',
  },
  rules: {
    type: 'list',
    defaultText: 'none',
    meaning:
      'What holds for some errors: `when` (an error class, a code, or a predicate) and either `fatal: true` or other retry options; the first that fits counts.',
  },
} as const satisfies OptionTable

/** The fields of `delays` where it is a backoff. */
export const backoffOptions = {
  firstMs: { type: 'integer', unit: 'ms', default: 1000, minimum: 1, maximum: maxTimerMs, meaning: 'The first delay.' },
  factor: {
    type: 'number',
    default: 2,
    minimum: 1,
    maximum: 100,
    meaning: 'How many times as long each delay is as the one before.',
  },
  maxMs: {
    type: 'integer',
    unit: 'ms',
    default: 60_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'The longest delay.',
  },
  jitter: {
    type: 'number',
    default: 0.2,
    minimum: 0,
    maximum: 1,
    meaning:
      'The share by which a delay may be longer, at random, so that messages that failed together come back apart.',
  },
} as const satisfies OptionTable
