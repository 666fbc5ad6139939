/** More of section F: the way to the engine is disturbed, what it holds is deleted, it takes nothing for a while. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { isChasquiError } from '@chasqui/driver'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { DisturbingProxy } from './proxy.ts'
import type { Scenario } from './scenario.ts'

const window = 50
const callers = 50

export const network: readonly Scenario[] = [
  {
    number: 56,
    title:
      'connections are cut, delayed, truncated and reset: what resolved arrives, no unknown id does, repetitions stay in their bound',
    source: 'nestjs/nest#10562, moleculerjs/moleculer-channels#99',
    timeoutMs: 180_000,
    async run(stage) {
      // The way to this engine is no connection that a proxy could stand in.
      if (!stage.capabilities.properties.network) return 'weaker'
      const engine = new URL(stage.engine.url)
      const proxy = await DisturbingProxy.start({ host: engine.hostname, port: Number(engine.port) }, stage.seed)
      try {
        const url = stage.engine.url.replace(engine.host, `127.0.0.1:${proxy.port}`)
        const [senders, consumers] = [await stage.connect({ sendTimeoutMs: 60_000 }, url), await stage.connect({}, url)]
        const queue = stage.name('queue')
        const received: number[] = []
        await consumers.handle(queue, body => void received.push((body as { n: number }).n), { window })
        await senders.send(queue, { n: -1 })
        const confirmed = [-1]
        const doubtful = new Set<number>()
        let next = 0
        const produce = async () => {
          while (next < 3000) {
            const n = next++
            await senders.send(queue, { n, padding: 'x'.repeat(200) }).then(
              () => confirmed.push(n),
              error => {
                assert.ok(isChasquiError(error), `a send failed without a code: ${error}`)
                doubtful.add(n)
              },
            )
          }
        }
        proxy.disturb()
        await settled(Promise.all(Array.from({ length: callers }, produce)), '3,000 sends to settle', 150_000)
        proxy.calm()
        const missing = () => {
          const seen = new Set(received)
          return confirmed.filter(n => !seen.has(n)).length
        }
        await eventually(
          () => missing() === 0,
          () => `what was confirmed; ${missing()} are missing`,
          60_000,
        )
        assert.ok(proxy.losses >= 3, `connections were lost: ${JSON.stringify(proxy.done)}`)
        // Each loss may bring back what was unsettled, and leave in doubt what was on its way.
        assertSameIds(received, confirmed, { doubtful, repeats: proxy.losses * (window + callers) })
        assert.ok(confirmed.length > 1500, `most sends were confirmed: ${confirmed.length}`)
        // And it really consumes afterwards.
        await senders.send(queue, { n: 1_000_000 })
        await eventually(
          () => received.includes(1_000_000),
          () => 'the probe after the last loss',
        )
      } catch (error) {
        throw new Error(`${String(error)} (${JSON.stringify(proxy.done)}; CHASQUI_SEED=${stage.seed} disturbs alike)`, {
          cause: error,
        })
      } finally {
        await stage.close()
        await proxy.close()
      }
      return 'pass'
    },
  },
  {
    number: 58,
    title: "a queue deleted underneath is made anew; with `declare: 'never'` its loss is a typed error",
    source: 'ThreeDotsLabs/watermill-amqp#17',
    async run(stage) {
      const { deleteQueue } = stage.engine
      if (deleteQueue === undefined) {
        assert.ok(
          !stage.capabilities.properties.network,
          'others can delete its queues: the fixture must offer `deleteQueue`',
        )
        return 'weaker'
      }
      // Two, for a bus that has made a queue makes it anew for all its consumers.
      const [bus, strict] = [await stage.connect(), await stage.connect()]
      const [renewed, fixed] = [stage.name('renewed'), stage.name('fixed')]
      const received = new Set<unknown>()
      const consume = (body: unknown) => void received.add(body)
      await bus.handle(renewed, consume)
      await bus.send(fixed, 'before')
      const failures: string[] = []
      strict.observe(
        event => void (event.kind === 'consumer-failed' && failures.push(event.error.code)),
        ['consumer-failed'],
      )
      await strict.handle(fixed, consume, { declare: 'never' })
      await bus.send(renewed, 'before it, too')
      await eventually(
        () => received.size === 2,
        () => `two messages; came: ${[...received].join(', ')}`,
      )
      await deleteQueue(renewed)
      await deleteQueue(fixed)
      // What resolves from now on must arrive: a queue without its consumer would be noticed here.
      const resolved: number[] = []
      let sent = 0
      await eventually(
        async () => {
          const n = sent++
          await bus.send(renewed, n).then(
            () => resolved.push(n),
            error => assert.ok(isChasquiError(error), `a send failed without a code: ${error}`),
          )
          return received.has(n)
        },
        () => `a message through the queue that was deleted; ${sent} were sent, ${resolved.length} resolved`,
      )
      await eventually(
        () => resolved.every(n => received.has(n)),
        () => `all that resolved: ${resolved}; came: ${[...received].join(', ')}`,
      )
      await eventually(
        () => failures.length === 1,
        () => 'the other consumer to fail',
      )
      assert.deepEqual(failures, ['destination-missing'])
      const { details } = await strict.health()
      assert.deepEqual(
        details.filter(({ ok }) => !ok).map(({ name }) => name),
        [fixed],
      )
      assert.ok((await bus.health()).ok, 'the other bus is whole')
      const sendStrictly = () => strict.send(fixed, 'nobody', { declare: 'never' })
      // It was there when it was looked for; the one that finds it gone makes the next look again.
      await rejectsWith(['unroutable', 'destination-missing'], sendStrictly())
      await rejectsWith('destination-missing', sendStrictly())
      return 'pass'
    },
  },
  {
    number: 61,
    title: "the engine's own flow control: senders wait, nothing is lost, and all arrives once it takes messages again",
    source: 'amqp-node/amqplib#713',
    timeoutMs: 120_000,
    async run(stage) {
      if (!stage.capabilities.properties.network) return 'weaker'
      assert.ok(
        stage.engine.block !== undefined,
        'a networked engine can block senders: its fixture must offer `block`',
      )
      const blocked = await stage.engine.block()
      let released = false
      try {
        const [bus, consumer] = [
          await stage.connect({ sendTimeoutMs: 100_000 }, blocked.url),
          await stage.connect({}, blocked.url),
        ]
        const queue = stage.name('queue')
        const sends: Promise<{ id: string }>[] = []
        let resolved = 0
        await eventually(
          async () => {
            if (sends.length - resolved < 5) {
              const one = bus.send(queue, Buffer.alloc(100_000, 1))
              sends.push(one)
              // Whether it fails is asked at the end.
              one.then(
                () => resolved++,
                () => undefined,
              )
            }
            return sends.length - resolved >= 5 && !(await bus.health()).ok
          },
          () => 'the engine to block the sender',
        )
        await sleep(200)
        const waiting = sends.length - resolved
        assert.ok(waiting >= 5, `senders wait: ${waiting}`)
        const received: string[] = []
        if (blocked.liftsWhenDrained !== true) {
          released = true
          await blocked.release()
        }
        await consumer.handle(queue, (_, ctx) => void received.push(ctx.id!))
        const receipts = await settled(Promise.all(sends), 'each send to resolve', 60_000)
        await eventually(
          () => received.length >= receipts.length,
          () => `${receipts.length} messages; ${received.length} came`,
        )
        assertSameIds(
          received,
          receipts.map(({ id }) => id),
        )
        await eventually(
          async () => (await bus.health()).ok,
          () => 'health() to be true again',
        )
        await stage.close()
      } finally {
        if (!released) await blocked.release()
      }
      return 'pass'
    },
  },
  {
    number: 62,
    title: "a handler slower than the connection's heartbeats keeps its message and its place",
    source: 'amqp-node/amqplib#750',
    async run(stage) {
      const { shortLease } = stage.engine
      assert.ok(
        shortLease !== undefined || !stage.capabilities.properties.network,
        'a networked engine gives up on silent clients: its fixture must offer `shortLease`',
      )
      const leaseMs = shortLease?.leaseMs ?? 500
      const bus = await stage.connect(shortLease === undefined ? {} : { engine: shortLease.options })
      const queue = stage.name('queue')
      const begun: unknown[] = []
      const done: unknown[] = []
      const lost: unknown[] = []
      bus.observe(event => void lost.push(event), ['reconnected', 'settled-late'])
      await bus.handle(queue, async (body, ctx) => {
        begun.push(body)
        assert.equal(ctx.redelivered, false)
        if (body === 'slow') await sleep(leaseMs * 2)
        done.push(body)
      })
      await bus.send(queue, 'slow')
      await eventually(
        () => begun.length === 1,
        () => 'the slow handler to begin',
      )
      await bus.send(queue, 'quick')
      await eventually(
        () => done.length === 2,
        () => `both messages; done: ${done.join(', ')}`,
      )
      assert.deepEqual(done, ['quick', 'slow'])
      const driver = await stage.driver()
      await eventually(
        async () => {
          const depth = await driver.inspector?.depth({ kind: 'queue', name: queue })
          return depth === undefined || depth.ready + (depth.unsettled ?? 0) === 0
        },
        () => 'the queue to be empty',
      )
      assert.equal(begun.length, 2, 'nothing was handed out again')
      assert.deepEqual(lost, [])
      return shortLease === undefined ? 'weaker' : 'pass'
    },
  },
]
