import { randomUUID } from 'node:crypto'
import { type Bus, command, event, type SendOutcome } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ownName } from '../fixture.ts'

function codesOf(outcomes: readonly SendOutcome[]): string[] {
  return outcomes.map(outcome =>
    outcome.ok ? 'ok' : ((outcome.error as { code?: string }).code ?? outcome.error.message),
  )
}

async function bodiesOf(bus: Bus, queue: string, count: number): Promise<unknown[]> {
  const bodies: unknown[] = []
  for await (const delivery of bus.receive(queue)) {
    bodies.push(delivery.body)
    await delivery.ack()
    if (bodies.length === count) break
  }
  return bodies
}

describe('sendBatch', () => {
  test('tells of each item what became of it, in the order given', async () => {
    const bus = await memoryBus({ maxBodyBytes: 100 })
    const Count = command(ownName(), z.object({ n: z.number(), text: z.string().default('') }))
    const outcomes = await bus.sendBatch(Count, [
      { n: 1 },
      { n: 'two' as unknown as number },
      { n: 3 },
      { n: 4, text: 'x'.repeat(200) },
      { n: 5 },
    ])
    expect(codesOf(outcomes)).toEqual(['ok', 'body-invalid', 'ok', 'body-too-large', 'ok'])
    const ids = outcomes.flatMap(outcome => (outcome.ok ? [outcome.receipt.id] : []))
    expect(new Set(ids).size).toBe(3)
    expect(await bodiesOf(bus, Count.destination, 3)).toEqual([{ n: 1 }, { n: 3 }, { n: 5 }])
  })

  test('keeps the order of 5,000 items', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const numbers = Array.from({ length: 5000 }, (_, n) => n)
    const outcomes = await bus.sendBatch(queue, numbers)
    expect(outcomes.every(outcome => outcome.ok)).toBe(true)
    expect(await bodiesOf(bus, queue, 5000)).toEqual(numbers)
  })

  test('[inFlight] takes the next body only when fewer are unconfirmed', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let taken = 0
    let confirmed = 0
    let most = 0
    bus.observe(() => {
      confirmed += 1
    }, ['sent'])
    function* bodies() {
      for (; taken < 100; taken++) {
        most = Math.max(most, taken - confirmed)
        yield taken
      }
    }
    const outcomes = await bus.sendBatch(queue, bodies(), { inFlight: 7 })
    expect(outcomes).toHaveLength(100)
    expect(most).toBeGreaterThan(0)
    expect(most).toBeLessThanOrEqual(7)
  })

  test('takes what can be looped over asynchronously', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    async function* bodies() {
      for (let n = 0; n < 5; n++) {
        await new Promise(resolve => setImmediate(resolve))
        yield n
      }
    }
    expect(codesOf(await bus.sendBatch(queue, bodies(), { inFlight: 2 }))).toEqual(['ok', 'ok', 'ok', 'ok', 'ok'])
    expect(await bodiesOf(bus, queue, 5)).toEqual([0, 1, 2, 3, 4])
  })

  test('an iteration that fails is the last outcome; those before it stay known', async () => {
    const bus = await memoryBus()
    function* bodies() {
      yield 1
      yield 2
      throw new Error('the file ended')
    }
    expect(codesOf(await bus.sendBatch(ownName(), bodies()))).toEqual(['ok', 'ok', 'the file ended'])
  })

  test('an empty batch has no outcomes', async () => {
    const bus = await memoryBus()
    expect(await bus.sendBatch(ownName(), [])).toEqual([])
  })

  test('[signal] fails what is not confirmed when it fires, item by item', async () => {
    const bus = await memoryBus()
    const controller = new AbortController()
    function* bodies() {
      for (let n = 0; n < 50; n++) {
        if (n === 20) controller.abort()
        yield n
      }
    }
    const codes = codesOf(await bus.sendBatch(ownName(), bodies(), { signal: controller.signal, inFlight: 5 }))
    expect(codes).toHaveLength(50)
    expect(codes.slice(0, 15)).toEqual(Array(15).fill('ok'))
    expect(codes.slice(20)).toEqual(Array(30).fill('aborted'))
  })

  test('a bus that is closed gives each item its error', async () => {
    const bus = await memoryBus()
    await bus.close()
    expect(codesOf(await bus.sendBatch(ownName(), [1, 2]))).toEqual(['closed', 'closed'])
  })

  test.each([['text'], [Buffer.from('bytes')], [7], [null], [{ length: 1 }]])(
    'refuses %j in place of a list',
    async given => {
      const bus = await memoryBus()
      const { code, message } = await errorOf(bus.sendBatch(ownName(), given as unknown as []))
      expect(code).toBe('option-invalid')
      expect(message).toMatch(/list of bodies/)
    },
  )

  test.each([[{ inFlight: 0 }], [{ inFlight: 1.5 }], [{ inflight: 5 }], [{ delayMs: -1 }]])(
    'refuses %j before anything is sent',
    async options => {
      const bus = await memoryBus()
      expect((await errorOf(bus.sendBatch(ownName(), [1], options as object))).code).toBe('option-invalid')
      expect(bus.told.filter(({ kind }) => kind === 'sent')).toEqual([])
    },
  )
})

describe('publishBatch', () => {
  test('gives each subscription its own copies; keys and headers hold for all items', async () => {
    const bus = await memoryBus()
    const Placed = event(ownName(), z.object({ id: z.string() }), { key: order => order.id })
    const got: unknown[] = []
    for (const name of ['one', 'two']) {
      await bus.subscribe(Placed, name, (body, ctx) => void got.push([name, body.id, ctx.key, ctx.headers.run]))
    }
    const run = randomUUID()
    const outcomes = await bus.publishBatch(Placed, [{ id: 'a' }, { id: 'b' }], { headers: { run } })
    expect(codesOf(outcomes)).toEqual(['ok', 'ok'])
    await eventually('four copies', () => got.length === 4)
    expect(got.toSorted()).toEqual([
      ['one', 'a', 'a', run],
      ['one', 'b', 'b', run],
      ['two', 'a', 'a', run],
      ['two', 'b', 'b', run],
    ])
  })

  test("a handler's batches carry its correlation on", async () => {
    const bus = await memoryBus()
    const [from, to] = [ownName(), ownName()]
    const causes: unknown[] = []
    await bus.handle(to, (_, ctx) => void causes.push([ctx.correlationId, ctx.causationId]))
    await bus.handle(from, async (_, ctx) => void (await ctx.sendBatch(to, [1, 2])))
    const { id } = await bus.send(from, 'go')
    await eventually('two messages', () => causes.length === 2)
    expect(causes).toEqual([
      [id, id],
      [id, id],
    ])
  })
})
