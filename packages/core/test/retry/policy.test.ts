import { ChasquiError, type RetryOptions } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { longestWait, retryPolicy } from '../../src/retry/policy.ts'
import { errorOf } from '../fixture.ts'

const backoff = { firstMs: 1000, factor: 2, maxMs: 60_000, jitter: 0.2 }

describe('a retry policy', () => {
  test.each<[RetryOptions, object]>([
    [{}, { attempts: 5, immediate: 0, delays: backoff, deadlineMs: undefined }],
    [{ attempts: 3 }, { attempts: 3, delays: backoff }],
    [{ delays: [10, 20, 30] }, { attempts: 4, delays: [10, 20, 30] }],
    [
      { immediate: 2, delays: [10] },
      { attempts: 4, immediate: 2 },
    ],
    [{ delays: [] }, { attempts: 5, delays: [] }],
    [{ immediate: 7 }, { attempts: 8, immediate: 7 }],
    [{ deadlineMs: 60_000 }, { attempts: Number.POSITIVE_INFINITY, deadlineMs: 60_000 }],
    [{ delays: { firstMs: 90_000 } }, { delays: { firstMs: 90_000, factor: 2, maxMs: 90_000, jitter: 0.2 } }],
  ])('%j is completed', (given, whole) => {
    expect(retryPolicy(given)).toMatchObject(whole)
  })

  test("of a call goes over the bus's, and what does not fit any more gives way", () => {
    const bus: RetryOptions = { attempts: 10, immediate: 8, delays: [500] }
    expect(retryPolicy({ attempts: 3 }, bus)).toMatchObject({ attempts: 3, immediate: 2, delays: [500] })
  })

  test.each<[RetryOptions, string]>([
    [{ attempts: 1, delays: [10] }, 'no retry to delay'],
    [{ attempts: 1, delays: { firstMs: 10 } }, 'no retry to delay'],
    [{ attempts: 3, immediate: 3 }, 'no room for 3 immediate'],
    [{ attempts: 3, delays: [1, 2, 3] }, 'no room for 3 delayed'],
    [{ attempts: 3, immediate: 1, delays: [1, 2] }, 'no room for 2 delayed'],
    [{ deadlineMs: 100, delays: [100] }, 'over before the first'],
    [{ deadlineMs: 100, delays: { firstMs: 1000 } }, 'over before the first'],
    [{ delays: { firstMs: 1000, maxMs: 10 } }, 'shorter than `firstMs`'],
    [{ rules: [{ when: Error, fatal: true, attempts: 3 } as never] }, '`fatal` gives up at once'],
    [{ rules: [{ when: Error }] }, 'it changes nothing'],
    [{ rules: [{ when: 'x', attempts: 1, delays: [1] }] }, 'no retry to delay'],
  ])('%j contradicts itself', async (given, says) => {
    const error = await errorOf(() => retryPolicy(given))
    expect([error.code, error.message]).toEqual(['policy-invalid', expect.stringContaining(says)])
  })

  test.each<[unknown, string]>([
    [{ attempts: 0 }, '`attempts`'],
    [{ attempts: 1.5 }, '`attempts`'],
    [{ immediate: -1 }, '`immediate`'],
    [{ delays: [-1] }, '`delays`'],
    [{ delays: [Number.NaN] }, '`delays`'],
    [{ delays: ['1s'] }, '`delays`'],
    [{ delays: 100 }, '`delays`'],
    [{ delays: { firstMs: 0 } }, '`firstMs`'],
    [{ delays: { jitter: 2 } }, '`jitter`'],
    [{ delays: { factor: 0.5 } }, '`factor`'],
    [{ delays: { first: 10 } }, 'Did you mean `firstMs`?'],
    [{ deadlineMs: 0 }, '`deadlineMs`'],
    [{ rules: {} }, '`rules`'],
    [{ rules: [null] }, 'rule 1'],
    [{ rules: [{ when: 7, attempts: 2 }] }, '`when`'],
    [{ rules: [{ when: 'x', fatal: false }] }, '`fatal`'],
    [{ rules: [{ when: 'x', rules: [] }] }, '`rules`'],
    [{ atempts: 2 }, 'Did you mean `attempts`?'],
  ])('%j is refused', async (given, says) => {
    const error = await errorOf(() => retryPolicy(given as RetryOptions))
    expect([error.code, error.message]).toEqual(['option-invalid', expect.stringContaining(says)])
  })

  test.each<[RetryOptions, number]>([
    [{}, 9600],
    [{ attempts: 2, delays: { jitter: 0 } }, 1000],
    [{ delays: [5, 700, 30] }, 700],
    [{ delays: [] }, 0],
    [{ attempts: 3, immediate: 2 }, 0],
    [{ deadlineMs: 3_600_000 }, 72_000],
    [
      {
        delays: [5],
        rules: [
          { when: ChasquiError, delays: [9000] },
          { when: 'x', fatal: true },
        ],
      },
      9000,
    ],
  ])('%j waits at most %i ms', (given, longestMs) => {
    expect(longestWait(retryPolicy(given))).toBe(longestMs)
  })
})
