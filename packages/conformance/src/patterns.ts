/** Section G, what of it is built: requests, delays, correlation, middleware. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { defaultIncoming, defaultOutgoing, request } from '@chasqui/core'
import { isChasquiError } from '@chasqui/driver'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { passed, schemaOf, take } from './reading.ts'
import type { Scenario } from './scenario.ts'

export const patterns: readonly Scenario[] = [
  {
    number: 63,
    title:
      "a request gets its reply, the remote's error or a time-out, 1,000 at once; a requester that has gone harms nobody",
    source: 'nestjs/nest#11688',
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
    number: 64,
    title: 'a reply is checked against its contract, where it is made and where it arrives',
    async run(stage) {
      const [asker, answerer] = [await stage.connect(), await stage.connect()]
      const isPrice = (value: unknown) => typeof (value as { price?: unknown } | null)?.price === 'number'
      const GetPrice = request(
        stage.name('price'),
        schemaOf<string>('a string is expected', value => typeof value === 'string'),
        schemaOf<{ price: number }>('a price is expected', isPrice),
      )
      let attempts = 0
      const careless = await answerer.handle(
        GetPrice,
        sku => {
          attempts += 1
          return (sku === 'known' ? { price: 7 } : { price: 'seven' }) as { price: number }
        },
        { retry: { attempts: 2, immediate: 1 } },
      )
      assert.deepEqual(await settled(asker.request(GetPrice, 'known'), 'a reply'), { price: 7 })
      attempts = 0
      const refused = await settled(
        asker.request(GetPrice, 'unknown').then(
          () => undefined,
          (error: unknown) => error as { code?: unknown; details?: { remoteCode?: unknown } },
        ),
        'a wrong reply to be refused',
      )
      assert.deepEqual([refused?.code, refused?.details?.remoteCode], ['request-failed', 'body-invalid'])
      assert.equal(attempts, 1, 'another attempt would make no other reply')
      const [dead] = await take(answerer, `${GetPrice.destination}.dead-letter`, 1)
      assert.equal(dead!.headers.chasqui_error_code, 'body-invalid')
      await careless.stop()
      // One that knows nothing of the contract.
      await answerer.handle(GetPrice.destination, () => ({ price: 'seven' }))
      await rejectsWith('body-invalid', asker.request(GetPrice, 'known'))
    },
  },
  {
    number: 65,
    title:
      'a delayed message is not early, survives a restart, comes at once when its time is past, and can be taken back where the engine can',
    source: 'Particular/NServiceBus.RabbitMQ#1407',
    timeoutMs: 300_000,
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const { delay } = stage.capabilities.operations
      if (delay === 'unsupported') {
        await bus.send(queue, 'now')
        await rejectsWith('unsupported', bus.send(queue, 'later', { delayMs: 1000 }))
        await rejectsWith('unsupported', bus.send(queue, 'later', { at: new Date(Date.now() + 1000) }))
        return 'refused'
      }
      const came: { body: unknown; at: number }[] = []
      await bus.handle(queue, body => void came.push({ body, at: Date.now() }))
      const due = new Map<string, number>()
      const farMs = stage.process === undefined ? 500 : 2000
      const send = async (body: string, delayMs: number) => {
        due.set(body, Date.now() + delayMs)
        await bus.send(queue, body, { delayMs })
      }
      await bus.send(queue, 'past', { at: new Date(Date.now() - 60_000) })
      await send('soon', 300)
      await send('sooner', 150)
      await send('beyond the restart', farMs)
      const { id } = await bus.send(queue, 'taken back', { delayMs: farMs + 300 })
      const cancel = () =>
        settled(bus.cancel(queue, id), 'an answer to cancel()').catch((error: unknown) => {
          assert.ok(isChasquiError(error) && error.code === 'unsupported', `taken back or unsupported, not ${error}`)
          return undefined
        })
      const takenBack = await cancel()
      if (takenBack !== undefined) assert.deepEqual([takenBack, await cancel()], [true, false])
      await eventually(
        () => came.length >= 3,
        () => `three messages; came: ${came.map(({ body }) => body).join(', ')}`,
      )
      if (stage.process !== undefined && stage.capabilities.properties.durable) {
        await stage.process.keepDeclarations?.()
        await stage.process.kill()
        await stage.process.start()
      }
      // Later than all others: what was taken back would have come before it.
      await send('last', farMs + 400)
      const expected = ['past', 'soon', 'sooner', 'beyond the restart', 'last', ...(takenBack ? [] : ['taken back'])]
      await eventually(
        () => expected.every(body => came.some(one => one.body === body)),
        () => `${expected.length} messages; came: ${came.map(({ body }) => body).join(', ')}`,
      )
      // An acknowledgement may be lost with the engine that it was told.
      const bodies = came.map(({ body }) => String(body))
      assertSameIds(bodies, expected, { repeats: stage.process === undefined ? 0 : 3 })
      for (const { body, at } of came) {
        const earlyMs = (due.get(String(body)) ?? 0) - at
        assert.ok(earlyMs <= 0, `"${body}" came ${earlyMs} ms early`)
      }
      return passed(delay)
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
