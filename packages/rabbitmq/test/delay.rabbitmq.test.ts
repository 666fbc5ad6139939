import { createHash } from 'node:crypto'
import type { Destination, Driver, Outgoing, Source, WireMessage } from '@chasqui/driver'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  brokerUrl,
  Collector,
  foreignConnection,
  inSeconds,
  messageOf,
  openDriver,
  openProxy,
  poll,
  told,
  uniqueName,
} from './fixture.ts'

const create = { create: true }
const undeliverable = 'chasqui.undeliverable.delayed'

async function openWith(...destinations: readonly Destination[]): Promise<Driver> {
  const driver = await openDriver()
  await driver.declare({ destinations }, create)
  return driver
}

function queue(name: string, lanes?: number): Destination {
  return { kind: 'queue', name, durable: true, lanes }
}

function delayed(name: string, text: string, delayMs: number, fields: Partial<WireMessage> = {}): Outgoing {
  return { to: { kind: 'queue', name }, message: messageOf(text, { notBefore: Date.now() + delayMs, ...fields }) }
}

async function collect(driver: Driver, source: Source): Promise<Collector & { arrivals: Map<string, number> }> {
  const sink = Object.assign(new Collector(), { arrivals: new Map<string, number>() })
  const lanes = new Map<string, number>()
  const receiver = await driver.receive(
    source,
    {
      deliver: batch => {
        sink.deliver(batch)
        lanes.set(batch.lane, batch.epoch)
        for (const { message } of batch.items) sink.arrivals.set(Buffer.from(message.body).toString(), Date.now())
      },
      revoke: (lane, epoch) => sink.revoke(lane, epoch),
      fail: error => sink.fail(error),
    },
    { window: 1000, order: 'none' },
  )
  onTestFinished(() => receiver.stop())
  return sink
}

describe.runIf(brokerUrl)('delay', () => {
  test('[notBefore] is never early, also for many at once; the past means now [hard-promises 2]', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    const sink = await collect(driver, { kind: 'queue', name })
    const delays = [-1000, 0, 1, 99, 100, 101, 250, 700, 1500]
    const batch = delays.flatMap(delayMs =>
      Array.from({ length: 20 }, (_, index) => delayed(name, `${delayMs}/${index}`, delayMs)),
    )
    expect(told(await driver.send(batch, inSeconds(20)))).toEqual(batch.map(() => 'ok'))
    await poll(() => expect(sink.items.length).toBe(batch.length))
    for (const { message } of batch) {
      const text = Buffer.from(message.body).toString()
      expect(sink.arrivals.get(text)).toBeGreaterThanOrEqual(message.notBefore!)
    }
  })

  test('[headers] arrive as they were sent, with nothing of the detour, and the message can go round again and again', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    const sink = await collect(driver, { kind: 'queue', name })
    let message = messageOf('a', { headers: { mine: 1 }, key: 'k', type: 't', notBefore: Date.now() + 300 })
    for (let round = 1; round <= 3; round++) {
      await driver.send([{ to: { kind: 'queue', name }, message }], inSeconds(10))
      await poll(() => expect(sink.items.length).toBe(round))
      expect(sink.items.at(-1)!.message).toMatchObject({ id: 'a', type: 't', key: 'k', notBefore: message.notBefore })
      expect(sink.items.at(-1)!.message.headers).toEqual({ mine: 1 })
      message = { ...sink.items.at(-1)!.message, notBefore: Date.now() + 300 }
    }
  })

  test('[headers] a death of another queue stays, and does not stop a delayed copy', async () => {
    const name = uniqueName('.waiting')
    const driver = await openWith(queue(name))
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(`${name}.waiting`, {
      durable: true,
      arguments: { 'x-message-ttl': 1, 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': name },
    })
    const sink = await collect(driver, { kind: 'queue', name })
    for (const round of [1, 2]) {
      channel.publish('', `${name}.waiting`, { messageId: 'a' }, Buffer.from('a'))
      await poll(() => expect(sink.items.length).toBe(2 * round - 1))
      const { message } = sink.items.at(-1)!
      expect(message.headers['x-death']).toMatchObject([{ queue: `${name}.waiting`, count: 1 }])
      const copy = { ...message, notBefore: Date.now() + 100 }
      expect(told(await driver.send([{ to: { kind: 'queue', name }, message: copy }], inSeconds(10)))).toEqual(['ok'])
      await poll(() => expect(sink.items.length).toBe(2 * round))
    }
  })

  test('[expiresAt] counts from sending, and does not shorten the delay', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    const sink = await collect(driver, { kind: 'queue', name })
    const message = delayed(name, 'a', 600, { expiresAt: Date.now() + 200 })
    await driver.send([message], inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(1))
    expect(sink.arrivals.get('a')).toBeGreaterThanOrEqual(message.message.notBefore!)
    expect(sink.items[0]!.message.expiresAt).toBe(message.message.expiresAt)
  })

  test('[targets] a lane, a subscription alone, and a topic with all its subscriptions', async () => {
    const name = uniqueName(
      '.a',
      '.b.lane-0',
      '.b.lane-1',
      '.b.lane-members',
      '.q.lane-0',
      '.q.lane-1',
      '.q.lane-members',
    )
    const topic = name
    const subscription = (of: string, lanes?: number): Destination => ({
      kind: 'subscription',
      topic,
      name: of,
      durable: true,
      lanes,
    })
    const driver = await openWith(
      { kind: 'topic', name: topic, durable: true, lanes: 2 },
      subscription('a'),
      subscription('b', 2),
      queue(`${name}.q`, 2),
    )
    const a = await collect(driver, { kind: 'subscription', topic, name: 'a' })
    const b = await collect(driver, { kind: 'subscription', topic, name: 'b' })
    const q = await collect(driver, { kind: 'queue', name: `${name}.q` })
    const later = (text: string): WireMessage =>
      messageOf(text, { key: text, type: 'some.type', notBefore: Date.now() + 200 })
    const sent: Outgoing[] = [
      ...['k0', 'k1', 'k2', 'k3'].map(text => ({ to: { kind: 'topic', name: topic } as const, message: later(text) })),
      { to: { kind: 'subscription', topic, name: 'b' }, message: later('b alone') },
      ...['q0', 'q1', 'q2'].map(text => ({ to: { kind: 'queue', name: `${name}.q` } as const, message: later(text) })),
    ]
    expect(told(await driver.send(sent, inSeconds(10)))).toEqual(sent.map(() => 'ok'))
    await poll(() => expect(q.texts.sort()).toEqual(['q0', 'q1', 'q2']))
    await poll(() => expect(b.texts.sort()).toEqual(['b alone', 'k0', 'k1', 'k2', 'k3']))
    await poll(() => expect(a.texts.sort()).toEqual(['k0', 'k1', 'k2', 'k3']))
    for (const { message } of [...a.items, ...b.items]) expect(message.type).toBe('some.type')
  })

  test('[topic] messages for one without subscriptions go nowhere and stop nobody [hard-promises 2]', async () => {
    const name = uniqueName('.q')
    const driver = await openWith({ kind: 'topic', name, durable: true }, queue(`${name}.q`))
    const sink = await collect(driver, { kind: 'queue', name: `${name}.q` })
    const lost = Array.from({ length: 60 }, (_, index) => ({
      to: { kind: 'topic' as const, name },
      message: messageOf(`lost ${index}`, { type: 't', notBefore: Date.now() + 200 }),
    }))
    expect(told(await driver.send([...lost, delayed(`${name}.q`, 'a', 400)], inSeconds(10)))).toEqual(
      Array(61).fill('ok'),
    )
    await poll(() => expect(sink.texts).toEqual(['a']))
  })

  test('[vanished] what is due for a queue that was deleted is found in the catch-all', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    await driver.send([delayed(name, `orphan of ${name}`, 1000)], inSeconds(10))
    const connection = await foreignConnection()
    await (await connection.openChannel()).deleteQueue(name)
    const seen = async () => {
      const looking = await connection.openChannel()
      const texts: string[] = []
      for (let one = await looking.get(undeliverable); one !== undefined; one = await looking.get(undeliverable)) {
        texts.push(Buffer.from(one.body).toString())
      }
      await looking.close()
      return texts
    }
    await poll(async () => expect(await seen()).toContain(`orphan of ${name}`))

    // The next delayed message for a queue of that name brings it back.
    const another = await openWith(queue(name))
    const sink = await collect(another, { kind: 'queue', name })
    await another.send([delayed(name, 'next', 100)], inSeconds(10))
    await poll(() => expect(sink.texts.toSorted()).toEqual(['next', `orphan of ${name}`]))
    expect(sink.items.every(({ message }) => Object.keys(message.headers).length === 0)).toBe(true)
    expect(await seen()).not.toContain(`orphan of ${name}`)
  })

  test('[missing] a queue that never was is refused at once, its neighbours go', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    const sent = await driver.send(
      [delayed(`${name}.absent`, 'a', 100), delayed(name, 'b', 100), delayed(name, 'c', -1)],
      inSeconds(10),
    )
    expect(told(sent)).toEqual(['destination-missing', 'ok', 'ok'])
    expect(sent[0]).toMatchObject({ error: { message: expect.stringContaining(`${name}.absent`) } })
  })

  test('[vanished] a queue of ours is made again for a delayed message', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    await (await (await foreignConnection()).openChannel()).deleteQueue(name)
    expect(told(await driver.send([delayed(name, 'a', 100)], inSeconds(10)))).toEqual(['ok'])
    const sink = await collect(driver, { kind: 'queue', name })
    await poll(() => expect(sink.texts).toEqual(['a']))
  })

  test('[limit] a moment that is too far away is refused', async () => {
    const name = uniqueName()
    const driver = await openWith(queue(name))
    const days = 86_400_000
    const sent = await driver.send([delayed(name, 'a', 311 * days), delayed(name, 'b', 310 * days)], inSeconds(10))
    expect(told(sent)).toEqual(['delay-unsupported', 'ok'])
    const channel = await (await foreignConnection()).openChannel()
    const taken = await channel.get('chasqui.27.delayed', { noAck: true })
    expect(taken).toBeDefined()
  })

  test('[names] long ones and dotted ones have ways of their own', async () => {
    const stem = uniqueName('.x', `.${'y'.repeat(180)}`)
    const names = [stem, `${stem}.x`, `${stem}.${'y'.repeat(180)}`]
    const driver = await openWith(...names.map(name => queue(name)))
    const sinks = await Promise.all(names.map(name => collect(driver, { kind: 'queue', name })))
    const sent = names.map((name, index) => delayed(name, `${index}`, 100 * index + 100))
    expect(told(await driver.send(sent, inSeconds(10)))).toEqual(['ok', 'ok', 'ok'])
    for (const [index, sink] of sinks.entries()) await poll(() => expect(sink.texts).toEqual([`${index}`]))
    expect(createHash('sha256').update(names[2]!).digest('hex')).toHaveLength(64)
  })

  test('[reconnect] delays go on after a lost connection', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openDriver({ urls: [proxy.url] })
    await driver.declare({ destinations: [queue(name)] }, create)
    const sink = await collect(driver, { kind: 'queue', name })
    expect(told(await driver.send([delayed(name, 'a', 400)], inSeconds(10)))).toEqual(['ok'])
    proxy.cut()
    await poll(() => expect(driver.state).toBe('down'))
    expect(told(await driver.send([delayed(name, 'b', 100)], inSeconds(20)))).toEqual(['ok'])
    await poll(() => expect(new Set(sink.texts)).toEqual(new Set(['a', 'b'])))
  })
})
