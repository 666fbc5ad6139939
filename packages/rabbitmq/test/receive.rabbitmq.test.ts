import type { Driver, Receiver, Source } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import {
  brokerUrl,
  Collector,
  foreignConnection,
  inSeconds,
  messageOf,
  openDriver,
  openProxy,
  poll,
  texts,
  told,
  toQueue,
  uniqueName,
} from './fixture.ts'

interface Setting {
  readonly driver: Driver
  readonly sink: Collector
  readonly receiver: Receiver
  readonly source: Source
}

async function receiving(name: string, window = 100, urls = [brokerUrl]): Promise<Setting> {
  const driver = await openDriver({ urls })
  await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
  const source: Source = { kind: 'queue', name }
  const sink = new Collector()
  return { driver, sink, source, receiver: await driver.receive(source, sink, { window, order: 'none' }) }
}

/** Acknowledges what has come since `from`. */
async function ack({ sink, receiver }: Setting, from = 0): Promise<void> {
  for (const { lane, epoch, tag } of sink.items.slice(from)) {
    expect(await receiver.settle(lane, epoch, [tag], 'ack')).toBe('done')
  }
}

async function ready({ driver, source }: Setting): Promise<number | undefined> {
  return (await driver.inspector?.depth(source))?.ready
}

describe.runIf(brokerUrl)('receive', () => {
  test('[delivery] brings messages in order with all they bear, several to a batch', async () => {
    const name = uniqueName()
    const setting = await receiving(name, 1000)
    const { driver, sink } = setting
    const time = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
    const message = messageOf('first', {
      type: 'order.placed',
      attributes: { source: 'shop', causationid: 'c' },
      headers: { color: 'rot', größe: 1.5, n: 7, yes: true },
      contentType: 'application/json',
      contentEncoding: 'identity',
      key: 'k',
      correlationId: 'corr',
      replyTo: 'there',
      time,
      expiresAt: time + 1e12,
    })
    await driver.send([{ to: { kind: 'queue', name }, message }], inSeconds(10))
    await driver.send(toQueue(name, ...texts(500)), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(501))
    expect(sink.texts).toEqual(['first', ...texts(500)])
    expect(sink.items[0]).toEqual({
      lane: name,
      epoch: 1,
      tag: 1,
      redelivered: false,
      deliveries: 1,
      message: { ...message, notBefore: undefined },
    })
    expect(sink.batches.length).toBeLessThan(sink.items.length)
    await ack(setting)
    await poll(async () => expect(await ready(setting)).toBe(0))
  })

  test('[foreign] a message without properties comes through [DESIGN, foreign messages]', async () => {
    const name = uniqueName()
    const { sink } = await receiving(name)
    const channel = await (await foreignConnection()).openChannel()
    channel.publish('', name, {}, Buffer.from('plain'))
    await poll(() => expect(sink.texts).toEqual(['plain']))
    expect(sink.items[0]!.message).toMatchObject({
      id: undefined,
      type: undefined,
      contentType: undefined,
      headers: {},
    })
  })

  test('[requeue] comes back, counted, as redelivered [conformance 13, 15]', async () => {
    const name = uniqueName()
    const setting = await receiving(name)
    const { driver, sink, receiver } = setting
    await driver.send(toQueue(name, 'a'), inSeconds(10))
    for (const attempt of [1, 2, 3]) {
      await poll(() => expect(sink.items.length).toBe(attempt))
      const item = sink.items[attempt - 1]!
      expect(item).toMatchObject({ redelivered: attempt > 1, deliveries: attempt })
      expect(item.message.headers).toEqual({})
      expect(await receiver.settle(item.lane, item.epoch, [item.tag], attempt < 3 ? 'requeue' : 'ack')).toBe('done')
    }
    await receiver.stop()
    await poll(async () => expect(await ready(setting)).toBe(0))
  })

  test('[settle] out of order and in bulk settles those tags and no other [conformance 17]', async () => {
    const name = uniqueName()
    const setting = await receiving(name)
    const { driver, sink, receiver } = setting
    await driver.send(toQueue(name, ...texts(10)), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(10))
    const tags = sink.items.map(({ tag }) => tag)
    await receiver.settle(name, 1, [tags[7]!, tags[2]!, tags[9]!, tags[3]!], 'ack')
    await receiver.settle(name, 1, [tags[0]!], 'ack')
    await receiver.stop()
    const left = new Collector()
    const again = await driver.receive({ kind: 'queue', name }, left, { window: 10, order: 'none' })
    await poll(() => expect(left.items.length).toBe(5))
    expect(left.texts.sort()).toEqual(['m1', 'm4', 'm5', 'm6', 'm8'])
    await again.stop()
  })

  test('[settle] a later moment is unsupported [DESIGN, capabilities]', async () => {
    const name = uniqueName()
    const { driver, sink, receiver } = await receiving(name)
    await driver.send(toQueue(name, 'a'), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(1))
    await expect(receiver.settle(name, 1, [1], { requeueAt: Date.now() })).rejects.toMatchObject({
      code: 'unsupported',
    })
  })

  test('[window] bounds what is unsettled; 0 pauses; it can be raised and lowered under way [conformance 49, 51]', async () => {
    const name = uniqueName()
    const setting = await receiving(name, 5)
    const { driver, sink, receiver } = setting
    await driver.send(toQueue(name, ...texts(200)), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(5))

    await receiver.window(20)
    await poll(() => expect(sink.items.length).toBe(20))
    await poll(async () => expect(await ready(setting)).toBe(180))

    await receiver.window(0)
    await ack(setting)
    // A quorum queue tells its counts a moment late.
    await poll(async () => expect(await driver.inspector?.depth(setting.source)).toEqual({ ready: 180, consumers: 0 }))
    expect(sink.items.length).toBe(20)

    await receiver.window(10)
    await poll(() => expect(sink.items.length).toBe(30))
    await receiver.window(4)
    await poll(async () => expect(await ready(setting)).toBe(170))
    // Ten are out and four may be: nothing more comes until seven of them are settled.
    for (const { lane, epoch, tag } of sink.items.slice(20, 26)) await receiver.settle(lane, epoch, [tag], 'ack')
    await poll(async () => expect(await ready(setting)).toBe(170))
    expect(sink.items.length).toBe(30)
    await ack(setting, 26)
    await poll(() => expect(sink.items.length).toBe(34))
    await poll(async () => expect(await ready(setting)).toBe(166))
    expect(sink.items.length).toBe(34)
    await expect(receiver.window(-1)).rejects.toMatchObject({ code: 'option-invalid' })
    await expect(receiver.window(1.5)).rejects.toMatchObject({ code: 'option-invalid' })
  })

  test('[stop] gives back what is unsettled, at once and twice; settling after it is stale [conformance 20, 45, 46]', async () => {
    const name = uniqueName()
    const setting = await receiving(name)
    const { driver, sink, receiver } = setting
    await driver.send(toQueue(name, ...texts(10)), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(10))
    await Promise.all([receiver.stop(), receiver.stop()])
    expect(await receiver.settle(name, 1, [1], 'ack')).toBe('stale')
    await poll(async () => expect(await ready(setting)).toBe(10))
    const next = new Collector()
    await driver.receive(setting.source, next, { window: 100, order: 'none' })
    await poll(() => expect(next.texts).toEqual(texts(10)))
    expect(next.items.every(({ redelivered, deliveries }) => redelivered && deliveries === 2)).toBe(true)
  })

  test('[competing] two receivers of one queue share it', async () => {
    const name = uniqueName()
    const one = await receiving(name, 1)
    const other = await receiving(name, 1)
    await one.driver.send(toQueue(name, 'a', 'b'), inSeconds(10))
    await poll(() => expect([...one.sink.texts, ...other.sink.texts].sort()).toEqual(['a', 'b']))
    expect([one.sink.items.length, other.sink.items.length]).toEqual([1, 1])
  })

  test('[reply] a queue of our own takes replies and is gone with us', async () => {
    const name = `t-reply-${uniqueName()}`
    const driver = await openDriver()
    const source: Source = { kind: 'reply', name }
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, { window: 10, order: 'none' })
    const another = await openDriver()
    const reply = [{ to: source, message: messageOf('yes') }] as const
    expect(await another.send(reply, inSeconds(10))).toEqual([{ ok: true, durable: false }])
    await poll(() => expect(sink.texts).toEqual(['yes']))
    await receiver.stop()
    expect(told(await another.send(reply, inSeconds(10)))).toEqual(['unroutable'])
  })

  test('[missing] a queue that is not there is destination-missing', async () => {
    const driver = await openDriver()
    await expect(
      driver.receive({ kind: 'queue', name: uniqueName() }, new Collector(), { window: 1, order: 'none' }),
    ).rejects.toMatchObject({ code: 'destination-missing' })
    expect(driver.state).toBe('up')
  })
})

describe.runIf(brokerUrl)('receive over what is lost', () => {
  test('[cut] the epoch is void, then consumers really consume; the unsettled come again [conformance 57]', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const { driver, sink, receiver } = await receiving(name, 100, [proxy.url])
    await driver.send(toQueue(name, ...texts(3)), inSeconds(10))
    await poll(() => expect(sink.items.length).toBe(3))
    await receiver.settle(name, 1, [1], 'ack')
    // The acknowledgement is on its way; a cut may come before it.
    await poll(async () => expect(await driver.inspector?.depth({ kind: 'queue', name })).toMatchObject({ ready: 0 }))
    for (const epoch of [1, 2, 3]) {
      const states: string[] = []
      const off = driver.onState(({ state }) => states.push(state))
      proxy.cut()
      await poll(() => expect(states).toEqual(['down', 'up']))
      off()
      expect(sink.revoked.at(-1)).toBe(epoch)
      expect(await receiver.settle(name, epoch, [2], 'ack')).toBe('stale')
      await driver.send(toQueue(name, `probe ${epoch}`), inSeconds(10))
      await poll(() => expect(sink.texts.at(-1)).toBe(`probe ${epoch}`))
      expect(sink.items.at(-1)?.epoch).toBe(epoch + 1)
    }
    expect(new Set(sink.texts.filter(text => text.startsWith('m')))).toEqual(new Set(texts(3)))
    expect(sink.failures).toEqual([])
  })

  test('[down] a declaration and a receiver wait for the connection', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openDriver({ urls: [proxy.url] })
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const declared = driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    await proxy.listen()
    await declared
    const sink = new Collector()
    await driver.receive({ kind: 'queue', name }, sink, { window: 1, order: 'none' })
    await driver.send(toQueue(name, 'a'), inSeconds(10))
    await poll(() => expect(sink.texts).toEqual(['a']))
  })

  test('[close] while it is down ends at once', async () => {
    const proxy = await openProxy()
    const { driver, receiver } = await receiving(uniqueName(), 1, [proxy.url])
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const declared = driver.declare({ destinations: [{ kind: 'topic', name: 't', durable: true }] }, { create: true })
    await Promise.all([driver.close(), expect(declared).rejects.toMatchObject({ code: 'closed' })])
    await receiver.stop()
  })

  test('[deleted underneath] a queue of ours is created and consumed again [conformance 58]', async () => {
    const name = uniqueName()
    const { driver, sink } = await receiving(name)
    await driver.send(toQueue(name, 'a'), inSeconds(10))
    await poll(() => expect(sink.texts).toEqual(['a']))
    const states: string[] = []
    driver.onState(({ state }) => states.push(state))
    const channel = await (await foreignConnection()).openChannel()
    await channel.deleteQueue(name)
    await poll(() => expect(states).toEqual(['down', 'up']))
    expect(sink.revoked).toEqual([1])
    await driver.send(toQueue(name, 'b'), inSeconds(10))
    await poll(() => expect(sink.texts).toEqual(['a', 'b']))
  })

  test('[deleted underneath] one that is not ours ends the receiver with destination-missing [conformance 58]', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, { durable: true })
    const driver = await openDriver()
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: false })
    const sink = new Collector()
    await driver.receive({ kind: 'queue', name }, sink, { window: 1, order: 'none' })
    await channel.deleteQueue(name)
    await poll(() => expect(sink.failures).toMatchObject([{ code: 'destination-missing' }]))
    await poll(() => expect(driver.state).toBe('up'))
  })

  test('[vanished] what the broker lost in our absence is there again before anything is sent', async () => {
    const name = uniqueName('.s', '.s.dead-letter')
    const proxy = await openProxy()
    const { driver } = await receiving(name, 1, [proxy.url])
    const another = uniqueName('.s', '.s.dead-letter')
    await driver.declare(
      { destinations: [{ kind: 'subscription', topic: another, name: 's', durable: true }] },
      { create: true },
    )
    await proxy.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    const sent = driver.send([{ to: { kind: 'topic', name: another }, message: messageOf('a') }], inSeconds(20))
    const channel = await (await foreignConnection()).openChannel()
    await channel.deleteQueue(name)
    await channel.deleteQueue(`${another}.s`)
    await channel.deleteExchange(another)
    await proxy.listen()
    expect(told(await sent)).toEqual(['ok'])
    await poll(async () =>
      expect(await driver.inspector?.depth({ kind: 'subscription', topic: another, name: 's' })).toMatchObject({
        ready: 1,
      }),
    )
    await poll(() => expect(driver.state).toBe('up'))
  })
})
