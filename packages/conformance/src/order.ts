/** Section D: groups, and the order within a key, whoever comes, goes or fails. Also 12, which is about order. */
import assert from 'node:assert/strict'
import type { Bus, ConsumeOptions, Consumer, Context } from '@chasqui/core'
import { rejectsWith } from './delivery.ts'
import { eventually, gate, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { passed } from './reading.ts'
import type { Outcome, Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

type Body = { readonly key: string; readonly n: number }

export const order: readonly Scenario[] = [
  {
    number: 12,
    title: 'with `ordered: true` the second message is not delivered before the first is acknowledged',
    async run(stage) {
      const { strictOrder } = stage.capabilities.operations
      if (strictOrder === 'unsupported') return await refusedOrder(stage, { ordered: true })
      const buses = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const seen: unknown[] = []
      let running = 0
      const first = gate()
      const handler = async (body: unknown) => {
        running += 1
        assert.equal(running, 1, 'two handlers ran at once')
        seen.push(body)
        if (body === 0) await first.opened
        // Lets a second handler begin, if it may.
        await new Promise(setImmediate)
        running -= 1
      }
      const wrong: unknown[] = []
      for (const [index, bus] of buses.entries()) {
        const onError = (error: unknown) => void wrong.push(error)
        await bus.handle(queue, handler, { ordered: true, onError, ...(index === 0 ? { window: 1 } : {}) })
      }
      for (let n = 0; n < 100; n++) await buses[n % 2]!.send(queue, n)
      await eventually(
        () => seen.length >= 1,
        () => 'the first message',
      )
      assert.deepEqual(seen, [0])
      first.open()
      await eventually(
        () => seen.length >= 100,
        () => `100 messages; ${seen.length} came`,
      )
      assert.deepEqual(
        seen,
        Array.from({ length: 100 }, (_, n) => n),
      )
      assert.deepEqual(wrong, [])
      return passed(strictOrder)
    },
  },
  {
    number: 35,
    title: 'two subscriptions each get every message; inside one each message has one consumer',
    async run(stage) {
      const buses = [await stage.connect(), await stage.connect()]
      const topic = stage.name('topic')
      const received: Record<string, string[][]> = { first: [[], []], second: [[], []] }
      for (const [name, byConsumer] of Object.entries(received)) {
        for (const [index, ids] of byConsumer.entries()) {
          await buses[index]!.subscribe(topic, name, (_, ctx) => void ids.push(ctx.id!), { window: 10 })
        }
      }
      const sent: string[] = []
      for (let n = 0; n < 400; n++) sent.push((await buses[n % 2]!.publish(topic, n)).id)
      const flat = (name: string) => received[name]!.flat()
      await eventually(
        () => flat('first').length >= 400 && flat('second').length >= 400,
        () => `400 messages each; ${flat('first').length} and ${flat('second').length} came`,
      )
      for (const name of Object.keys(received)) {
        assertSameIds(flat(name), sent)
        assert.ok(
          received[name]!.every(ids => ids.length > 0),
          `both consumers of ${name} took part`,
        )
      }
    },
  },
  {
    number: 36,
    title:
      'a durable subscription keeps what is published while it has no consumer; one that is not gets nothing from before its first',
    async run(stage) {
      const bus = await stage.connect()
      const publisher = await stage.connect()
      const topic = stage.name('topic')
      const driver = await stage.driver()
      const destinations = [
        { kind: 'topic', name: topic, durable: true },
        { kind: 'subscription', topic, name: 'kept', durable: true },
      ] as const
      await driver.declare({ destinations }, { create: true })
      const fleeting: unknown[] = []
      const sent = [
        (await publisher.publish(topic, 'before its first consumer')).id,
        (await publisher.publish(topic, 'and another')).id,
      ]
      await bus.subscribe(topic, 'fleeting', body => void fleeting.push(body), { durable: false })
      const received: string[] = []
      const consumer = await bus.subscribe(topic, 'kept', (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length === 2,
        () => `two messages; ${received.length} came`,
      )
      await consumer.stop()
      sent.push((await publisher.publish(topic, 'between two consumers')).id)
      await bus.subscribe(topic, 'kept', (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length === 3,
        () => `three messages; ${received.length} came`,
      )
      assertSameIds(received, sent)
      await eventually(
        () => fleeting.length === 1,
        () => `one message on the subscription that is not durable; came: ${fleeting.join(', ')}`,
      )
      assert.deepEqual(fleeting, ['between two consumers'])
    },
  },
  {
    number: 37,
    title: 'of 16 keys with 1,000 messages each, over 10 consumers, the order of each key is exact',
    source: 'dapr/dapr#6848',
    timeoutMs: 120_000,
    async run(stage) {
      const { keyOrder } = stage.capabilities.operations
      if (keyOrder === 'unsupported') return await refusedOrder(stage, { orderBy: 'key' })
      const buses = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const record = new KeyRecord()
      for (let n = 0; n < 10; n++) {
        await buses[n % 2]!.handle(queue, record.handler(), { orderBy: 'key', lanes: 4, concurrency: 8 })
      }
      await sendKeys(buses[0]!, queue, 16, 1000)
      await record.complete(16_000, 90_000)
      record.assertExact(16, 1000)
      return passed(keyOrder)
    },
  },
  {
    number: 38,
    title: 'a key is handled by one consumer at a time',
    source: 'OptimalBits/bull#2211',
    async run(stage) {
      const { keyOrder } = stage.capabilities.operations
      if (keyOrder === 'unsupported') return await refusedOrder(stage, { orderBy: 'key' })
      const buses = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const record = new KeyRecord()
      const handler = record.handler(async () => await new Promise(resolve => setTimeout(resolve, 1)))
      for (const bus of buses) await bus.handle(queue, handler, { orderBy: 'key', lanes: 4, concurrency: 10 })
      await sendKeys(buses[1]!, queue, 8, 100)
      await record.complete(800)
      record.assertExact(8, 100)
      assert.ok(record.mostAtOnce > 1, 'keys went on side by side')
      return passed(keyOrder)
    },
  },
  {
    number: 39,
    title: 'the order of a key holds under immediate and delayed retry; the others go on',
    source: 'spring-projects/spring-kafka#920, dapr/components-contrib#237',
    async run(stage) {
      const { keyOrder } = stage.capabilities.operations
      if (keyOrder === 'unsupported') return await refusedOrder(stage, { orderBy: 'key' })
      const buses = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const record = new KeyRecord()
      const handler = record.handler(({ key, n }, ctx) => {
        const failures = key === 'key-0' && n === 0 ? 2 : n % 10 === 3 ? 1 : 0
        if (ctx.attempt <= failures) throw new Error(`attempt ${ctx.attempt} of ${key} ${n}`)
      })
      const retry = { attempts: 3, immediate: 1, delays: [1500] }
      for (const bus of buses) await bus.handle(queue, handler, { orderBy: 'key', lanes: 4, concurrency: 10, retry })
      await sendKeys(buses[0]!, queue, 8, 50)
      await record.complete(400)
      record.assertExact(8, 50)
      const waited = record.handled.findIndex(({ key }) => key === 'key-0')
      assert.ok(waited >= 7 * 50, `the other keys were done before the one that waited; it came as number ${waited}`)
      return passed(keyOrder)
    },
  },
  {
    number: 40,
    title: 'a late reader of a log gets the history from where it asks; without a log it is refused',
    async run(stage) {
      const { history } = stage.capabilities.operations
      assert.equal(history, 'unsupported', 'an engine that keeps a log needs its half of this scenario')
      return await refusedHistory(stage, 'earliest')
    },
  },
  {
    number: 41,
    title: 'consumers join and leave under load: nothing is lost, and the order of each key is kept',
    timeoutMs: 120_000,
    async run(stage) {
      const { keyOrder } = stage.capabilities.operations
      if (keyOrder === 'unsupported') return await refusedOrder(stage, { orderBy: 'key' })
      const buses = [await stage.connect(), await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const record = new KeyRecord()
      const handler = record.handler(async () => await new Promise(resolve => setTimeout(resolve, 1)))
      const start = (bus: Bus) => bus.handle(queue, handler, { orderBy: 'key', lanes: 4, concurrency: 10 })
      await start(buses[0]!)
      const sending = sendKeys(buses[0]!, queue, 16, 200)
      let joined: Consumer | undefined
      for (let round = 1; round <= 6 && record.handled.length < 3200; round++) {
        joined = await start(buses[1 + (round % 2)]!)
        const goal = Math.min(3200, record.handled.length + 300)
        await eventually(
          () => record.handled.length >= goal,
          () => `${goal} messages in round ${round}; ${record.handled.length} came`,
        )
        await joined.stop()
      }
      await settled(sending, 'the sends')
      await record.complete(3200)
      record.assertExact(16, 200)
      return passed(keyOrder)
    },
  },
  {
    number: 42,
    title: 'a window of history can be replayed beside the live subscription; without a log it is refused',
    async run(stage) {
      const { history } = stage.capabilities.operations
      assert.equal(history, 'unsupported', 'an engine that keeps a log needs its half of this scenario')
      return await refusedHistory(stage, new Date(Date.now() - 1000))
    },
  },
]

/** What was handled, in order of success, and which keys have a handler now. */
class KeyRecord {
  readonly handled: Body[] = []
  mostAtOnce = 0
  readonly #running = new Set<string>()
  readonly #overlaps: string[] = []

  handler(work?: (body: Body, ctx: Context) => unknown): (body: unknown, ctx: Context) => Promise<void> {
    return async (given, ctx) => {
      const body = given as Body
      if (this.#running.has(body.key)) this.#overlaps.push(body.key)
      this.#running.add(body.key)
      this.mostAtOnce = Math.max(this.mostAtOnce, this.#running.size)
      try {
        await work?.(body, ctx)
        this.handled.push(body)
      } finally {
        this.#running.delete(body.key)
      }
    }
  }

  async complete(count: number, timeoutMs?: number): Promise<void> {
    await eventually(
      () => this.handled.length >= count,
      () => `${count} messages; ${this.handled.length} came`,
      timeoutMs,
    )
  }

  assertExact(keys: number, each: number): void {
    assert.deepEqual(this.#overlaps, [], 'two handlers of one key ran at once')
    const expected = Array.from({ length: each }, (_, n) => n)
    for (let key = 0; key < keys; key++) {
      const numbers = this.handled.filter(body => body.key === `key-${key}`).map(({ n }) => n)
      assert.deepEqual(numbers, expected, `the order of key-${key}`)
    }
  }
}

/** Each key's messages in order, the keys in turn. */
async function sendKeys(bus: Bus, queue: string, keys: number, each: number): Promise<void> {
  for (let from = 0; from < each; from += 50) {
    const sends: Promise<unknown>[] = []
    for (let n = from; n < Math.min(from + 50, each); n++) {
      for (let k = 0; k < keys; k++) {
        const key = `key-${k}`
        sends.push(bus.send(queue, { key, n } satisfies Body, { key }))
      }
    }
    await settled(Promise.all(sends), `${sends.length} sends`)
  }
}

export async function refusedOrder(stage: Stage, options: ConsumeOptions): Promise<Outcome> {
  const bus = await stage.connect()
  await rejectsWith(
    'unsupported',
    bus.handle(stage.name('queue'), () => undefined, options),
  )
  return 'refused'
}

async function refusedHistory(stage: Stage, from: 'earliest' | Date): Promise<Outcome> {
  const bus = await stage.connect()
  await rejectsWith(
    'unsupported',
    bus.subscribe(stage.name('topic'), 'late', () => undefined, { from }),
  )
  return 'refused'
}
