import type { Driver, Outgoing, SendResult } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import {
  brokerUrl,
  Collector,
  foreignConnection,
  inSeconds,
  messageOf,
  openDriver,
  openProxy,
  patienceMs,
  poll,
  texts,
  told,
  toQueue,
  uniqueName,
} from './fixture.ts'

async function openWithQueue(name: string, urls = [brokerUrl], engine: Record<string, unknown> = {}): Promise<Driver> {
  const driver = await openDriver({ urls, engine })
  await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
  return driver
}

/** What is in the queue, in order, taken out by a foreign program. */
async function takeAll(name: string): Promise<string[]> {
  const channel = await (await foreignConnection()).openChannel()
  const found: string[] = []
  for (;;) {
    const delivery = await channel.get(name, { noAck: true })
    if (delivery === undefined) return found
    found.push(delivery.body.toString())
  }
}

describe.runIf(brokerUrl)('send', () => {
  test('[batch] confirms each message, in order, more of them than may be unconfirmed', async () => {
    const name = uniqueName()
    const driver = await openWithQueue(name, [brokerUrl], { maxUnconfirmed: 7 })
    const results = await Promise.all([
      driver.send(toQueue(name, ...texts(50, 'a')), inSeconds(10)),
      driver.send(toQueue(name, ...texts(50, 'b')), inSeconds(10)),
      driver.send([], inSeconds(10)),
    ])
    expect(results.map(result => new Set(told(result)))).toEqual([new Set(['ok']), new Set(['ok']), new Set()])
    expect(await takeAll(name)).toEqual([...texts(50, 'a'), ...texts(50, 'b')])
  })

  test('[unroutable] a message to a queue that is not there fails, its neighbours do not', async () => {
    const name = uniqueName()
    const driver = await openWithQueue(name)
    const batch: Outgoing[] = [
      ...toQueue(name, 'a'),
      ...toQueue(`${name}.none`, 'b'),
      { to: { kind: 'reply', name: `${name}.gone` }, message: messageOf('c') },
      { to: { kind: 'topic', name: 'amq.topic' }, message: messageOf('nobody subscribed') },
      ...toQueue(name, 'd'),
    ]
    expect(told(await driver.send(batch, inSeconds(10)))).toEqual(['ok', 'unroutable', 'unroutable', 'ok', 'ok'])
    expect(await takeAll(name)).toEqual(['a', 'd'])
  })

  test('[header-invalid] a message that cannot be written fails alone', async () => {
    const name = uniqueName()
    const driver = await openWithQueue(name)
    const to = { kind: 'queue', name } as const
    const batch: Outgoing[] = [
      { to, message: messageOf('a') },
      { to, message: messageOf('b', { correlationId: 'x'.repeat(256) }) },
      { to, message: messageOf('c', { headers: { ['x'.repeat(256)]: 1 } }) },
      { to, message: messageOf('d', { headers: { big: 2n ** 70n } }) },
      { to, message: messageOf('e') },
    ]
    expect(told(await driver.send(batch, inSeconds(10)))).toEqual([
      'ok',
      'header-invalid',
      'header-invalid',
      'header-invalid',
      'ok',
    ])
    expect(await takeAll(name)).toEqual(['a', 'e'])
  })

  test('[send-refused] a queue at its limit that rejects', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, {
      durable: true,
      arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
    })
    const driver = await openWithQueue(name)
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['ok'])
    expect(told(await driver.send(toQueue(name, 'b'), inSeconds(10)))).toEqual(['send-refused'])
  })

  test('[deleted underneath] a queue of ours is created again and takes the message [conformance 58]', async () => {
    const name = uniqueName()
    const driver = await openWithQueue(name)
    const channel = await (await foreignConnection()).openChannel()
    await channel.deleteQueue(name)
    expect(told(await driver.send(toQueue(name, ...texts(5)), inSeconds(10)))).toEqual(Array(5).fill('ok'))
    expect((await takeAll(name)).sort()).toEqual(texts(5))
  })

  test('[deleted underneath] a queue that is not ours to create is unroutable [conformance 58]', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, { durable: true })
    const driver = await openDriver()
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: false })
    await channel.deleteQueue(name)
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['unroutable'])
  })

  test('[deleted underneath] a topic: what is on its way is in doubt, then it is there again', async () => {
    const name = uniqueName()
    const driver = await openDriver()
    await driver.declare({ destinations: [{ kind: 'topic', name, durable: true }] }, { create: true })
    const channel = await (await foreignConnection()).openChannel()
    await channel.deleteExchange(name)
    const batch: Outgoing[] = [{ to: { kind: 'topic', name }, message: messageOf('a') }]
    expect(told(await driver.send(batch, inSeconds(10)))).toEqual(['destination-missing?'])
    expect(told(await driver.send(batch, inSeconds(10)))).toEqual(['ok'])
  })
})

describe.runIf(brokerUrl)('send over a connection that is cut', () => {
  test('[down] waits, then sends; nothing twice [conformance 59]', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openWithQueue(name, [proxy.url])
    const states: string[] = []
    driver.onState(({ state }) => states.push(state))
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const sent = driver.send(toQueue(name, ...texts(20)), inSeconds(20))
    await poll(() => expect(states).toEqual(['down']))
    await proxy.listen()
    expect(told(await sent)).toEqual(Array(20).fill('ok'))
    expect(states).toEqual(['down', 'up'])
    expect(await takeAll(name)).toEqual(texts(20))
  })

  test('[deadline] what never left is not in doubt', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openWithQueue(name, [proxy.url])
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const [result] = await driver.send(toQueue(name, 'a'), Date.now() + 50)
    expect(result).toMatchObject({ ok: false, inDoubt: false, error: { code: 'send-timeout' } })
    expect(result?.ok === false && result.error.message).toMatch(/the connection is lost: /)
  })

  test('[deadline] what left and was not confirmed is in doubt, and a late confirm changes nothing', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openWithQueue(name, [proxy.url])
    proxy.freeze()
    expect(told(await driver.send(toQueue(name, 'a', 'b'), Date.now() + 50))).toEqual([
      'send-timeout?',
      'send-timeout?',
    ])
    proxy.thaw()
    expect(told(await driver.send(toQueue(name, 'c'), inSeconds(10)))).toEqual(['ok'])
    expect(await takeAll(name)).toEqual(['a', 'b', 'c'])
  })

  test(
    '[cut] what was on its way is in doubt, what waited is sent; every resolved id is there [conformance 56]',
    async () => {
      const name = uniqueName()
      const proxy = await openProxy()
      const driver = await openWithQueue(name, [proxy.url], { maxUnconfirmed: 50 })
      const sends: Promise<readonly SendResult[]>[] = []
      const ids = texts(5000)
      for (let at = 0; at < ids.length; at += 100) {
        sends.push(driver.send(toQueue(name, ...ids.slice(at, at + 100)), inSeconds(30)))
      }
      let settled = 0
      for (const sent of sends) void sent.then(() => settled++)
      for (const after of [5, 20]) {
        await poll(() => expect(settled).toBeGreaterThan(after))
        proxy.cut()
        await poll(() => expect(driver.state).toBe('down'))
        await poll(() => expect(driver.state).toBe('up'))
      }
      const outcomes = told((await Promise.all(sends)).flat())
      const counts = Object.groupBy(outcomes, outcome => outcome)
      expect(Object.keys(counts).filter(outcome => outcome !== 'ok' && outcome !== 'disconnected?')).toEqual([])
      expect(counts['disconnected?']?.length ?? 0).toBeLessThanOrEqual(100)

      const found = new Collector()
      const receiver = await driver.receive({ kind: 'queue', name }, found, { window: 6000, order: 'none' })
      await poll(async () => expect(await driver.inspector?.depth({ kind: 'queue', name })).toMatchObject({ ready: 0 }))
      await poll(() => expect(found.texts.length).toBeGreaterThanOrEqual(outcomes.filter(told => told === 'ok').length))
      const arrived = new Set(found.texts)
      expect(ids.filter((id, index) => outcomes[index] === 'ok' && !arrived.has(id))).toEqual([])
      expect(found.texts.length).toBe(arrived.size)
      await receiver.stop()
    },
    2 * patienceMs,
  )

  test('[close] sends what waits, while it is connected; what cannot be sent is closed [conformance 11, 53]', async () => {
    const name = uniqueName()
    const driver = await openWithQueue(name, [brokerUrl], { maxUnconfirmed: 5 })
    const sent = driver.send(toQueue(name, ...texts(100)), inSeconds(10))
    await Promise.all([driver.close(), driver.close()])
    expect(new Set(told(await sent))).toEqual(new Set(['ok']))
    expect(told(await driver.send(toQueue(name, 'late'), inSeconds(10)))).toEqual(['closed'])
    expect(await takeAll(name)).toEqual(texts(100))

    const proxy = await openProxy()
    const cut = await openWithQueue(name, [proxy.url])
    await proxy.refuse()
    await poll(() => expect(cut.state).toBe('down'))
    const waits = cut.send(toQueue(name, 'a'), inSeconds(60))
    await cut.close()
    expect(told(await waits)).toEqual(['closed'])
  })

  test('[buffer-full] the driver holds so many and no more', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openWithQueue(name, [proxy.url])
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const [outgoing] = toQueue(name, 'a')
    const waits = driver.send(Array(100_000).fill(outgoing), inSeconds(60))
    expect(told(await driver.send([outgoing!], inSeconds(60)))).toEqual(['buffer-full'])
    await driver.close()
    expect(new Set(told(await waits))).toEqual(new Set(['closed']))
  })
})
