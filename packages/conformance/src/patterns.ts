/** Section G, what of it is built: requests, delays, correlation, middleware. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultIncoming, defaultOutgoing, request } from '@chasqui/core'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { schemaOf, take } from './reading.ts'
import type { Scenario } from './scenario.ts'

export const patterns: readonly Scenario[] = [
  {
    number: 63,
    title:
      "a request gets its reply, the remote's error or a time-out, 1,000 at once; a requester that has gone harms nobody",
    async run(stage) {
      const [asker, answerer] = [await stage.connect(), await stage.connect()]
      const isObject = (value: unknown) => typeof value === 'object' && value !== null
      const Double = request(
        stage.name('double'),
        schemaOf<{ n: number }>('an object is expected', isObject),
        schemaOf<{ twice: number }>('an object is expected', isObject),
      )
      let answered = 0
      await answerer.handle(
        Double,
        async body => {
          if (body.n === -1) throw new Error('negative')
          if (body.n === -2) await sleep(300)
          answered += 1
          return { twice: body.n * 2 }
        },
        { concurrency: 50, retry: { attempts: 1 } },
      )
      const replies = await settled(
        Promise.all(Array.from({ length: 1000 }, async (_, n) => (await asker.request(Double, { n })).twice)),
        '1,000 replies',
      )
      assert.deepEqual(
        replies,
        Array.from({ length: 1000 }, (_, n) => n * 2),
      )
      const failure = await settled(
        asker.request(Double, { n: -1 }).then(
          () => undefined,
          (error: unknown) => error as Error,
        ),
        "the remote's error",
      )
      assert.equal((failure as { code?: unknown } | undefined)?.code, 'request-failed')
      assert.match(failure!.message, /negative/)
      await rejectsWith('request-timeout', asker.request(Double, { n: -2 }, { timeoutMs: 50 }))

      const leaving = await stage.connect()
      const before = answered
      const last = leaving.request(Double, { n: -2 }).catch(error => error)
      await eventually(
        async () =>
          answered > before ||
          (await answerer.inspector?.depth({ kind: 'queue', name: Double.destination }))?.ready === 0,
        () => 'the request to be taken',
      )
      await settled(leaving.close({ deadlineMs: 0 }), 'the requester to leave')
      await settled(last, 'the request of the one that left to settle')
      assert.deepEqual(await settled(asker.request(Double, { n: 21 }), 'a reply after that'), { twice: 42 })
    },
  },
  {
    number: 67,
    title: 'correlation, causation and tenant go on to every message that a handler sends',
    async run(stage) {
      const bus = await stage.connect()
      const [first, second, third, topic] = ['first', 'second', 'third', 'topic'].map(word => stage.name(word))
      const published: Record<string, unknown>[] = []
      await bus.subscribe(topic!, 'all', (_, { correlationId, causationId }) => {
        published.push({ correlationId, causationId })
      })
      await bus.handle(first!, async (_, ctx) => {
        await ctx.send(second!, 'second')
        await ctx.publish(topic!, 'second too')
      })
      await bus.handle(second!, async (_, ctx) => void (await ctx.send(third!, 'third')))
      const seconds: (string | undefined)[] = []
      bus.observe(told => void (told.kind === 'sent' && told.destination === second && seconds.push(told.id)), ['sent'])
      const { id } = await bus.send(first!, 'first')
      const [last] = await take(bus, third!, 1)
      await eventually(
        () => published.length === 1,
        () => 'the event',
      )
      assert.equal(last!.correlationId, id)
      assert.equal(last!.causationId, seconds[0])
      assert.deepEqual(published, [{ correlationId: id, causationId: id }])
    },
  },
  {
    number: 69,
    title: 'middleware runs in the declared order on both sides',
    async run(stage) {
      const trail: string[] = []
      const bus = await stage.connect({
        outgoing: [
          (message, next) => {
            trail.push('out 1')
            return next(message)
          },
          ...defaultOutgoing,
          async (message, next) => {
            trail.push('out 2')
            const receipt = await next(message)
            trail.push('confirmed')
            return receipt
          },
        ],
        incoming: [
          async (message, next) => {
            trail.push('in 1')
            const result = await next(message)
            trail.push('in 1 after')
            return result
          },
          ...defaultIncoming,
          (message, next) => {
            trail.push(`in 2 with ${message.body}`)
            return next(message)
          },
        ],
      })
      const queue = stage.name('queue')
      await bus.send(queue, 'body')
      await bus.handle(queue, () => void trail.push('handler'))
      await eventually(
        () => trail.includes('in 1 after'),
        () => `the whole way; so far ${trail.join(', ')}`,
      )
      assert.deepEqual(trail, ['out 1', 'out 2', 'confirmed', 'in 1', 'in 2 with body', 'handler', 'in 1 after'])
    },
  },
]
