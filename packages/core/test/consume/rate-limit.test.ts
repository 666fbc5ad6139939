import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { RateLimit } from '../../src/consume/rate-limit.ts'
import { errorOf, eventually, memoryBus, ownName } from '../fixture.ts'

describe('the bucket', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  /** Begins as many as may; returns how many those were. */
  function begin(limit: RateLimit): number {
    let begun = 0
    while (limit.open) {
      limit.began()
      begun += 1
    }
    return begun
  }

  test('gives its burst at once, then one token each time it has filled, and wakes who waits', () => {
    const begun: number[] = []
    const limit = new RateLimit({ perSecond: 10, burst: 3 }, () => begun.push(begin(limit)))
    expect(begin(limit)).toBe(3)
    vi.advanceTimersByTime(99)
    expect(begun).toEqual([])
    vi.advanceTimersByTime(901)
    expect(begun).toEqual(Array.from({ length: 10 }, () => 1))
    limit.stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('holds no more than its burst after a rest', () => {
    const limit = new RateLimit({ perSecond: 5 }, () => {})
    expect(begin(limit)).toBe(5)
    limit.stop()
    vi.advanceTimersByTime(60_000)
    expect(begin(limit)).toBe(5)
    limit.stop()
  })

  test('takes less than one a second', () => {
    const limit = new RateLimit({ perSecond: 0.5 }, () => {})
    expect(begin(limit)).toBe(1)
    vi.advanceTimersByTime(1999)
    expect(limit.open).toBe(false)
    vi.advanceTimersByTime(1)
    expect(limit.open).toBe(true)
    limit.stop()
  })
})

describe('[rateLimit]', () => {
  test('handlers begin no faster, and all messages are handled', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const begun: number[] = []
    await bus.handle(queue, () => void begun.push(performance.now()), { rateLimit: { perSecond: 100, burst: 5 } })
    await Promise.all(Array.from({ length: 20 }, (_, i) => bus.send(queue, i)))
    await eventually('all are handled', () => begun.length === 20)
    // Five at once, the other fifteen at 10 ms each.
    expect(begun.at(-1)! - begun[0]!).toBeGreaterThanOrEqual(140)
  })

  test.each([
    {},
    { perSecond: 0 },
    { perSecond: -1 },
    { perSecond: Number.NaN },
    { perSecond: 1, burst: 0 },
    { perSec: 1 },
  ])('%j is refused', async rateLimit => {
    const bus = await memoryBus()
    const refused = bus.handle(ownName(), () => {}, { rateLimit: rateLimit as never })
    expect((await errorOf(refused)).code).toBe('option-invalid')
  })
})
