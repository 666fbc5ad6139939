import { ChasquiError, type ErrorCode } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { decide, maxHoldMs, retryPolicy } from '../../src/retry/policy.ts'

const policy = retryPolicy({ attempts: 3 })
const asked = (delayMs: number) => new ChasquiError('retry-requested', 'again', { details: { delayMs } })

describe('the retry policy', () => {
  test('has five attempts by default', () => {
    expect(retryPolicy().attempts).toBe(5)
  })

  test.each([
    [1, new Error('x'), { kind: 'retry', delayMs: 0 }],
    [2, new Error('x'), { kind: 'retry', delayMs: 0 }],
    [3, new Error('x'), { kind: 'dead-letter', code: 'handler-failed', reason: 'the last of 3 attempts failed: x' }],
    [1, asked(250), { kind: 'retry', delayMs: 250 }],
    [1, asked(1e12), { kind: 'retry', delayMs: maxHoldMs }],
    [3, asked(250), { kind: 'dead-letter', code: 'retry-requested', reason: 'the last of 3 attempts failed: again' }],
    [1, new ChasquiError('send-timeout', 'late'), { kind: 'retry', delayMs: 0 }],
    [1, new ChasquiError('closed', 'bye'), { kind: 'retry', delayMs: 0 }],
  ])('attempt %i that fails with %s', (attempt, error, decision) => {
    expect(decide(policy, attempt, error)).toEqual(decision)
  })

  test.each<ErrorCode>(['body-not-decodable', 'body-invalid', 'format-unknown', 'dead-lettered', 'unrouted'])(
    'gives up at once on %s',
    code => {
      expect(decide(policy, 1, new ChasquiError(code, 'why'))).toEqual({ kind: 'dead-letter', code, reason: 'why' })
    },
  )

  test('with one attempt says that it was the only one', () => {
    expect(decide(retryPolicy({ attempts: 1 }), 1, new Error('x'))).toMatchObject({
      reason: 'the only attempt failed: x',
    })
  })
})
