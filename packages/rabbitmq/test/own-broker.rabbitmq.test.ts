/** What is shown only by a broker that may be alarmed, stopped and killed: a node of this file's own. */
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type BrokerControl, rabbitmq } from '../../../scripts/brokers.ts'
import {
  brokerUrl,
  Collector,
  inSeconds,
  messageOf,
  openDriver,
  patienceMs,
  poll,
  texts,
  told,
  toQueue,
} from './fixture.ts'

describe.runIf(brokerUrl)('a broker of our own', () => {
  let broker: BrokerControl
  let count = 0
  let name = ''

  beforeAll(async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chasqui-rabbitmq-'))
    broker = await rabbitmq({ name: 'driver-test', directory, port: 0, tlsPort: 0 })
    await broker.start()
  })
  afterAll(() => broker.remove())
  beforeEach(() => {
    name = `q${count++}`
  })

  async function openWithQueue(durable = true) {
    const driver = await openDriver({ urls: [broker.url] })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable }] }, { create: true })
    return driver
  }

  test('[blocked] in an alarm sends wait or time out, consumers go on, and declarations too [conformance 53, 61]', async () => {
    const driver = await openWithQueue()
    const states: string[] = []
    driver.onState(({ state, reason }) => states.push(reason === undefined ? state : `${state}: ${reason}`))
    await driver.send(toQueue(name, 'before'), inSeconds(10))
    await broker.setMemoryLimit(1_000_000)
    // The broker tells a connection that it is blocked once it publishes.
    const doubtful = driver.send(toQueue(name, 'first'), inSeconds(60))
    await poll(() => expect(states).toEqual(['blocked: low on memory']))
    const [late] = await driver.send(toQueue(name, 'late'), Date.now() + 100)
    expect(late).toMatchObject({ ok: false, inDoubt: false, error: { code: 'send-timeout' } })
    const waits = driver.send(toQueue(name, ...texts(10)), inSeconds(60))

    await driver.declare({ destinations: [{ kind: 'queue', name: `${name}.more`, durable: true }] }, { create: true })
    const sink = new Collector()
    const receiver = await driver.receive({ kind: 'queue', name }, sink, { window: 100, order: 'none' })
    await poll(() => expect(sink.texts[0]).toBe('before'))
    expect(await receiver.settle(name, 1, [1], 'ack')).toBe('done')

    const another = await openWithQueue()
    const lost = another.send(toQueue(name, 'lost'), inSeconds(60))
    await poll(() => expect(another.state).toBe('blocked'))
    await another.close()
    expect(told(await lost)).toEqual(['closed?'])

    await broker.setMemoryLimit(undefined)
    expect(told([...(await doubtful), ...(await waits)])).toEqual(Array(11).fill('ok'))
    await poll(() => expect(sink.texts.filter(text => text !== 'lost')).toEqual(['before', 'first', ...texts(10)]))
    expect(states.at(-1)).toBe('up')
  })

  test(
    '[restart] a broker that stops and comes back: consumers consume, transient queues are there again [conformance 55]',
    async () => {
      const durable = await openWithQueue()
      const durableName = name
      name = `${name}.transient`
      const transient = await openWithQueue(false)
      const sinks = [new Collector(), new Collector()]
      await durable.receive({ kind: 'queue', name: durableName }, sinks[0]!, { window: 10, order: 'none' })
      await transient.receive({ kind: 'queue', name }, sinks[1]!, { window: 10, order: 'none' })
      const states: string[] = []
      durable.onState(({ state }) => states.push(state))
      for (const end of ['restart', 'kill'] as const) {
        await broker[end]()
        if (end === 'kill') await broker.start()
        const sent = await Promise.all([
          durable.send(toQueue(durableName, end), inSeconds(30)),
          transient.send(toQueue(name, end), inSeconds(30)),
        ])
        expect(told(sent.flat())).toEqual(['ok', 'ok'])
        for (const sink of sinks) await poll(() => expect(sink.texts.at(-1)).toBe(end))
        await poll(() => expect([durable.state, transient.state]).toEqual(['up', 'up']))
      }
      expect(states.filter(state => state === 'down').length).toBeGreaterThanOrEqual(2)
    },
    4 * patienceMs,
  )

  test('[heartbeat] a broker that falls silent is given up after two intervals [amqp 4.2.7]', async () => {
    const driver = await openDriver({ urls: [broker.url], engine: { heartbeatSeconds: 1 } })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    const reasons: (string | undefined)[] = []
    driver.onState(({ state, reason }) => state === 'down' && reasons.push(reason))
    await broker.freeze()
    await poll(() => expect(driver.state).toBe('down'))
    await broker.thaw()
    expect(reasons).toEqual([expect.stringContaining('silent')])
    expect(told(await driver.send([{ to: { kind: 'queue', name }, message: messageOf('a') }], inSeconds(30)))).toEqual([
      'ok',
    ])
  })
})
