/** More of section G: requests that are answered by streams, and requests that are cancelled. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, request } from '@chasqui/core'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { schemaOf } from './reading.ts'
import type { Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

const isObject = (value: unknown) => typeof value === 'object' && value !== null

const numbersOf = (stage: Stage) =>
  request(
    stage.name('numbers'),
    schemaOf<{ count: number }>('an object is expected', isObject),
    schemaOf<{ n: number }>('an object is expected', isObject),
    { stream: true },
  )
type Numbers = ReturnType<typeof numbersOf>

/** Reads a stream to its end, or until it fails: the items, and the code of the failure. */
async function read(bus: Bus, numbers: Numbers, count: number): Promise<{ items: number[]; code: unknown }> {
  const items: number[] = []
  try {
    for await (const { n } of bus.stream(numbers, { count }, { timeoutMs: 20_000 })) items.push(n)
    return { items, code: undefined }
  } catch (error) {
    return { items, code: (error as { code?: unknown }).code }
  }
}

const upTo = (count: number) => Array.from({ length: count }, (_, n) => n)

export const streams: readonly Scenario[] = [
  {
    number: 90,
    title:
      'a stream of replies comes whole and in order, 1,000 at once, no faster than it is read; whoever leaves or goes ends its generator',
    timeoutMs: 120_000,
    async run(stage) {
      const [asker, answerer] = [await stage.connect(), await stage.connect()]
      const numbers = numbersOf(stage)
      let made = 0
      let running = 0
      await answerer.handle(
        numbers,
        async function* ({ count }) {
          running += 1
          try {
            for (let n = 0; n < Math.abs(count); n++) {
              made += 1
              yield { n }
            }
            if (count < 0) throw new Error('negative')
          } finally {
            running -= 1
          }
        },
        { concurrency: 200, window: 1000, retry: { attempts: 3, delays: [] } },
      )
      assert.deepEqual(await settled(read(asker, numbers, 2000), '2,000 items'), { items: upTo(2000), code: undefined })
      assert.deepEqual(await settled(read(asker, numbers, -3), 'a failure midway'), {
        items: upTo(3),
        code: 'request-failed',
      })
      const many = Array.from({ length: 1000 }, () => read(asker, numbers, 5))
      for (const { items } of await settled(Promise.all(many), '1,000 streams')) assert.deepEqual(items, upTo(5))

      made = 0
      let taken = 0
      for await (const _ of asker.stream(numbers, { count: 1_000_000 }, { window: 10 })) {
        taken += 1
        if (taken === 100) await sleep(200)
        assert.ok(made <= taken + 10, `${made} items were made when ${taken} had been taken of a window of 10`)
        if (taken === 300) break
      }
      await eventually(
        () => running === 0,
        () => 'the generator to end when its reader left',
      )

      const leaving = await stage.connect()
      const last = read(leaving, numbers, 1_000_000)
      await eventually(
        () => running === 1,
        () => 'the last stream to begin',
      )
      await settled(leaving.close({ deadlineMs: 0 }), 'the requester to leave')
      assert.equal((await settled(last, 'the stream of the one that left to end')).code, 'closed')
      await eventually(
        () => running === 0,
        () => 'the generator to end when its requester was gone',
      )
      return 'pass'
    },
  },
  {
    number: 91,
    title: 'a stream whose handler is taken away breaks with a typed error, or begins anew where nothing was taken yet',
    async run(stage) {
      const [asker, first, second] = [await stage.connect(), await stage.connect(), await stage.connect()]
      const numbers = numbersOf(stage)
      let began = 0
      await first.handle(numbers, async function* ({ count }, ctx) {
        began += 1
        for (let n = 0; n < count; n++) yield { n }
        await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
      })
      const silent = read(asker, numbers, 0)
      const midway: number[] = []
      const broken = (async () => {
        for await (const { n } of asker.stream(numbers, { count: 3 }, { timeoutMs: 20_000 })) midway.push(n)
      })().catch((error: { code?: unknown }) => error.code)
      await eventually(
        () => began === 2 && midway.length === 3,
        () => `two streams to begin; ${began} did`,
      )
      await second.handle(numbers, async function* () {
        for (let n = 10; n < 13; n++) yield { n }
      })
      await first.close({ deadlineMs: 0 })
      assert.equal(await settled(broken, 'the stream to break'), 'stream-broken')
      assert.deepEqual(midway, [0, 1, 2])
      assert.deepEqual(await settled(silent, 'the other to begin anew'), { items: [10, 11, 12], code: undefined })
      return 'pass'
    },
  },
  {
    number: 92,
    title: 'a requester that gives up reaches the handler by its signal; no reply and no other attempt follows',
    async run(stage) {
      const [asker, answerer] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const told: string[] = []
      answerer.observe(({ kind }) => void told.push(kind), ['request-cancelled', 'retried', 'dead-lettered'])
      let began = 0
      await answerer.handle(queue, async (_, ctx) => {
        began += 1
        await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
        throw ctx.signal.reason
      })
      const abort = new AbortController()
      const cancelled = asker.request(queue, 'cancelled', { signal: abort.signal })
      const failed = cancelled.catch((error: { code?: unknown }) => error.code)
      await eventually(
        () => began === 1,
        () => 'the request to be handled',
      )
      abort.abort()
      assert.equal(await settled(failed, 'the request to reject'), 'aborted')
      const { signal } = new AbortController()
      await rejectsWith('request-timeout', asker.request(queue, 'too slow', { signal, timeoutMs: 300 }))
      await eventually(
        () => told.length >= 2,
        () => `the handler to hear of both; told were ${told.join(', ')}`,
      )
      assert.deepEqual(told, ['request-cancelled', 'request-cancelled'])
      assert.equal(began, 2)
      return 'pass'
    },
  },
]
