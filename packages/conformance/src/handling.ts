/** More of sections A, B and E: what handlers meet while they run. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { command, event, on } from '@chasqui/core'
import type { Incoming, Sink } from '@chasqui/driver'
import { eventually, gate, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { sendRaw, takeRaw } from './reading.ts'
import type { Scenario } from './scenario.ts'

export const handling: readonly Scenario[] = [
  {
    number: 10,
    title:
      'an unknown content type, and a type without a route, is a dead letter; on a subscription the latter is acknowledged and counted',
    source: 'nestjs/nest#11641',
    async run(stage) {
      const bus = await stage.connect()
      const Known = command<string>(stage.name('known'), { destination: stage.name('queue') })
      const Other = command<string>(stage.name('other'), { destination: Known.destination })
      const handled: unknown[] = []
      await bus.handle([on(Known, body => void handled.push(body))])
      await bus.send(Other, 'nobody takes it')
      await sendRaw(stage, Known.destination, {
        id: 'strange',
        type: Known.type,
        contentType: 'application/x-nobody-knows',
        body: Buffer.from('?'),
      })
      const dead = await takeRaw(stage, `${Known.destination}.dead-letter`, 2)
      assert.deepEqual(dead.map(({ headers }) => String(headers.chasqui_error_code)).sort(), [
        'format-unknown',
        'unrouted',
      ])
      await bus.send(Known, 'taken')
      await eventually(
        () => handled.length === 1,
        () => 'the message that has a route',
      )

      const Seen = event<string>(stage.name('seen'), { destination: stage.name('topic') })
      const Unseen = event<string>(stage.name('unseen'), { destination: Seen.destination })
      const counts: number[] = []
      bus.observe(told => void (told.kind === 'unrouted' && counts.push(told.count)), ['unrouted'])
      const seen: unknown[] = []
      await bus.subscribe(Seen.destination, 'all', [on(Seen, body => void seen.push(body))])
      await bus.publish(Unseen, 'first')
      await bus.publish(Unseen, 'second')
      await bus.publish(Seen, 'third')
      await eventually(
        () => seen.length === 1 && counts.length === 2,
        () => `one message and two counts; ${seen.length} and ${counts.length}`,
      )
      assert.deepEqual(counts, [1, 2])
      const source = { kind: 'subscription', topic: Seen.destination, name: 'all' } as const
      await eventually(
        async () => {
          const depth = await bus.inspector?.depth(source)
          return depth === undefined || (depth.ready === 0 && (depth.unsettled ?? 0) === 0)
        },
        () => 'the unrouted events to be acknowledged',
      )
    },
  },
  {
    number: 15,
    title: 'the attempt grows over immediate retries; the engine counts deliveries over a restart of the consumer',
    async run(stage) {
      const bus = await stage.connect()
      const immediate = stage.name('immediate')
      const attempts: number[] = []
      await bus.handle(
        immediate,
        (_, ctx) => {
          attempts.push(ctx.attempt)
          if (ctx.attempt < 4) throw new Error('again')
        },
        { retry: { attempts: 4, immediate: 3 } },
      )
      await bus.send(immediate, 1)
      await eventually(
        () => attempts.length >= 4,
        () => `four attempts; ${attempts}`,
      )
      assert.deepEqual(attempts, [1, 2, 3, 4])

      const driver = await stage.driver()
      const queue = stage.name('queue')
      await sendRaw(stage, queue, { id: 'counted' })
      const counted: Incoming[] = []
      for (let round = 0; round < 3; round++) {
        const next = Promise.withResolvers<Incoming>()
        const sink: Sink = {
          deliver: ({ items }) => next.resolve(items[0]!),
          revoke: async () => undefined,
          fail: error => next.reject(error),
        }
        const receiver = await driver.receive({ kind: 'queue', name: queue }, sink, { window: 1, order: 'none' })
        counted.push(await settled(next.promise, `delivery ${round + 1}`))
        // Unsettled: the engine takes it back.
        await receiver.stop()
      }
      assert.deepEqual(
        counted.map(({ redelivered }) => redelivered),
        [false, true, true],
      )
      if (!stage.capabilities.properties.countsDeliveries) return 'weaker'
      assert.deepEqual(
        counted.map(({ deliveries }) => deliveries),
        [1, 2, 3],
      )
      return 'pass'
    },
  },
  {
    number: 17,
    title: 'handlers that finish out of order never settle a message still in flight',
    async run(stage) {
      const [bus, other] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const sent: string[] = []
      for (let n = 0; n < 20; n++) sent.push((await bus.send(queue, n)).id)
      const finished: number[] = []
      const doors = Array.from({ length: 20 }, gate)
      let started = 0
      const consumer = await bus.handle(
        queue,
        async (body, ctx) => {
          const n = body as number
          started += 1
          if (n % 5 === 0) await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
          else await doors[n]!.opened
          finished.push(n)
        },
        { concurrency: 20, window: 20 },
      )
      await eventually(
        () => started === 20,
        () => `20 handlers; ${started} began`,
      )
      for (const door of doors.toReversed()) {
        door.open()
        await new Promise(setImmediate)
      }
      await eventually(
        () => finished.length === 16,
        () => `16 handlers to finish; ${finished.length} did`,
      )
      await settled(consumer.stop({ deadlineMs: 0 }), 'stop()')
      const again: string[] = []
      await other.handle(queue, (_, ctx) => void again.push(ctx.id!))
      const { id } = await bus.send(queue, 'marker')
      await eventually(
        () => again.length >= 5,
        () => `four messages and the marker; ${again.length} came`,
      )
      assertSameIds(again, [...sent.filter((_, n) => n % 5 === 0), id])
    },
  },
  {
    number: 19,
    title: "a handler's signal fires on close, on timeout, and when its delivery is lost with the engine",
    timeoutMs: 120_000,
    async run(stage) {
      const reasons: Record<string, unknown> = {}
      const untilAborted = (word: string, started?: () => void) => async (_: unknown, ctx: { signal: AbortSignal }) => {
        started?.()
        await new Promise<void>(resolve => {
          if (ctx.signal.aborted) resolve()
          ctx.signal.addEventListener('abort', () => resolve())
        })
        reasons[word] ??= (ctx.signal.reason as { code?: unknown }).code
      }
      const told = (word: string) =>
        eventually(
          () => word in reasons,
          () => `the signal to fire on ${word}`,
        )
      const bus = await stage.connect()
      const timed = stage.name('timed')
      await bus.handle(timed, untilAborted('timeout'), { timeoutMs: 50, retry: { attempts: 1 } })
      await bus.send(timed, 1)
      await told('timeout')
      assert.equal(reasons.timeout, 'handler-timeout')

      const [closing, started] = [stage.name('closing'), gate()]
      await bus.handle(closing, untilAborted('close', started.open))
      await bus.send(closing, 1)
      await settled(started.opened, 'the handler')
      await settled(bus.close({ deadlineMs: 0 }), 'close()')
      await told('close')
      assert.equal(reasons.close, 'closed')

      // An engine in this process does not go away before its users.
      if (stage.process === undefined) return 'weaker'
      const survivor = await stage.connect()
      const [lost, begun] = [stage.name('lost'), gate()]
      await survivor.handle(lost, untilAborted('loss', begun.open))
      await survivor.send(lost, 1)
      await settled(begun.opened, 'the handler')
      await stage.process.keepDeclarations?.()
      await stage.process.kill()
      try {
        await told('loss')
      } finally {
        await stage.process.start()
      }
      return 'pass'
    },
  },
  {
    number: 49,
    title: 'the cap on handlers holds, and can be raised and lowered while running',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      let running = 0
      let most = 0
      const received: string[] = []
      const consumer = await bus.handle(
        queue,
        async (_, ctx) => {
          running += 1
          most = Math.max(most, running)
          await sleep(5)
          running -= 1
          received.push(ctx.id!)
        },
        { concurrency: 4, window: 100 },
      )
      const sent: string[] = []
      for (const concurrency of [4, 12, 2]) {
        consumer.concurrency = concurrency
        // Those that run beyond a lowered cap finish first.
        await eventually(
          () => running <= concurrency,
          () => `${running} handlers to become ${concurrency}`,
        )
        most = running
        const sends = Array.from({ length: 200 }, async () => (await bus.send(queue, concurrency)).id)
        sent.push(...(await settled(Promise.all(sends), '200 sends')))
        await eventually(
          () => received.length >= sent.length,
          () => `${sent.length} messages with ${concurrency} handlers; ${received.length} came`,
        )
        assert.equal(most, concurrency, `with \`concurrency\` ${concurrency} so many ran at most`)
      }
      assertSameIds(received, sent)
    },
  },
  {
    number: 50,
    title: 'a slow consumer holds the engine back: no more than its window is on the way, and it resumes',
    source: 'amqp-node/amqplib#147',
    async run(stage) {
      const [bus, sender] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const door = gate()
      const received: string[] = []
      let redelivered = 0
      await bus.handle(
        queue,
        async (_, ctx) => {
          await door.opened
          received.push(ctx.id!)
          if (ctx.redelivered) redelivered += 1
        },
        { concurrency: 5, window: 20 },
      )
      const sent = await settled(
        Promise.all(Array.from({ length: 2000 }, async () => (await sender.send(queue, Buffer.alloc(2000))).id)),
        '2,000 sends',
      )
      assert.equal(stage.capabilities.operations.inspect, 'native', 'the suite needs to see what waits')
      const ready = async () => (await sender.inspector!.depth({ kind: 'queue', name: queue }))?.ready ?? -1
      await eventually(
        async () => (await ready()) === 1980,
        () => 'all but the window to wait at the engine',
      )
      await sleep(200)
      assert.equal(await ready(), 1980, 'nothing moves while the handlers stand')
      assert.equal(received.length, 0)
      door.open()
      await eventually(
        () => received.length >= 2000,
        () => `2,000 messages; ${received.length} came`,
      )
      assertSameIds(received, sent)
      assert.equal(redelivered, 0, 'nothing was sent to and fro')
    },
  },
  {
    number: 51,
    title: 'pause() lets no handler begin, resume() goes on where it was',
    async run(stage) {
      const [bus, sender] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const received: string[] = []
      let paused = false
      let beganWhilePaused = 0
      const consumer = await bus.handle(queue, (_, ctx) => {
        if (paused) beganWhilePaused += 1
        received.push(ctx.id!)
      })
      const sent: string[] = []
      for (let round = 1; round <= 3; round++) {
        for (let n = 0; n < 20; n++) sent.push((await sender.send(queue, n)).id)
        await eventually(
          () => received.length >= sent.length,
          () => `${sent.length} messages in round ${round}; ${received.length} came`,
        )
        await settled(consumer.pause(), 'pause()')
        paused = true
        for (let n = 0; n < 20; n++) sent.push((await sender.send(queue, 'while paused')).id)
        await sleep(100)
        paused = false
        await settled(consumer.resume(), 'resume()')
      }
      await eventually(
        () => received.length >= sent.length,
        () => `${sent.length} messages; ${received.length} came`,
      )
      assert.equal(beganWhilePaused, 0)
      assertSameIds(received, sent)
    },
  },
]
