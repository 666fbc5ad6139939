import { setTimeout as sleep } from 'node:timers/promises'
import {
  type BatchContext,
  type BatchItem,
  type Bus,
  type Consumer,
  command,
  deadLetterName,
  event,
} from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

/** How long a batch may wait that is not to be closed by its age. */
const longMs = 60_000

/** Sends before anybody listens, so that batches are full from the start. */
async function sent(bus: Bus, queue: string, bodies: readonly unknown[]): Promise<void> {
  const outcomes = await bus.sendBatch(queue, bodies)
  expect(outcomes.every(({ ok }) => ok)).toBe(true)
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, n) => n)
}

function bodies(items: readonly BatchItem[]): unknown[] {
  return items.map(({ body }) => body)
}

async function refusalOf(consumer: Consumer, concurrency: number): Promise<string> {
  const { code } = await errorOf(() => {
    consumer.concurrency = concurrency
  })
  return code
}

async function ready(bus: Bus, name: string): Promise<number | undefined> {
  return (await bus.inspector?.depth({ kind: 'queue', name }))?.ready
}

describe('handleBatch: what closes a batch', () => {
  test('[size] a full batch is handled at once, in the order of the queue', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(20))
    const batches: [unknown[], string][] = []
    await bus.handleBatch(queue, (items, { closedBy }) => void batches.push([bodies(items), closedBy]), {
      size: 10,
      maxAgeMs: longMs,
    })
    await eventually('two batches', () => batches.length === 2)
    expect(batches).toEqual([
      [numbers(20).slice(0, 10), 'size'],
      [numbers(20).slice(10), 'size'],
    ])
    await eventually('20 acknowledgements', () => ofKind(bus.told, 'handled').length === 20)
    expect(await ready(bus, queue)).toBe(0)
  })

  test('[maxAgeMs] runs from the oldest item: what comes later does not restart it', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const batches: unknown[][] = []
    const closed: string[] = []
    await bus.handleBatch(
      queue,
      (items, { closedBy }) => {
        batches.push(bodies(items))
        closed.push(closedBy)
      },
      { size: 1000, maxAgeMs: 150 },
    )
    // A timer that each message restarts would not fire before the last of these.
    let n = 0
    while (batches.length === 0 && n < 500) {
      await bus.send(queue, n++)
      await sleep(20)
    }
    expect(n).toBeLessThan(500)
    expect(closed[0]).toBe('age')
    expect(batches[0]![0]).toBe(0)
    await eventually('all of them', () => batches.flat().length === n)
    expect(batches.flat()).toEqual(numbers(n))
  })

  test('[maxAgeMs] of 0 hands on what has come', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const got: unknown[] = []
    await bus.handleBatch(queue, items => void got.push(...bodies(items)), { maxAgeMs: 0 })
    await bus.send(queue, 'one')
    await eventually('it', () => got.length === 1)
  })

  test('stop() hands on what is gathered, and waits for its handler', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(3))
    const batches: [number, string][] = []
    const consumer = await bus.handleBatch(
      queue,
      async (items, { closedBy }) => {
        await sleep(20)
        batches.push([items.length, closedBy])
      },
      { size: 100, maxAgeMs: longMs },
    )
    await eventually('them to be gathered', () => ofKind(bus.told, 'received').length === 3)
    await consumer.stop()
    expect(batches).toEqual([[3, 'end']])
    expect(await ready(bus, queue)).toBe(0)
  })

  test('[stop deadlineMs] of 0 begins no batch: what is gathered goes back', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(3))
    let calls = 0
    const consumer = await bus.handleBatch(
      queue,
      () => {
        calls += 1
      },
      { maxAgeMs: longMs },
    )
    await eventually('them to be gathered', () => ofKind(bus.told, 'received').length === 3)
    await consumer.stop({ deadlineMs: 0 })
    expect(calls).toBe(0)
    await eventually('them to be back', async () => (await ready(bus, queue)) === 3)
  })

  test('pause() hands on what is gathered; resume() gathers again', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const closed: [unknown[], string][] = []
    const consumer = await bus.handleBatch(queue, (items, ctx) => void closed.push([bodies(items), ctx.closedBy]), {
      size: 2,
      maxAgeMs: longMs,
    })
    await bus.send(queue, 'a')
    await eventually('it to be gathered', () => ofKind(bus.told, 'received').length === 1)
    await consumer.pause()
    await eventually('the batch', () => closed.length === 1)
    await consumer.resume()
    await sent(bus, queue, ['b', 'c'])
    await eventually('the next', () => closed.length === 2)
    expect(closed).toEqual([
      [['a'], 'end'],
      [['b', 'c'], 'size'],
    ])
  })

  test('[concurrency] so many batches run at once, and it can be changed', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(80))
    let running = 0
    let most = 0
    let handled = 0
    const open = Promise.withResolvers<void>()
    const consumer = await bus.handleBatch(
      queue,
      async items => {
        running += 1
        most = Math.max(most, running)
        await open.promise
        await sleep(2)
        running -= 1
        handled += items.length
      },
      { size: 10, concurrency: 2, maxAgeMs: 5 },
    )
    expect(consumer.concurrency).toBe(2)
    await eventually('two batches', () => running === 2)
    await sleep(30)
    expect(most).toBe(2)
    consumer.concurrency = 3
    expect(consumer.concurrency).toBe(3)
    await eventually('a third', () => running === 3)
    open.resolve()
    await eventually('all of them', () => handled === 80)
    expect(most).toBe(3)
    expect(await refusalOf(consumer, 0)).toBe('option-invalid')
    expect(await refusalOf(consumer, 1.5)).toBe('option-invalid')
    expect(consumer.concurrency).toBe(3)
  })
})

describe('handleBatch: settlement', () => {
  test('[orderBy] a batch holds one message of a key at most, and keys keep their order', async () => {
    const bus = await memoryBus()
    const Step = command(ownName(), z.object({ key: z.string(), n: z.number() }), { key: step => step.key })
    for (let n = 0; n < 5; n++) for (const key of ['a', 'b', 'c']) await bus.send(Step, { key, n })
    const seen = new Map<string, number[]>()
    let doubles = 0
    let failed = false
    await bus.handleBatch(
      Step,
      items => {
        const keys = items.map(({ body }) => body.key)
        if (new Set(keys).size < keys.length) doubles += 1
        for (const { body } of items) {
          if (body.key === 'b' && body.n === 1 && !failed) {
            failed = true
            throw new Error('once')
          }
        }
        for (const { body } of items) seen.set(body.key, [...(seen.get(body.key) ?? []), body.n])
      },
      { orderBy: 'key', size: 10, maxAgeMs: 5 },
    )
    await eventually('15 messages', () => [...seen.values()].flat().length === 15)
    expect(doubles).toBe(0)
    expect([...seen.values()]).toEqual(Array(3).fill([0, 1, 2, 3, 4]))
  })

  test('each item may be settled by itself; the rest follows the handler', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, ['ack', 'retry', 'dead', 'fail', 'rest'])
    const attempts: unknown[] = []
    await bus.handleBatch(
      queue,
      items => {
        for (const item of items) {
          attempts.push([item.body, item.ctx.attempt])
          if (item.ctx.attempt > 1) continue
          if (item.body === 'ack') item.ack()
          if (item.body === 'retry') item.retry({ delayMs: 1 })
          if (item.body === 'dead') item.deadLetter('no use')
          if (item.body === 'fail') item.fail(new Error('this one'))
        }
      },
      { size: 5, maxAgeMs: 20 },
    )
    await eventually('the end of all', async () => ofKind(bus.told, 'handled').length === 4)
    expect(attempts.toSorted()).toEqual([
      ['ack', 1],
      ['dead', 1],
      ['fail', 1],
      ['fail', 2],
      ['rest', 1],
      ['retry', 1],
      ['retry', 2],
    ])
    const [dead] = await eventually('a dead letter', () => {
      const found = ofKind(bus.told, 'dead-lettered')
      return found.length > 0 && found
    })
    expect(dead).toMatchObject({ code: 'dead-lettered', reason: 'no use', attempts: 1 })
    expect(await ready(bus, deadLetterName({ kind: 'queue', name: queue }))).toBe(1)
    expect(
      ofKind(bus.told, 'attempt-failed')
        .map(({ error }) => (error as Error).message)
        .toSorted(),
    ).toEqual(['The handler asked for another attempt.', 'no use', 'this one'])
  })

  test('an item is settled once, and by the run that it belongs to', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, ['one', 'two'])
    const codes: string[] = []
    let kept: BatchItem | undefined
    await bus.handleBatch(
      queue,
      async items => {
        if (items.length === 1) {
          codes.push((await errorOf(() => kept!.ack())).code)
          return
        }
        kept = items[1]
        items[0]!.ack()
        codes.push((await errorOf(() => items[0]!.fail(new Error('too late')))).code)
        codes.push((await errorOf(() => items[1]!.retry({ delayMs: -1 }))).code)
        items[1]!.retry()
        throw new Error('after all were settled')
      },
      { size: 2, maxAgeMs: 5 },
    )
    await eventually('both', () => ofKind(bus.told, 'handled').length === 2)
    expect(codes).toEqual(['already-settled', 'option-invalid', 'already-settled'])
    const [failure] = ofKind(bus.told, 'hook-failed')
    expect(failure).toMatchObject({ error: { message: 'after all were settled' } })
  })

  test('a subscription has its own batches', async () => {
    const bus = await memoryBus()
    const Placed = event(ownName(), z.object({ id: z.number() }))
    const got: number[] = []
    await bus.subscribeBatch(Placed, 'audit', items => void got.push(...items.map(({ body }) => body.id)), {
      size: 3,
      maxAgeMs: longMs,
    })
    await bus.publishBatch(
      Placed,
      numbers(3).map(id => ({ id })),
    )
    await eventually('three', () => got.length === 3)
    expect(got).toEqual([0, 1, 2])
  })

  test('a body that does not fit is dead-lettered by itself and never reaches a batch', async () => {
    const bus = await memoryBus()
    const Strict = command(ownName(), z.object({ n: z.number() }))
    await bus.send(Strict.destination, { n: 'x' })
    await bus.send(Strict, { n: 4 })
    const strict: unknown[] = []
    await bus.handleBatch(Strict, items => void strict.push(...items.map(({ body }) => body.n)), { maxAgeMs: 1 })
    await eventually('the one that fits', () => strict.length === 1)
    expect(strict).toEqual([4])
    await eventually('the other', () => ofKind(bus.told, 'dead-lettered').length === 1)
  })

  test("item.ctx sends with its message's correlation", async () => {
    const bus = await memoryBus()
    const [from, to] = [ownName(), ownName()]
    const correlations: unknown[] = []
    await bus.handle(to, (_, ctx) => void correlations.push(ctx.correlationId))
    await bus.handleBatch(from, async items => void (await Promise.all(items.map(({ ctx }) => ctx.send(to, 'x')))), {
      maxAgeMs: 5,
    })
    const ids = (await bus.sendBatch(from, [1, 2])).map(outcome => outcome.ok && outcome.receipt.id)
    await eventually('two', () => correlations.length === 2)
    expect(correlations.toSorted()).toEqual(ids.toSorted())
  })
})

describe('handleBatch: failures', () => {
  test('a throw splits the batch until the poison stands alone; its neighbours succeed in order', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await sent(bus, queue, numbers(16))
    const done: number[] = []
    const runs: [unknown[], string][] = []
    await bus.handleBatch(
      queue,
      (items, { closedBy }) => {
        runs.push([bodies(items), closedBy])
        if (items.some(({ body }) => body === 5)) throw new Error('poison')
        done.push(...(bodies(items) as number[]))
      },
      { size: 16, maxAgeMs: longMs },
    )
    await eventually('15 neighbours', () => ofKind(bus.told, 'handled').length === 15)
    expect(done).toEqual(numbers(16).filter(n => n !== 5))
    const failed = ofKind(bus.told, 'attempt-failed')
    expect(failed.map(({ attempt, error }) => [attempt, (error as Error).message])).toEqual([[1, 'poison']])
    await eventually('the poison', () => ofKind(bus.told, 'dead-lettered').length === 1)
    // Halves: 16, 8, 4, then 4-7 as 4-5, 4, 5, and what is left of each.
    expect(runs.length).toBeLessThanOrEqual(2 * Math.log2(16) + 1)
    expect(runs[0]![1]).toBe('size')
    expect(runs.slice(1).every(([, closedBy]) => closedBy === 'split')).toBe(true)
    expect(runs.filter(([items]) => items.length === 1 && items[0] === 5)).toHaveLength(1)
  })

  test('several poisons are found, each with its own attempts', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 3 } } })
    const queue = ownName()
    await sent(bus, queue, numbers(30))
    const bad = new Set<unknown>([0, 7, 8, 29])
    const done: number[] = []
    await bus.handleBatch(
      queue,
      items => {
        for (const item of items) if (bad.has(item.body)) throw new Error(`${item.body}`)
        done.push(...(bodies(items) as number[]))
      },
      { size: 10, maxAgeMs: 5 },
    )
    await eventually('the poisons', () => ofKind(bus.told, 'dead-lettered').length === bad.size)
    await eventually('the rest', () => done.length === 30 - bad.size)
    expect(done.toSorted((a, b) => a - b)).toEqual(numbers(30).filter(n => !bad.has(n)))
    expect(ofKind(bus.told, 'dead-lettered').map(({ attempts }) => attempts)).toEqual([3, 3, 3, 3])
  })

  test('what was settled before the throw stays settled', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await sent(bus, queue, numbers(6))
    const effects: unknown[] = []
    await bus.handleBatch(
      queue,
      items => {
        for (const item of items) {
          if (item.body === 3) throw new Error('poison')
          effects.push(item.body)
          item.ack()
        }
      },
      { size: 6, maxAgeMs: longMs },
    )
    await eventually('the poison', () => ofKind(bus.told, 'dead-lettered').length === 1)
    await eventually('the others', () => ofKind(bus.told, 'handled').length === 5)
    expect(effects).toEqual([0, 1, 2, 4, 5])
  })

  test('ctx.retry() and ctx.deadLetter() mean the whole batch, without splitting', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(4))
    const sizes: number[] = []
    await bus.handleBatch(
      queue,
      (items, ctx) => {
        sizes.push(items.length)
        if (sizes.length === 1) ctx.retry()
        ctx.deadLetter('nobody wants them')
      },
      { size: 4, maxAgeMs: 500 },
    )
    await eventually('four dead letters', () => ofKind(bus.told, 'dead-lettered').length === 4)
    expect(sizes).toEqual([4, 4])
    expect(ofKind(bus.told, 'dead-lettered').map(({ attempts, reason }) => [attempts, reason])).toEqual(
      Array(4).fill([2, 'nobody wants them']),
    )
  })

  test('[timeoutMs] counts from the call of the handler: its signal fires, the batch is split', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await sent(bus, queue, ['fast', 'slow'])
    const late: unknown[] = []
    const fired: unknown[] = []
    await bus.handleBatch(
      queue,
      async (items, ctx: BatchContext) => {
        if (!items.some(({ body }) => body === 'slow')) return
        await new Promise<void>(resolve =>
          ctx.signal.addEventListener('abort', () => {
            fired.push((ctx.signal.reason as { code?: unknown }).code)
            resolve()
          }),
        )
        late.push((await errorOf(() => items.at(-1)!.ack())).code)
      },
      // It waits longer for its batch than the handler may take.
      { size: 3, maxAgeMs: 200, timeoutMs: 50 },
    )
    await eventually('the slow one', () => ofKind(bus.told, 'dead-lettered').length === 1)
    await eventually('the fast one', () => ofKind(bus.told, 'handled').length === 1)
    expect(fired).toEqual(['handler-timeout', 'handler-timeout'])
    expect(ofKind(bus.told, 'dead-lettered')[0]).toMatchObject({ code: 'handler-timeout', attempts: 1 })
    await eventually('the late calls', () => late.length === 2)
    expect(late.every(code => code === 'delivery-stale' || code === 'already-settled')).toBe(true)
  })

  test('a batch that runs at the deadline of stop() hears its signal, and its messages go back', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await sent(bus, queue, numbers(4))
    const began = Promise.withResolvers<void>()
    const reasons: unknown[] = []
    const consumer = await bus.handleBatch(
      queue,
      async (_, ctx) => {
        began.resolve()
        await new Promise<void>(resolve => ctx.signal.addEventListener('abort', () => resolve()))
        reasons.push((ctx.signal.reason as { code?: unknown }).code)
      },
      { size: 4, maxAgeMs: longMs },
    )
    await began.promise
    await consumer.stop({ deadlineMs: 20 })
    await eventually('the signal', () => reasons.length === 1)
    expect(reasons).toEqual(['closed'])
    await eventually('them to be back', async () => (await ready(bus, queue)) === 4)
  })
})

describe('handleBatch: bad input', () => {
  test.each([
    [{ size: 0 }, /size/],
    [{ size: 10_001 }, /size/],
    [{ maxAgeMs: -1 }, /maxAgeMs/],
    [{ concurrency: 0 }, /concurrency/],
    [{ concurrency: { goalMs: 5 } }, /concurrency/],
    [{ ordered: true }, /one message at a time/],
    [{ size: 100, window: 99 }, /never fills a batch of 100/],
    [{ size: 100, concurrency: 3, window: 299 }, /never fills 3 batches of 100/],
    [{ size: 10_000, concurrency: 7 }, /70000 messages/],
    [{ sise: 5 }, /Did you mean `size`/],
  ])('refuses %j', async (options, sentence) => {
    const bus = await memoryBus()
    const { code, message } = await errorOf(bus.handleBatch(ownName(), () => {}, options as object))
    expect(code).toBe('option-invalid')
    expect(message).toMatch(sentence)
  })

  test('refuses what is no handler, and contracts of another kind', async () => {
    const bus = await memoryBus()
    const Placed = event(ownName())
    const Charge = command(ownName())
    expect((await errorOf(bus.handleBatch(ownName(), 'no function' as never))).code).toBe('option-invalid')
    expect((await errorOf(bus.handleBatch(Placed as never, () => {}))).code).toBe('option-invalid')
    expect((await errorOf(bus.subscribeBatch(Charge as never, 'audit', () => {}))).code).toBe('option-invalid')
    expect((await errorOf(bus.subscribeBatch(Placed, 'a.b', () => {}))).code).toBe('name-invalid')
  })
})
