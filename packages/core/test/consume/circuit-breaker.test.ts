import type { BusEvent } from '@chasqui/core'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { CircuitBreaker } from '../../src/consume/circuit-breaker.ts'
import { EventHub } from '../../src/observe/events.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

const down = new Error('the card service is down')

describe('the breaker', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  function made(when?: (error: unknown) => boolean) {
    const events = new EventHub()
    const told: BusEvent['kind'][] = []
    events.listen(event => told.push(event.kind))
    const state = { running: 0, drained: 0 }
    const breaker = new CircuitBreaker({
      options: { failures: 3, windowMs: 1000, openMs: 500, when },
      source: 'q',
      events,
      running: () => state.running,
      drain: () => {
        state.drained += 1
      },
    })
    return { breaker, told, state }
  }

  test('opens at so many failures within the window, probes with one, and closes when that succeeds', async () => {
    const { breaker, told, state } = made()
    for (let i = 0; i < 2; i++) breaker.ended(1, down)
    expect([breaker.open, breaker.restMs, breaker.reason]).toEqual([true, 0, undefined])
    breaker.ended(1, down)
    expect([breaker.open, breaker.restMs]).toEqual([false, 500])
    expect(breaker.reason).toBe('the circuit is open after failures: the card service is down')
    vi.advanceTimersByTime(500)
    expect([breaker.open, breaker.restMs, state.drained]).toEqual([true, 0, 1])
    state.running = 1
    expect(breaker.open).toBe(false)
    breaker.ended(1, undefined)
    await Promise.resolve()
    expect([breaker.open, breaker.reason, state.drained]).toEqual([true, undefined, 2])
    expect(told).toEqual(['circuit-opened', 'circuit-probing', 'circuit-closed'])
  })

  test('opens again when the probe fails', () => {
    const { breaker, told } = made()
    for (let i = 0; i < 3; i++) breaker.ended(1, down)
    vi.advanceTimersByTime(500)
    breaker.ended(1, down)
    expect([breaker.open, breaker.restMs]).toEqual([false, 500])
    expect(told).toEqual(['circuit-opened', 'circuit-probing', 'circuit-opened'])
    breaker.stop()
    expect(vi.getTimerCount()).toBe(0)
  })

  test('failures that are too far apart, or not meant, do not open it', () => {
    const { breaker } = made(error => (error as Error).message.includes('down'))
    for (let i = 0; i < 10; i++) {
      breaker.ended(1, down)
      vi.advanceTimersByTime(501)
    }
    for (let i = 0; i < 10; i++) breaker.ended(1, new Error('no such customer'))
    expect(breaker.open).toBe(true)
  })

  test('a predicate that throws has not said yes', () => {
    const { breaker } = made(() => {
      throw new Error('mine')
    })
    for (let i = 0; i < 10; i++) breaker.ended(1, down)
    expect(breaker.open).toBe(true)
  })
})

describe('[circuitBreaker]', () => {
  test('no message uses up its attempts while the dependency is down; health tells; all are handled after it', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let isDown = true
    let calls = 0
    const handled = new Set<unknown>()
    await bus.handle(
      queue,
      async body => {
        calls += 1
        await new Promise(resolve => setImmediate(resolve))
        if (isDown) throw down
        handled.add(body)
      },
      {
        concurrency: 2,
        circuitBreaker: { failures: 4, openMs: 40, windowMs: 10_000 },
        retry: { attempts: 20, delays: [] },
      },
    )
    await Promise.all(Array.from({ length: 30 }, (_, i) => bus.send(queue, i)))
    await eventually('it probes twice in vain', () => ofKind(bus.told, 'circuit-opened').length === 3)
    // Four that opened it, one that may have run beside the last, and a probe each time.
    expect(calls).toBeLessThanOrEqual(4 + 1 + 2)
    expect((await bus.health()).details).toContainEqual({
      name: queue,
      ok: false,
      reason: expect.stringContaining('the card service is down'),
    })
    isDown = false
    await eventually('all are handled', () => handled.size === 30)
    expect(ofKind(bus.told, 'dead-lettered')).toEqual([])
    expect((await bus.health()).ok).toBe(true)
  })

  test('stop() does not wait for it', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(
      queue,
      () => {
        throw down
      },
      { circuitBreaker: { failures: 1, openMs: 300_000 } },
    )
    await bus.send(queue, 1)
    await bus.send(queue, 2)
    await eventually('it opens', () => ofKind(bus.told, 'circuit-opened').length === 1)
    await consumer.stop()
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ unsettled: 0 })
  })

  test.each([{ failures: 0 }, { openMs: 300_001 }, { when: 7 }, { opens: 1 }, false])(
    '%j is refused',
    async breaker => {
      const bus = await memoryBus()
      const refused = bus.handle(ownName(), () => {}, { circuitBreaker: breaker as never })
      expect((await errorOf(refused)).code).toBe('option-invalid')
    },
  )
})
