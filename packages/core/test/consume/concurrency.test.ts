import { describe, expect, test } from 'vitest'
import { Tuning } from '../../src/consume/tuning.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

describe('consumer.concurrency', () => {
  test('is raised and lowered while handlers run', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const running = new Set<() => void>()
    let most = 0
    let done = 0
    const consumer = await bus.handle(
      queue,
      async () => {
        await new Promise<void>(resolve => {
          running.add(resolve)
          most = Math.max(most, running.size)
        })
        done += 1
      },
      { concurrency: 2, window: 4 },
    )
    const finish = (count: number) => {
      for (const end of [...running].slice(0, count)) {
        running.delete(end)
        end()
      }
    }
    await Promise.all(Array.from({ length: 40 }, (_, i) => bus.send(queue, i)))
    await eventually('two run', () => running.size === 2)
    expect(consumer.concurrency).toBe(2)
    // Beyond the window too, which grows with it.
    consumer.concurrency = 8
    await eventually('eight run', () => running.size === 8)
    consumer.concurrency = 1
    most = 0
    finish(7)
    await eventually('seven are done', () => done === 7)
    for (let i = 0; i < 5; i++) {
      finish(1)
      await eventually('the next runs alone', () => running.size === 1)
    }
    expect(most).toBe(1)
    expect(ofKind(bus.told, 'concurrency-changed').map(event => event.concurrency)).toEqual([8, 1])
    consumer.concurrency = 50
    await eventually('all are done', () => {
      finish(50)
      return done === 40
    })
  })

  test.each([0, -1, 1.5, 100_001, Number.NaN, 'many'])('%j is refused', async concurrency => {
    const bus = await memoryBus()
    const consumer = await bus.handle(ownName(), () => {})
    const error = await errorOf(() => {
      consumer.concurrency = concurrency as number
    })
    expect([error.code, consumer.concurrency]).toEqual(['option-invalid', 10])
  })

  test('[ordered] and a goal keep it from being set', async () => {
    const bus = await memoryBus()
    const ordered = await bus.handle(ownName(), () => {}, { ordered: true })
    const tuned = await bus.handle(ownName(), () => {}, { concurrency: { goalMs: 10 } })
    for (const consumer of [ordered, tuned]) {
      const error = await errorOf(() => {
        consumer.concurrency = 5
      })
      expect(error.code).toBe('option-invalid')
    }
  })
})

describe('a concurrency that finds itself', () => {
  /** A dependency whose attempts take as many milliseconds as handlers run at once. */
  function settled(goalMs: number, min: number, max: number): number[] {
    const limits: number[] = []
    let limit = min
    const tuning = new Tuning(
      { goalMs, min, max },
      () => limit,
      next => {
        limit = next
        limits.push(next)
      },
    )
    for (let i = 0; i < 20_000; i++) tuning.ended(limit)
    return limits
  }

  test('grows by one to what the goal allows, and stays about there', () => {
    const limits = settled(20, 1, 1000)
    expect(limits.slice(0, 20)).toEqual(Array.from({ length: 20 }, (_, i) => i + 2))
    const late = limits.slice(100)
    expect(Math.max(...late)).toBeLessThanOrEqual(21)
    expect(Math.min(...late)).toBeGreaterThanOrEqual(15)
  })

  test('stays within its bounds', () => {
    expect(Math.max(...settled(1000, 1, 7))).toBe(7)
    expect(settled(0.5, 3, 7)).toEqual([])
  })

  test('does not grow while places stay free', () => {
    const limits: number[] = []
    const tuning = new Tuning(
      { goalMs: 100, min: 5, max: 50 },
      () => 2,
      limit => limits.push(limit),
    )
    for (let i = 0; i < 1000; i++) tuning.ended(1)
    expect(limits).toEqual([])
  })

  test('[concurrency.goalMs] raises what runs at once', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let done = 0
    const consumer = await bus.handle(
      queue,
      async () => {
        await new Promise(resolve => setImmediate(resolve))
        done += 1
      },
      { concurrency: { goalMs: 10_000, min: 2, max: 6 } },
    )
    await Promise.all(Array.from({ length: 200 }, (_, i) => bus.send(queue, i)))
    await eventually('all are done', () => done === 200)
    expect(consumer.concurrency).toBe(6)
  })

  test.each([{}, { goalMs: 0 }, { goalMs: 1, min: 5, max: 4 }, { goalMs: 1, most: 4 }])('%j is refused', async goal => {
    const bus = await memoryBus()
    const refused = bus.handle(ownName(), () => {}, { concurrency: goal as never })
    expect((await errorOf(refused)).code).toBe('option-invalid')
  })
})
