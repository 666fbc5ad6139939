import { ChasquiError, type Context } from '@chasqui/core'
import type { Driver } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { withOperations } from '../altered-operations.ts'
import { eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

type TestBus = Awaited<ReturnType<typeof memoryBus>>
const depthOf = (bus: Pick<TestBus, 'inspector'>, name: string) => bus.inspector!.depth({ kind: 'queue', name })

const fail = () => {
  throw new Error('not yet')
}

describe('a delayed retry', () => {
  test('waits in the engine: its consumer may go, another has the next attempt, not early', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(queue, fail, { retry: { delays: [80] } })
    const { id } = await bus.send(queue, { a: 1 }, { key: 'k', headers: { mine: 'yes' } })
    await eventually('it is put aside', async () => {
      const depth = await depthOf(bus, queue)
      return ofKind(bus.told, 'retried').length === 1 && depth?.ready === 0 && depth.unsettled === 0
    })
    const failedAt = Date.now()
    await consumer.stop()
    const other = await memoryBus()
    const got = Promise.withResolvers<[unknown, Context]>()
    await other.handle(queue, (body, ctx) => got.resolve([body, ctx]))
    const [body, ctx] = await got.promise
    expect(Date.now() - failedAt).toBeLessThan(5000)
    expect(body).toEqual({ a: 1 })
    expect([ctx.id, ctx.key, ctx.attempt, ctx.headers.mine]).toEqual([id, 'k', 2, 'yes'])
    expect(Date.now() - Date.parse(String(ctx.headers.chasqui_first_failed_at))).toBeGreaterThanOrEqual(79)
  })

  test('of a message that died of its time to live does not let it die of that again', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.declare([{ queue }])
    await bus.send(queue, 'late', { ttlMs: 1 })
    const got = Promise.withResolvers<Context>()
    let deaths: unknown
    const handler = (_body: unknown, ctx: Context) => {
      if (ctx.attempt > 1) return got.resolve(ctx)
      deaths = ctx.headers['x-death']
      return fail()
    }
    await bus.handle(`${queue}.dead-letter`, handler, { retry: { delays: [20] } })
    const { attempt, headers } = await got.promise
    expect(deaths).toMatchObject([{ queue, reason: 'expired', count: 1 }])
    expect(attempt).toBe(2)
    // The engine's own notes stay behind: with them it would take the copy for one that circles.
    expect(headers['x-death']).toBeUndefined()
  })

  test('counts attempts over copies, to the last; the dead letter is as the message came', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const attempts: number[] = []
    await bus.handle(
      queue,
      (_body, ctx) => {
        attempts.push(ctx.attempt)
        fail()
      },
      { retry: { immediate: 1, delays: [5, 5] } },
    )
    await bus.send(queue, 1, { headers: { mine: 'yes' } })
    await eventually('it is given up', () => ofKind(bus.told, 'dead-lettered').length === 1)
    expect(attempts).toEqual([1, 2, 3, 4])
    const dead = Promise.withResolvers<Context>()
    await bus.handle(`${queue}.dead-letter`, (_body, ctx) => dead.resolve(ctx))
    const { headers } = await dead.promise
    expect(headers).toMatchObject({ mine: 'yes', chasqui_attempts: 4 })
    expect(Object.keys(headers)).not.toContain('chasqui_attempt')
    expect(Date.parse(String(headers.chasqui_first_failed_at))).toBeLessThan(
      Date.parse(String(headers.chasqui_last_failed_at)),
    )
  })

  test('[deadlineMs] holds over copies', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, fail, { retry: { deadlineMs: 100, delays: [30] } })
    await bus.send(queue, 1)
    const [letter] = await eventually('it is given up', () => {
      const letters = ofKind(bus.told, 'dead-lettered')
      return letters.length > 0 && letters
    })
    expect(letter!.reason).toContain('the deadline of 100 ms')
    expect(letter!.attempts).toBeLessThanOrEqual(4)
    expect(letter!.attempts).toBeGreaterThan(1)
  })

  test('of a subscription reaches that subscription alone', async () => {
    const bus = await memoryBus()
    const topic = ownName()
    const got: string[] = []
    await bus.subscribe(topic, 'one', (_body, ctx) => {
      got.push(`one ${ctx.attempt}`)
      if (ctx.attempt === 1) ctx.retry({ delayMs: 10 })
    })
    await bus.subscribe(topic, 'two', (_body, ctx) => got.push(`two ${ctx.attempt}`))
    await bus.publish(topic, 1)
    await eventually('the retry comes', () => got.length === 3)
    expect(got.toSorted()).toEqual(['one 1', 'one 2', 'two 1'])
  })

  test.each(['x', -1, 1.5, null, true, 1e300])('a foreign chasqui_attempt of %j counts for nothing', async attempt => {
    const { bus, driver } = await alteredBus({})
    const queue = ownName()
    const got = Promise.withResolvers<number>()
    await bus.handle(queue, (_body, ctx) => got.resolve(ctx.attempt))
    const message = {
      attributes: {},
      headers: { chasqui_attempt: attempt, chasqui_first_failed_at: 'yesterday' },
      contentType: 'text/plain',
      durable: true,
      body: Buffer.from('x'),
    }
    await driver.send([{ to: { kind: 'queue', name: queue }, message }], Date.now() + 5000)
    expect(await got.promise).toBe(1)
  })
})

/** Refuses every copy that is to wait. */
function refusing(real: Driver): Partial<Driver> {
  const error = new ChasquiError('send-refused', 'Not now.')
  return {
    send: async (batch, deadline) =>
      batch.some(({ message }) => message.notBefore !== undefined)
        ? batch.map(() => ({ ok: false, inDoubt: false, error }))
        : real.send(batch, deadline),
  }
}

describe('where the engine does not take the copy', () => {
  test('the message is held for the rest of its delay, and told of', async () => {
    const { bus, told } = await alteredBus({ driver: refusing })
    const queue = ownName()
    let failedAt = 0
    let came = 0
    await bus.handle(queue, (_body, ctx) => {
      if (ctx.attempt === 1) {
        failedAt = performance.now()
        ctx.retry({ delayMs: 60 })
      }
      came = performance.now()
    })
    await bus.send(queue, 1)
    await eventually('it is tried again', () => came > 0)
    expect(came - failedAt).toBeGreaterThanOrEqual(58)
    expect(ofKind(told, 'retry-held')).toMatchObject([{ source: queue, error: { code: 'send-refused' } }])
  })
})

describe('where the engine cannot delay', () => {
  test('messages are held and the window grows by them, so that others flow', async () => {
    const { bus } = await alteredBus({ driver: real => withOperations(real, { delay: 'unsupported' }) })
    const queue = ownName()
    const log: string[] = []
    await bus.handle(
      queue,
      (body, ctx) => {
        log.push(`${body} ${ctx.attempt}`)
        if (String(body).startsWith('slow') && ctx.attempt === 1) ctx.retry({ delayMs: 300 })
      },
      { window: 2, concurrency: 1 },
    )
    const slow = Array.from({ length: 20 }, (_, i) => `slow${i}`)
    for (const body of [...slow, 'quick']) await bus.send(queue, body)
    await eventually('all are done', () => log.length === 41)
    expect(log.slice(0, 21)).toEqual([...slow, 'quick'].map(body => `${body} 1`))
  })
})
