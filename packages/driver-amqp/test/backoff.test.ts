import { describe, expect, test } from 'vitest'
import { backoffMs } from '../src/backoff.ts'

describe('backoffMs', () => {
  test.each([
    [0, 0, 50],
    [0, 1, 100],
    [1, 0.5, 150],
    [3, 1, 800],
    [5, 1, 3200],
    [6, 1, 5000],
    [6, 0, 2500],
    [1_000_000, 1, 5000],
  ])('[backoff] attempt %i with chance %d waits %i ms', (attempt, random, expected) => {
    expect(backoffMs(attempt, random)).toBe(expected)
  })

  test('[backoff] by itself takes a chance within the bounds', () => {
    for (let attempt = 0; attempt < 100; attempt++) {
      expect(backoffMs(attempt)).toBeGreaterThanOrEqual(50)
      expect(backoffMs(attempt)).toBeLessThanOrEqual(5000)
    }
  })
})
