/** Section A: what is sent arrives, whole and once, where it should and nowhere else. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, command, event } from '@chasqui/core'
import { type Incoming, isChasquiError } from '@chasqui/driver'
import { eventually, gate, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import type { Scenario } from './scenario.ts'

type Headers = Record<string, string | number | boolean>

export const delivery: readonly Scenario[] = [
  {
    number: 1,
    title: '100 messages sent are received with equal ids, bytes and headers',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const sent = new Map<string, { body: Buffer; headers: Headers }>()
      for (let n = 0; n < 100; n++) {
        const body = randomBytes(n * 10)
        const headers: Headers = { n, even: n % 2 === 0, name: `message ${n}`, share: n / 100 }
        sent.set((await bus.send(queue, body, { headers })).id, { body, headers })
      }
      const received: string[] = []
      await bus.handle(queue, (body, ctx) => {
        const expected = sent.get(ctx.id!)
        assert.ok(expected !== undefined, `an id that was not sent: ${ctx.id}`)
        assert.deepEqual(Buffer.from(body as Uint8Array), expected.body)
        assert.deepEqual({ ...ctx.headers }, expected.headers)
        received.push(ctx.id!)
      })
      await eventually(
        () => received.length >= 100,
        () => `100 messages equal to what was sent; ${received.length} were`,
      )
      assertSameIds(received, sent.keys())
    },
  },
  {
    number: 2,
    title: '5,000 messages of 50 producers reach 50 consumers of one queue, none lost, none extra',
    async run(stage) {
      const [producers, consumers] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const received: string[] = []
      for (let n = 0; n < 50; n++) await consumers.handle(queue, (_, ctx) => void received.push(ctx.id!))
      const sent: string[] = []
      const produce = async () => {
        for (let n = 0; n < 100; n++) sent.push((await producers.send(queue, { n })).id)
      }
      await Promise.all(Array.from({ length: 50 }, produce))
      await eventually(
        () => received.length >= 5000,
        () => `5,000 messages; ${received.length} came`,
      )
      await nothingMore(producers, consumers, stage.name('marker'))
      assertSameIds(received, sent)
    },
  },
  {
    number: 3,
    title: 'of 20 topics at once no message crosses into another',
    async run(stage) {
      const bus = await stage.connect()
      const topics = Array.from({ length: 20 }, (_, n) => stage.name(`topic-${n}`))
      const received = new Map<string, string[]>(topics.map(topic => [topic, []]))
      const sent = new Map<string, string[]>(topics.map(topic => [topic, []]))
      await Promise.all(
        topics.map(topic => bus.subscribe(topic, 'all', (_, ctx) => void received.get(topic)!.push(ctx.id!))),
      )
      const publish = async (topic: string) => {
        for (let n = 0; n < 50; n++) sent.get(topic)!.push((await bus.publish(topic, { n })).id)
      }
      await Promise.all(topics.map(publish))
      await eventually(
        () => topics.every(topic => received.get(topic)!.length >= 50),
        () => `50 messages on each topic: ${topics.map(topic => received.get(topic)!.length)}`,
      )
      for (const topic of topics) assertSameIds(received.get(topic)!, sent.get(topic)!)
    },
  },
  {
    number: 4,
    title: 'publishing to a topic without subscription succeeds and reaches nobody, then or later',
    async run(stage) {
      const bus = await stage.connect()
      const [lonely, other] = [stage.name('lonely'), stage.name('other')]
      const received: unknown[] = []
      await bus.subscribe(other, 'all', body => void received.push(body))
      for (let n = 0; n < 20; n++) await bus.publish(lonely, 'to nobody')
      await bus.subscribe(lonely, 'late', body => void received.push(body))
      await Promise.all([bus.publish(other, 'to other'), bus.publish(lonely, 'to the late one')])
      await eventually(
        () => received.length >= 2,
        () => `two messages; came: ${received}`,
      )
      assert.deepEqual(received.sort(), ['to other', 'to the late one'])
    },
  },
  {
    number: 5,
    title: "send reaches one consumer of the queue, publish each of the topic's subscriptions",
    async run(stage) {
      const bus = await stage.connect()
      const [queue, topic] = [stage.name('queue'), stage.name('topic')]
      const fromQueue: string[] = []
      const bySubscription: Record<string, string[]> = { first: [], second: [], third: [] }
      for (let n = 0; n < 3; n++) await bus.handle(queue, (_, ctx) => void fromQueue.push(ctx.id!))
      for (const [name, ids] of Object.entries(bySubscription)) {
        for (let n = 0; n < 2; n++) await bus.subscribe(topic, name, (_, ctx) => void ids.push(ctx.id!))
      }
      const [sent, published]: [string[], string[]] = [[], []]
      for (let n = 0; n < 30; n++) {
        sent.push((await bus.send(queue, n)).id)
        published.push((await bus.publish(topic, n)).id)
      }
      const all = () => [fromQueue, ...Object.values(bySubscription)]
      await eventually(
        () => all().every(ids => ids.length >= 30),
        () => `30 messages each: ${all().map(ids => ids.length)}`,
      )
      assertSameIds(fromQueue, sent)
      for (const ids of Object.values(bySubscription)) assertSameIds(ids, published)
    },
  },
  {
    number: 6,
    title: 'every received message bears source, destination, id, type and time',
    async run(stage) {
      const bus = await stage.connect({ name: 'the-source' })
      const driver = await stage.driver()
      const Placed = event<{ n: number }>(stage.name('placed'), { destination: stage.name('orders') })
      const Charge = command<{ n: number }>(stage.name('charge'), { destination: stage.name('charges') })
      const topology = [
        { kind: 'topic', name: Placed.destination, durable: true },
        { kind: 'subscription', topic: Placed.destination, name: 'all', durable: true },
        { kind: 'queue', name: Charge.destination, durable: true },
      ] as const
      await driver.declare({ destinations: topology }, { create: true })
      const received = new Map<string, { lane: string; item: Incoming }>()
      const sources = [
        { kind: 'subscription', topic: Placed.destination, name: 'all' },
        { kind: 'queue', name: Charge.destination },
      ] as const
      for (const source of sources) {
        const receiver = await driver.receive(
          source,
          {
            deliver({ lane, epoch, items }) {
              for (const item of items) received.set(item.message.id ?? '', { lane, item })
              void receiver.settle(
                lane,
                epoch,
                items.map(({ tag }) => tag),
                'ack',
              )
            },
            revoke: async () => undefined,
            fail: error => assert.fail(error),
          },
          { window: 10, order: 'none' },
        )
      }
      const before = Date.now()
      const sent = [
        { ...(await bus.publish(Placed, { n: 1 })), type: Placed.type, destination: Placed.destination },
        { ...(await bus.send(Charge, { n: 2 })), type: Charge.type, destination: Charge.destination },
      ]
      await eventually(
        () => received.size >= 2,
        () => `two messages; ${received.size} came`,
      )
      for (const { id, type, destination } of sent) {
        const { lane, item } = received.get(id)!
        assert.equal(item.message.type, type)
        assert.equal(item.message.attributes.source, 'the-source')
        assert.ok(lane.startsWith(destination), `the lane ${lane} tells the destination ${destination}`)
        // Some wires keep whole seconds only.
        const time = item.message.time
        assert.ok(
          time !== undefined && time >= before - 1000 && time <= Date.now(),
          `the time ${time} is that of the send`,
        )
      }
    },
  },
  {
    number: 7,
    title: 'Unicode headers, numbers, booleans, empty bodies, all bytes and each format round-trip',
    async run(stage) {
      const bus = await stage.connect()
      const headers: Headers = {
        größe: 'Maß ☃ 🎈',
        名前: 'チャスキ',
        empty: '',
        zero: 0,
        negative: -1,
        large: Number.MAX_SAFE_INTEGER,
        fraction: 0.1,
        yes: true,
        no: false,
      }
      const bodies: readonly unknown[] = [
        Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
        Buffer.alloc(0),
        '',
        'Grüße ☃ 🎈 \0 \n',
        { text: 'Maß ☃ 🎈', nested: { list: [1, -2.5, null, true, ''] }, __proto__: null },
        [],
        null,
        42.5,
        true,
      ]
      for (const [index, body] of bodies.entries()) {
        const queue = stage.name(`plain-${index}`)
        await bus.send(queue, body, { headers })
        const { received, receivedHeaders } = await one(bus, queue)
        assert.deepEqual(plain(received), plain(body))
        assert.deepEqual(receivedHeaders, headers)
      }
      const formats: readonly (readonly [string, unknown])[] = [
        ['json', { n: 1, text: '☃' }],
        ['text', 'Grüße ☃'],
        ['bytes', Buffer.from([0, 255, 128])],
      ]
      for (const [format, body] of formats) {
        const Contract = command(stage.name(`format-${format}`), { format })
        await bus.send(Contract, body)
        assert.deepEqual(plain((await one(bus, Contract.destination)).received), plain(body))
      }
    },
  },
  {
    number: 8,
    title: 'a body at the size limit passes; one byte more is refused before it reaches the wire',
    async run(stage) {
      for (const maxBodyBytes of [1000, undefined]) {
        const limit = maxBodyBytes ?? 1_000_000
        const bus = await stage.connect(maxBodyBytes === undefined ? {} : { maxBodyBytes })
        const queue = stage.name(`limit-${limit}`)
        const whole = randomBytes(limit)
        const sent = [(await bus.send(queue, whole)).id]
        await rejectsWith('body-too-large', bus.send(queue, Buffer.alloc(limit + 1)))
        sent.push((await bus.send(queue, 'after it')).id)
        const bodies: unknown[] = []
        const ids: string[] = []
        await bus.handle(queue, (body, ctx) => {
          bodies.push(body)
          ids.push(ctx.id!)
        })
        await eventually(
          () => ids.length >= 2,
          () => `two messages; ${ids.length} came`,
        )
        assertSameIds(ids, sent)
        const bytes = bodies.find(body => body instanceof Uint8Array)
        assert.ok(bytes instanceof Uint8Array && Buffer.compare(bytes, whole) === 0, 'the bytes at the limit are equal')
      }
    },
  },
  {
    number: 9,
    title: 'send and publish resolve once the engine has confirmed; an absent destination is a typed error',
    async run(stage) {
      const bus = await stage.connect()
      const [queue, topic] = [stage.name('queue'), stage.name('topic')]
      const received: string[] = []
      await bus.subscribe(topic, 'all', (_, ctx) => void received.push(ctx.id!))
      await bus.send(queue, 'first')
      if (stage.process !== undefined) {
        await stage.process.freeze()
        let resolved = 0
        const sends = [bus.send(queue, 'unconfirmed'), bus.publish(topic, 'unconfirmed')].map(send =>
          send.finally(() => resolved++),
        )
        await sleep(300)
        const early = resolved
        await stage.process.thaw()
        await settled(Promise.all(sends), 'the sends to resolve once the engine answers again')
        assert.equal(early, 0, 'a send resolved while the engine could not have answered')
      } else {
        await bus.send(queue, 'second')
        await bus.publish(topic, 'second')
      }
      const fromQueue: string[] = []
      await bus.handle(queue, (_, ctx) => void fromQueue.push(ctx.id!))
      await eventually(
        () => fromQueue.length >= 2 && received.length >= 1,
        () => `what was confirmed: ${fromQueue.length} of 2, ${received.length} of 1`,
      )
      assert.ok(stage.capabilities.properties.detectsMissing, 'an engine that cannot tell needs a rule of its own here')
      const absent = { declare: 'never' } as const
      await rejectsWith('destination-missing', bus.send(stage.name('absent'), 1, absent))
      await rejectsWith('destination-missing', bus.publish(stage.name('absent'), 1, absent))
      await rejectsWith(
        'destination-missing',
        bus.handle(stage.name('absent'), () => undefined, absent),
      )
      await rejectsWith(
        'destination-missing',
        bus.subscribe(stage.name('absent'), 'all', () => undefined, absent),
      )
    },
  },
  {
    number: 11,
    title: 'of 10,000 sends in flight at close() every one settles, and what resolved is there',
    async run(stage) {
      const queue = stage.name('queue')
      // Keeps a memory: engine alive while the other bus closes.
      const reader = await stage.connect()
      const writer = await stage.connect()
      await writer.send(queue, -1)
      const confirmed: number[] = [-1]
      const refused = new Set<number>()
      const sends = Array.from({ length: 10_000 }, (_, n) =>
        writer.send(queue, n).then(
          () => void confirmed.push(n),
          error => {
            assert.ok(isChasquiError(error), `a send failed without a code: ${error}`)
            refused.add(n)
          },
        ),
      )
      await settled(writer.close(), 'close() with 10,000 sends in flight')
      await settled(Promise.all(sends), 'each of the sends to settle')
      assert.equal(confirmed.length + refused.size, 10_001)
      const received: number[] = []
      await reader.handle(queue, body => void received.push(body as number))
      await eventually(
        () => received.length >= confirmed.length,
        () => `${confirmed.length} confirmed messages; ${received.length} came`,
      )
      assertSameIds(received, confirmed, { doubtful: refused })
    },
  },
]

/** Fails unless the promise rejects with a ChasquiError of that code, or of one of those. */
export async function rejectsWith(codes: string | readonly string[], promise: Promise<unknown>): Promise<void> {
  const code = String(codes)
  const result = await settled(
    promise.then(
      value => ({ value }),
      (error: unknown) => ({ error }),
    ),
    `a rejection with ${code}`,
  )
  assert.ok('error' in result, `expected a rejection with ${code}, and the call succeeded`)
  assert.ok(isChasquiError(result.error), `expected the code ${code}, and this has none: ${result.error}`)
  assert.ok(code.split(',').includes(result.error.code), `${code}, not ${result.error.code}: ${result.error.message}`)
}

/** Sends a marker through a queue of its own, so that whatever was on its way before has had its time. */
async function nothingMore(sender: Bus, consumer: Bus, queue: string): Promise<void> {
  const arrived = gate()
  await consumer.handle(queue, () => arrived.open())
  await sender.send(queue, 'marker')
  await settled(arrived.opened, 'the marker')
}

async function one(bus: Bus, queue: string): Promise<{ received: unknown; receivedHeaders: object }> {
  const found = Promise.withResolvers<{ received: unknown; receivedHeaders: object }>()
  const consumer = await bus.handle(queue, (received, ctx) => {
    found.resolve({ received, receivedHeaders: { ...ctx.headers } })
  })
  const result = await settled(found.promise, `a message on ${queue}`)
  await consumer.stop()
  return result
}

/** Bytes compare equal whichever class holds them, objects whatever their prototype. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value]
  return value === undefined ? undefined : JSON.parse(JSON.stringify(value))
}
