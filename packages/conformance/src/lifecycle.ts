/** Section E: consumers and buses come and go, and nothing is lost on the way. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { rejectsWith } from './delivery.ts'
import { eventually, gate, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import type { Scenario } from './scenario.ts'

export const lifecycle: readonly Scenario[] = [
  {
    number: 43,
    title: '5,000 messages read in five batches by consumers created anew lose nothing',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const sent = await Promise.all(Array.from({ length: 5000 }, async (_, n) => (await bus.send(queue, n)).id))
      const received: string[] = []
      for (let batch = 1; batch <= 5; batch++) {
        for await (const delivery of bus.receive(queue)) {
          received.push(delivery.id!)
          await delivery.ack()
          if (received.length === batch * 1000) break
        }
      }
      assertSameIds(received, sent)
    },
  },
  {
    number: 44,
    title: 'after ten consumers are opened and closed at once, 50 messages all arrive',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const received: string[] = []
      const consumers = await Promise.all(
        Array.from({ length: 10 }, () => bus.handle(queue, (_, ctx) => void received.push(ctx.id!))),
      )
      await settled(Promise.all(consumers.map(consumer => consumer.stop())), 'ten consumers to stop at once')
      await bus.handle(queue, (_, ctx) => void received.push(ctx.id!))
      const sent: string[] = []
      for (let n = 0; n < 50; n++) sent.push((await bus.send(queue, n)).id)
      await eventually(
        () => received.length >= 50,
        () => `50 messages; ${received.length} came`,
      )
      assertSameIds(received, sent)
    },
  },
  {
    number: 45,
    title: 'aborting a subscription returns what was in flight',
    async run(stage) {
      const bus = await stage.connect()
      const topic = stage.name('topic')
      const abort = new AbortController()
      let started = 0
      await bus.subscribe(
        topic,
        'all',
        async (_, ctx) => {
          started += 1
          await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
        },
        { concurrency: 10, window: 50, signal: abort.signal },
      )
      const sent: string[] = []
      for (let n = 0; n < 100; n++) sent.push((await bus.publish(topic, n)).id)
      await eventually(
        () => started === 10,
        () => `ten handlers to start; ${started} did`,
      )
      abort.abort()
      const received: string[] = []
      await bus.subscribe(topic, 'all', (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length >= 100,
        () => `all 100 messages; ${received.length} came`,
      )
      assertSameIds(received, sent)
    },
  },
  {
    number: 46,
    title: 'a consumer stopped and another started on its queue: consumption goes on',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const [sent, received]: [string[], string[]] = [[], []]
      for (let round = 1; round <= 3; round++) {
        const consumer = await bus.handle(queue, (_, ctx) => void received.push(ctx.id!))
        for (let n = 0; n < 20; n++) sent.push((await bus.send(queue, n)).id)
        await eventually(
          () => received.length >= sent.length,
          () => `${sent.length} messages in round ${round}; ${received.length} came`,
        )
        await consumer.stop()
        sent.push((await bus.send(queue, 'while nobody listens')).id)
      }
      await bus.handle(queue, (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length >= sent.length,
        () => `${sent.length} messages; ${received.length} came`,
      )
      assertSameIds(received, sent)
    },
  },
  {
    number: 47,
    title: 'stop() waits for handlers up to its deadline; one that it cancels raises no failure',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const failures: unknown[] = []
      const onError = (error: unknown) => void failures.push(error)

      const [started, finish] = [gate(), gate()]
      let finished = false
      const patient = await bus.handle(
        queue,
        async () => {
          started.open()
          await finish.opened
          finished = true
        },
        { onError },
      )
      await bus.send(queue, 'finishes')
      await settled(started.opened, 'the handler to start')
      const stopped = patient
        .stop({ deadlineMs: 20_000 })
        .then(() => assert.ok(finished, 'stop() came before the handler was done'))
      await sleep(50)
      finish.open()
      await settled(stopped, 'stop() once the handler is done')

      const startedAgain = gate()
      const cancelled = await bus.handle(
        queue,
        async (_, ctx) => {
          startedAgain.open()
          await new Promise((_, reject) => ctx.signal.addEventListener('abort', () => reject(ctx.signal.reason)))
        },
        { onError },
      )
      const { id } = await bus.send(queue, 'is cancelled')
      await settled(startedAgain.opened, 'the second handler to start')
      await settled(cancelled.stop({ deadlineMs: 50 }), 'stop() after its deadline')

      const received: { id: string | undefined; body: unknown }[] = []
      await bus.handle(queue, (body, ctx) => void received.push({ id: ctx.id, body }))
      await eventually(
        () => received.length >= 1,
        () => 'the cancelled message again',
      )
      assert.deepEqual(received, [{ id, body: 'is cancelled' }])
      assert.deepEqual(failures, [])
    },
  },
  {
    number: 48,
    title: 'close() drains: intake stops, handlers finish, settlements flush, then the connection closes',
    source: 'nestjs/nest#4076',
    async run(stage) {
      const [bus, other] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const sent: string[] = []
      for (let n = 0; n < 200; n++) sent.push((await bus.send(queue, n)).id)
      const handled: string[] = []
      let startedAfterClose = 0
      let closing = false
      const five = gate()
      await bus.handle(
        queue,
        async (_, ctx) => {
          if (closing) startedAfterClose += 1
          await sleep(10)
          handled.push(ctx.id!)
          if (handled.length === 5) five.open()
        },
        { concurrency: 5, window: 50 },
      )
      await settled(five.opened, 'five messages to be handled')
      closing = true
      await settled(bus.close(), 'close() to drain')
      const handledAtClose = handled.length
      assert.equal(startedAfterClose, 0, 'a handler started after close() was called')
      const rest: string[] = []
      await other.handle(queue, (_, ctx) => void rest.push(ctx.id!))
      await eventually(
        () => handled.length + rest.length >= 200,
        () => `200 messages; ${handled.length} and ${rest.length} came`,
      )
      assert.equal(handled.length, handledAtClose, 'a handler finished after close() had resolved')
      assertSameIds([...handled, ...rest], sent, { repeats: stage.engine.forgetsLastAcks ? 5 : 0 })
      await rejectsWith('closed', bus.send(queue, 'late'))
    },
  },
  {
    number: 52,
    title: 'a bus that only sends opens no consumer',
    async run(stage) {
      const bus = await stage.connect()
      const driver = await stage.driver()
      const [queue, topic] = [stage.name('queue'), stage.name('topic')]
      for (let n = 0; n < 5; n++) {
        await bus.send(queue, n)
        await bus.publish(topic, n)
      }
      assert.equal(stage.capabilities.operations.inspect, 'native', 'the suite needs to see consumers')
      const depth = async () => await driver.inspector!.depth({ kind: 'queue', name: queue })
      await eventually(
        async () => (await depth())?.ready === 5,
        () => 'five messages to wait in the queue',
      )
      assert.equal((await depth())!.consumers, 0)
      await bus.handle(queue, () => undefined)
      await eventually(
        async () => (await depth())!.consumers === 1,
        () => 'the consumer to be seen once there is one',
      )
    },
  },
  {
    number: 53,
    title: 'close() before the first consumer, twice, and while the engine blocks senders',
    async run(stage) {
      const unused = await stage.connect()
      await settled(unused.close(), 'close() of a bus that did nothing')
      await settled(unused.close(), 'a second close()')
      await rejectsWith('closed', unused.send(stage.name('queue'), 1))
      await rejectsWith(
        'closed',
        unused.handle(stage.name('queue'), () => undefined),
      )
      const twice = await stage.connect()
      await twice.send(stage.name('queue'), 1)
      await settled(Promise.all([twice.close(), twice.close()]), 'two calls of close() at once')
      if (!stage.capabilities.properties.network) return 'weaker'

      assert.ok(
        stage.engine.block !== undefined,
        'a networked engine can block senders: its fixture must offer `block`',
      )
      const blocked = await stage.engine.block()
      try {
        const bus = await stage.connect({ sendTimeoutMs: 60_000 }, blocked.url)
        const queue = stage.name('blocked')
        let settledSends = 0
        const sends: Promise<unknown>[] = []
        const send = () => {
          const one = bus.send(queue, Buffer.alloc(100_000))
          sends.push(
            one
              .then(
                () => 'resolved',
                (error: { code?: string }) => error.code,
              )
              .finally(() => settledSends++),
          )
        }
        await eventually(
          async () => {
            if (sends.length - settledSends === 0) send()
            return !(await bus.health()).ok && sends.length > settledSends
          },
          () => 'the engine to block and a send to wait',
        )
        await settled(bus.close({ deadlineMs: 500 }), 'close() while blocked')
        const outcomes = await settled(Promise.all(sends), 'the waiting sends to settle')
        for (const outcome of outcomes) assert.ok(typeof outcome === 'string', 'a send failed without a code')
        assert.notEqual(outcomes.at(-1), 'resolved')
      } finally {
        await blocked.release()
      }
      return 'pass'
    },
  },
  {
    number: 54,
    title: 'health() is true on start, false when the engine is gone, true after recovery, and never throws',
    source: 'tulios/kafkajs#1010, OptimalBits/bull#925',
    timeoutMs: 120_000,
    async run(stage) {
      const bus = await stage.connect()
      const consumed: unknown[] = []
      await bus.handle(stage.name('queue'), body => void consumed.push(body))
      const health = async () => (await settled(bus.health(), 'health()')).ok
      assert.equal(await health(), true)
      if (stage.process !== undefined) {
        await stage.process.keepDeclarations?.()
        await stage.process.kill()
        if (stage.capabilities.properties.takesOver) {
          // The gap may be shorter than a look at it.
          await eventually(health, () => 'health() to be true with another process in its place')
        } else {
          await eventually(
            async () => !(await health()),
            () => 'health() to turn false without an engine',
          )
          const { details } = await bus.health()
          assert.ok(
            details.some(({ ok, reason }) => !ok && reason !== undefined && reason !== ''),
            `a reason is given: ${JSON.stringify(details)}`,
          )
        }
        await stage.process.start()
        await eventually(health, () => 'health() to turn true again')
        await bus.send(stage.name('queue'), 'after it')
        await eventually(
          () => consumed.includes('after it'),
          () => 'a message after recovery',
        )
      }
      await bus.close()
      assert.equal(await health(), false)
      return stage.process === undefined ? 'weaker' : 'pass'
    },
  },
]
