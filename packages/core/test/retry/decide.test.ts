import { ChasquiError, type ErrorCode, type RetryOptions } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { decide } from '../../src/retry/decide.ts'
import { retryPolicy } from '../../src/retry/policy.ts'

const failed = (attempt: number, error: unknown = new Error('x'), elapsedMs = 0) => ({
  attempt,
  error,
  firstFailedAt: 1000,
  now: 1000 + elapsedMs,
})
const decided = (given: RetryOptions, attempt: number, error?: unknown, elapsedMs?: number, random = 0) =>
  decide(retryPolicy(given), failed(attempt, error, elapsedMs), () => random)
const asked = (delayMs?: number) => new ChasquiError('retry-requested', 'again', { details: { delayMs } })

class Throttled extends Error {
  readonly retryAfterMs: number
  constructor(retryAfterMs: number) {
    super('slow down')
    this.retryAfterMs = retryAfterMs
  }
}

describe('what follows from a failed attempt', () => {
  test.each<[string, RetryOptions, number, number | 'dead-letter']>([
    ['doubles by default', {}, 1, 1000],
    ['doubles by default', {}, 3, 4000],
    ['ends after five by default', {}, 5, 'dead-letter'],
    ['stops growing at the longest', { attempts: 20 }, 12, 60_000],
    ['follows a list', { delays: [10, 20] }, 2, 20],
    ['ends with the list', { delays: [10, 20] }, 3, 'dead-letter'],
    ['repeats the last of a list', { attempts: 9, delays: [10, 20] }, 7, 20],
    ['is immediate first', { immediate: 2, delays: [10] }, 2, 0],
    ['is delayed after that', { immediate: 2, delays: [10] }, 3, 10],
    ['never waits with an empty list', { delays: [] }, 4, 0],
  ])('it %s: %j, attempt %i', (_how, given, attempt, result) => {
    const expected = result === 'dead-letter' ? { kind: 'dead-letter' } : { kind: 'retry', delayMs: result }
    expect(decided(given, attempt)).toMatchObject(expected)
  })

  test('jitter makes a delay longer, never shorter', () => {
    const given = { delays: { firstMs: 1000, jitter: 0.5 } }
    expect(decided(given, 1, undefined, 0, 0)).toMatchObject({ delayMs: 1000 })
    expect(decided(given, 1, undefined, 0, 0.999)).toMatchObject({ delayMs: 1500 })
  })

  test('[deadlineMs] no attempt begins after it, and alone it lifts the limit of attempts', () => {
    const given = { deadlineMs: 10_000, delays: [100] }
    expect(decided(given, 500, undefined, 9900)).toMatchObject({ kind: 'retry', delayMs: 100 })
    expect(decided(given, 500, undefined, 9901)).toMatchObject({
      kind: 'dead-letter',
      reason: '500 attempts failed and the deadline of 10000 ms leaves no time for another: x',
    })
  })

  test('a clock that jumps an hour back grants what the deadline would not; one that jumps ahead ends the attempts', () => {
    const given = { deadlineMs: 10_000, delays: [100] }
    expect(decided(given, 2, undefined, -3_600_000)).toMatchObject({ kind: 'retry', delayMs: 100 })
    expect(decided(given, 2, undefined, 3_600_000)).toMatchObject({ kind: 'dead-letter' })
    // Without a deadline no clock is asked.
    expect(decided({ delays: [100] }, 1, undefined, 3_600_000)).toMatchObject({ kind: 'retry', delayMs: 100 })
  })

  test.each([
    ['ctx.retry with a delay', asked(250), 250, true],
    ['ctx.retry without', asked(), 1000, false],
    ['retryAfterMs on the error', new Throttled(7000), 7000, true],
    ['retryAfterMs of zero', new Throttled(0), 0, true],
    ['retryAfterMs in the details', new ChasquiError('send-refused', 'x', { details: { retryAfterMs: 30 } }), 30, true],
    ['retryAfterMs that is no time', new Throttled(Number.NaN), 1000, false],
    ['retryAfterMs for ever', new Throttled(Number.POSITIVE_INFINITY), 2_147_483_647, true],
    ['retryAfterMs of a fraction', new Throttled(0.2), 1, true],
    [
      'a getter that throws',
      Object.defineProperty(new Error('x'), 'retryAfterMs', {
        get: () => {
          throw new Error('trap')
        },
      }),
      1000,
      false,
    ],
  ])('%s', (_what, error, delayMs, wished) => {
    expect(decided({}, 1, error)).toEqual({ kind: 'retry', delayMs, asked: wished })
  })

  test('what is asked for counts as an attempt all the same', () => {
    expect(decided({ attempts: 3 }, 3, asked(1))).toEqual({
      kind: 'dead-letter',
      code: 'retry-requested',
      reason: 'the last of 3 attempts failed: again',
    })
    expect(decided({ attempts: 1 }, 1)).toMatchObject({ reason: 'the only attempt failed: x' })
  })

  test.each<ErrorCode>(['body-not-decodable', 'body-invalid', 'format-unknown', 'dead-lettered', 'unrouted'])(
    'gives up at once on %s',
    code => {
      expect(decided({}, 1, new ChasquiError(code, 'why'))).toEqual({ kind: 'dead-letter', code, reason: 'why' })
    },
  )

  describe('[rules]', () => {
    const rules: RetryOptions['rules'] = [
      { when: TypeError, fatal: true },
      { when: 'ECONNREFUSED', delays: [5000, 6000] },
      { when: 'body-invalid', attempts: 2, delays: [1] },
      { when: error => error instanceof Error && error.message.startsWith('tired'), immediate: 1, attempts: 2 },
      {
        when: () => {
          throw new Error('a predicate that fails')
        },
        fatal: true,
      },
      { when: Throttled, attempts: 100 },
    ]
    test.each([
      ['an error class', new TypeError('t'), 1, { kind: 'dead-letter', reason: 't' }],
      ["a subclass, and the class's own wish", new Throttled(9), 50, { kind: 'retry', delayMs: 9 }],
      ['a code', Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 2, { kind: 'retry', delayMs: 6000 }],
      ['a code, to its end', Object.assign(new Error('x'), { code: 'ECONNREFUSED' }), 5, { kind: 'dead-letter' }],
      ['a code that is hopeless without', new ChasquiError('body-invalid', 'x'), 1, { kind: 'retry', delayMs: 1 }],
      ['a predicate', new Error('tired of it'), 1, { kind: 'retry', delayMs: 0 }],
      ['none', new Error('x'), 1, { kind: 'retry', delayMs: 1000 }],
      ['none, not even where final', new ChasquiError('dead-lettered', 'x'), 1, { kind: 'dead-letter' }],
    ])('%s', (_what, error, attempt, decision) => {
      expect(decided({ rules, attempts: 5 }, attempt, error)).toMatchObject(decision)
    })
  })
})
