import { type Destination, type Driver, laneOf, type Outgoing, type Receiver } from '@chasqui/driver'
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

const create = { create: true }
const look = { create: false }
const endings = ['.lane-members', ...Array.from({ length: 6 }, (_, lane) => `.lane-${lane}`)]

function queue(name: string, lanes?: number): Destination {
  return { kind: 'queue', name, durable: true, lanes }
}

/** A message of each key in turn, so that the texts of one key count up. */
function keyed(name: string, keys: number, count: number, from = 0): Outgoing[] {
  return Array.from({ length: count * keys }, (_, index) => {
    const key = `k${index % keys}`
    return {
      to: { kind: 'queue', name },
      message: messageOf(`${key}:${from + Math.floor(index / keys)}`, { key }),
    }
  })
}

/** A process of its own, as far as the broker can tell, that acknowledges what it gets. */
class Process {
  readonly driver: Driver
  readonly sink = new Collector()
  readonly name: string
  /** Lanes from which something came since they were last revoked. */
  readonly lanes = new Set<string>()
  receiver: Receiver | undefined

  constructor(driver: Driver, name: string) {
    this.driver = driver
    this.name = name
  }

  async receive(order: 'key' | 'strict', isSettling = true): Promise<void> {
    const { sink, lanes } = this
    this.receiver = await this.driver.receive(
      { kind: 'queue', name: this.name },
      {
        deliver: batch => {
          sink.deliver(batch)
          lanes.add(batch.lane)
          if (!isSettling) return
          const tags = batch.items.map(({ tag }) => tag)
          void this.receiver!.settle(batch.lane, batch.epoch, tags, 'ack')
        },
        revoke: async (lane, epoch) => {
          lanes.delete(lane)
          await sink.revoke(lane, epoch)
        },
        fail: error => sink.fail(error),
      },
      { window: 1000, order },
    )
  }
}

async function startProcess(name: string, lanes: number, isSettling = true): Promise<Process> {
  const process = new Process(await openDriver(), name)
  await process.driver.declare({ destinations: [queue(name, lanes)] }, create)
  await process.receive(lanes === 1 ? 'strict' : 'key', isSettling)
  return process
}

function orderOf(all: readonly string[]): Map<string, number[]> {
  const byKey = new Map<string, number[]>()
  for (const text of all) {
    const [key, count] = text.split(':') as [string, string]
    byKey.set(key, [...(byKey.get(key) ?? []), Number(count)])
  }
  return byKey
}

describe.runIf(brokerUrl)('lanes', () => {
  test('[lanes] are quorum queues with one active consumer, and messages go to the lane of their key', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, 4)] }, create)
    expect(told(await driver.send(keyed(name, 20, 2), inSeconds(10)))).toEqual(Array(40).fill('ok'))
    const channel = await (await foreignConnection()).openChannel()
    const counts = Array(4).fill(0)
    for (let key = 0; key < 20; key++) counts[laneOf(`k${key}`, 4)] += 2
    for (let lane = 0; lane < 4; lane++) {
      const { messageCount } = await channel.declareQueue(`${name}.lane-${lane}`, { passive: true })
      expect(messageCount).toBe(counts[lane])
    }
    expect(await driver.inspector?.depth({ kind: 'queue', name })).toEqual({ ready: 40, consumers: 0 })
    expect(await (await openDriver()).inspector?.depth({ kind: 'queue', name })).toEqual({ ready: 40, consumers: 0 })
  })

  test('[waiting] tells of the lanes that are ours: who stands by for a lane misses nothing of it', async () => {
    const name = uniqueName(...endings)
    const source = { kind: 'queue', name } as const
    const [first, second] = [await openDriver(), await openDriver()]
    for (const driver of [first, second]) await driver.declare({ destinations: [queue(name, 1)] }, create)
    const [owning, standing] = [new Collector(), new Collector()]
    const owner = await first.receive(source, owning, { window: 5, order: 'strict' })
    await first.send(keyed(name, 1, 20), inSeconds(10))
    await poll(() => expect(owning.items).toHaveLength(5))
    const standby = await second.receive(source, standing, { window: 5, order: 'strict' })
    await poll(async () => expect(await owner.waiting!()).toBeGreaterThan(0))
    expect(await standby.waiting!()).toBe(0)
    await owner.stop()
    await poll(() => expect(standing.items).toHaveLength(5))
    await poll(async () => expect(await standby.waiting!()).toBeGreaterThan(0))
  })

  test('[lanes] their number is fixed: another is refused, none takes what is there, and looks find it', async () => {
    const name = uniqueName(...endings)
    const first = await openDriver()
    await first.declare({ destinations: [queue(name, 3)] }, create)
    await first.declare({ destinations: [queue(name, 3)] }, create)
    const other = await openDriver()
    for (const [lanes, options] of [
      [1, create],
      [2, create],
      [4, create],
      [2, look],
    ] as const) {
      await expect(other.declare({ destinations: [queue(name, lanes)] }, options)).rejects.toMatchObject({
        code: 'lanes-differ',
        details: { asked: lanes, found: 3 },
      })
    }
    expect(await other.plan({ destinations: [queue(name, 3), queue(name, 2)] })).toMatchObject([
      { action: 'none' },
      { action: 'conflict', difference: expect.stringContaining('created with 3 lanes') },
    ])
    for (const options of [create, look]) {
      const plain = await openDriver()
      await plain.declare({ destinations: [queue(name)] }, options)
      expect(told(await plain.send(keyed(name, 6, 1), inSeconds(10)))).toEqual(Array(6).fill('ok'))
    }
    expect(await first.inspector?.depth({ kind: 'queue', name })).toMatchObject({ ready: 12 })
  })

  test('[remove] takes all lanes with what waits in them, for whoever asks; then another number may be asked for', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, 3)] }, create)
    await driver.send(keyed(name, 6, 1), inSeconds(10))
    const other = await openDriver()
    expect(await other.inspector!.remove!({ kind: 'queue', name })).toBe(true)
    expect(await other.inspector!.remove!({ kind: 'queue', name })).toBe(false)
    expect(await other.inspector!.depth({ kind: 'queue', name })).toBeUndefined()
    await other.declare({ destinations: [queue(name, 2)] }, create)
    expect(await other.inspector!.depth({ kind: 'queue', name })).toEqual({ ready: 0, consumers: 0 })
  })

  test('[lanes: 1] is the queue itself, which several lanes are not', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, 1)] }, create)
    const other = await openDriver()
    await other.declare({ destinations: [queue(name, 1)] }, look)
    await other.declare({ destinations: [queue(name)] }, create)
    await expect(other.declare({ destinations: [queue(name, 2)] }, create)).rejects.toMatchObject({
      code: 'lanes-differ',
      details: { asked: 2, found: 1 },
    })
    const process = new Process(await openDriver(), name)
    await process.driver.declare({ destinations: [queue(name)] }, create)
    await process.receive('strict')
    expect(told(await other.send(toQueue(name, ...texts(20)), inSeconds(10)))).toEqual(Array(20).fill('ok'))
    await poll(() => expect(process.sink.texts).toEqual(texts(20)))
  })

  test('[ordered] a queue that several may consume at once is refused, with what to do', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name)] }, create)
    for (const [lanes, options] of [
      [1, create],
      [1, look],
      [3, create],
    ] as const) {
      await expect(driver.declare({ destinations: [queue(name, lanes)] }, options)).rejects.toMatchObject({
        code: 'destination-not-ordered',
        message: expect.stringContaining('run empty'),
      })
    }
    for (const order of ['strict', 'key'] as const) {
      await expect(
        driver.receive({ kind: 'queue', name }, new Collector(), { window: 1, order }),
      ).rejects.toMatchObject({ code: 'destination-not-ordered' })
    }
    expect(await driver.plan({ destinations: [queue(name, 1)] })).toMatchObject([{ action: 'conflict' }])
    await expect(driver.declare({ destinations: [queue(name, 0)] }, create)).rejects.toMatchObject({
      code: 'option-invalid',
    })
  })

  test('[topic] of several lanes leads each message to the same lane of every subscription, and to plain ones', async () => {
    const name = uniqueName('.a.lane-0', '.a.lane-1', '.a.lane-2', '.b', '.c', '.a.lane-members')
    const driver = await openDriver()
    const subscription = (of: string, lanes?: number): Destination => ({
      kind: 'subscription',
      topic: name,
      name: of,
      durable: true,
      lanes,
    })
    await driver.declare(
      { destinations: [{ kind: 'topic', name, durable: true, lanes: 3 }, subscription('a', 3), subscription('b', 1)] },
      create,
    )
    // A publisher and a subscriber that know nothing of the lanes.
    const other = await openDriver()
    await other.declare({ destinations: [{ kind: 'topic', name, durable: true }, subscription('c')] }, create)
    const outgoing = keyed(name, 9, 1).map(({ message }) => ({
      to: { kind: 'topic' as const, name },
      message: { ...message, type: 'some.type' },
    }))
    await other.send(outgoing, inSeconds(10))
    for (const of of ['a', 'b', 'c']) {
      await poll(async () =>
        expect(await driver.inspector?.depth({ kind: 'subscription', topic: name, name: of })).toMatchObject({
          ready: 9,
        }),
      )
    }
    const sink = new Collector()
    await driver.receive({ kind: 'subscription', topic: name, name: 'a' }, sink, { window: 100, order: 'key' })
    await poll(() => expect(sink.items.length).toBe(9))
    for (const { lane, message } of sink.items) expect(lane).toBe(`${name}.a.lane-${laneOf(message.key, 3)}`)
    await expect(other.declare({ destinations: [subscription('d', 2)] }, create)).rejects.toMatchObject({
      code: 'lanes-differ',
      details: { asked: 2, found: 3 },
    })
  })

  test('[topic] without lanes serves subscriptions with one, and none with several', async () => {
    const name = uniqueName('.a', '.b.lane-0', '.b.lane-1')
    const driver = await openDriver()
    const topic: Destination = { kind: 'topic', name, durable: true }
    await driver.declare(
      { destinations: [topic, { kind: 'subscription', topic: name, name: 'a', durable: true, lanes: 1 }] },
      create,
    )
    await expect(
      driver.declare(
        { destinations: [{ kind: 'subscription', topic: name, name: 'b', durable: true, lanes: 2 }] },
        create,
      ),
    ).rejects.toMatchObject({ code: 'destination-not-ordered' })
  })
})

describe.runIf(brokerUrl)('order', () => {
  test('[strict] one process has the queue; when it stops the next begins where it ended', async () => {
    const name = uniqueName(...endings)
    const first = await startProcess(name, 1, false)
    await first.driver.send(toQueue(name, ...texts(10)), inSeconds(10))
    await poll(() => expect(first.sink.texts).toEqual(texts(10)))
    const second = await startProcess(name, 1)
    const tags = first.sink.items.slice(0, 4).map(({ tag }) => tag)
    expect(await first.receiver!.settle(name, 1, tags, 'ack')).toBe('done')
    expect(second.sink.texts).toEqual([])
    await first.receiver!.stop()
    await poll(() => expect(second.sink.texts).toEqual(texts(10).slice(4)))
    expect(second.sink.items.every(({ redelivered }) => redelivered)).toBe(true)
  })

  test('[strict] a lost connection: what was unsettled comes again, in order and before the rest', async () => {
    const name = uniqueName(...endings)
    const proxy = await openProxy()
    const first = new Process(await openDriver({ urls: [proxy.url] }), name)
    await first.driver.declare({ destinations: [queue(name, 1)] }, create)
    await first.receive('strict', false)
    const second = await startProcess(name, 1)
    await second.driver.send(toQueue(name, ...texts(30)), inSeconds(10))
    await poll(() => expect(first.sink.texts).toEqual(texts(30)))
    proxy.cut()
    await poll(() => expect(second.sink.texts).toEqual(texts(30)))
    expect(await first.receiver!.settle(name, 1, [1], 'ack')).toBe('stale')
    expect(first.sink.revoked).toEqual([1])
  })

  test('[strict] pausing lets handlers end before another process goes on', async () => {
    const name = uniqueName(...endings)
    const first = await startProcess(name, 1, false)
    await first.driver.send(toQueue(name, ...texts(3)), inSeconds(10))
    await poll(() => expect(first.sink.texts).toEqual(texts(3)))
    const second = await startProcess(name, 1)
    await first.receiver!.window(0)
    await first.driver.send(toQueue(name, 'm3', 'm4'), inSeconds(10))
    await first.receiver!.settle(name, 1, [1, 2], 'ack')
    // Were the lane let go of too early, the second would have these by now: the broker answers in order.
    await second.driver.inspector?.depth({ kind: 'queue', name })
    expect(second.sink.texts).toEqual([])
    await first.receiver!.settle(name, 1, [3], 'ack')
    await poll(() => expect(second.sink.texts).toEqual(['m3', 'm4']))
    // And has it again when nobody else wants it.
    await second.receiver!.stop()
    await first.receiver!.window(1000)
    await first.driver.send(toQueue(name, 'm5'), inSeconds(10))
    await poll(() => expect(first.sink.texts.at(-1)).toBe('m5'))
  })

  test('[window] no more are handed out than it says, in all lanes together', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, 4)] }, create)
    await driver.send(keyed(name, 40, 10), inSeconds(10))
    const sink = new Collector()
    const receiver = await driver.receive({ kind: 'queue', name }, sink, { window: 40, order: 'key' })
    await poll(() => expect(sink.items.length).toBe(40))
    await receiver.window(8)
    for (const { lane, epoch, tag } of sink.items.slice()) await receiver.settle(lane, epoch, [tag], 'ack')
    await poll(() => expect(sink.items.length).toBe(48))
    await receiver.stop()
  })

  test(
    '[share] who joins gets its share within seconds, who goes leaves it; no key is out of order [issue 6]',
    async () => {
      const name = uniqueName(...endings)
      const lanes = 6
      const processes = [await startProcess(name, lanes)]
      const sender = await openDriver()
      await sender.declare({ destinations: [queue(name, lanes)] }, create)
      let round = 0
      // Each message's own moment of handling, over all processes: what is handled is acknowledged at once.
      const feed = async () => {
        await sender.send(keyed(name, 24, 1, round++), inSeconds(10))
        return processes.map(process => process.lanes.size)
      }
      await poll(async () => expect(await feed()).toEqual([6]))
      processes.push(await startProcess(name, lanes))
      await poll(async () => expect(await feed()).toEqual([3, 3]))
      processes.push(await startProcess(name, lanes))
      await poll(async () => expect(await feed()).toEqual([2, 2, 2]))
      const gone = processes.shift()!
      await gone.driver.close()
      await poll(async () => expect(await feed()).toEqual([3, 3]))

      const all = [gone, ...processes]
      await poll(() => expect(new Set(all.flatMap(({ sink }) => sink.texts)).size).toBe(24 * round))
      for (const { sink } of all) {
        for (const counts of orderOf(sink.texts).values()) expect(counts).toEqual(counts.toSorted((a, b) => a - b))
      }
      expect(all.flatMap(({ sink }) => sink.failures)).toEqual([])
    },
    4 * patienceMs,
  )

  test(
    '[share] four lanes and three processes: none is without, also when the third joins two who have two each',
    async () => {
      const name = uniqueName(...endings)
      const processes = [await startProcess(name, 4), await startProcess(name, 4)]
      const sender = processes[0]!.driver
      let round = 0
      const feed = async () => {
        await sender.send(keyed(name, 24, 1, round++), inSeconds(10))
        return processes.map(process => process.lanes.size).sort()
      }
      await poll(async () => expect(await feed()).toEqual([2, 2]))
      processes.push(await startProcess(name, 4))
      await poll(async () => expect(await feed()).toEqual([1, 1, 2]))
    },
    4 * patienceMs,
  )

  test('[hand over] waits for what runs, gives the rest back in its place, and a late settlement is stale', async () => {
    const name = uniqueName(...endings)
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, 2)] }, create)
    await driver.send(keyed(name, 20, 3), inSeconds(10))
    const held = new Collector()
    const graces: { lane: string; epoch: number; end: () => void }[] = []
    const receiver = await driver.receive(
      { kind: 'queue', name },
      {
        deliver: batch => held.deliver(batch),
        revoke: (lane, epoch, graceMs) => {
          expect(graceMs).toBeGreaterThan(0)
          return new Promise(end => graces.push({ lane, epoch, end }))
        },
        fail: error => held.fail(error),
      },
      { window: 1000, order: 'key' },
    )
    await poll(() => expect(held.items.length).toBe(60))
    const second = await startProcess(name, 2)
    await poll(() => expect(graces.length).toBe(1))
    const { lane, epoch, end } = graces[0]!
    const theirs = held.items.filter(item => item.lane === lane)
    expect(await receiver.settle(lane, epoch, [theirs[0]!.tag], 'ack')).toBe('done')
    expect(second.sink.texts).toEqual([])
    end()
    const textOf = (item: (typeof theirs)[number]) => Buffer.from(item.message.body).toString()
    await poll(() => expect(second.sink.texts).toEqual(theirs.slice(1).map(textOf)))
    expect(await receiver.settle(lane, epoch, [theirs[1]!.tag], 'ack')).toBe('stale')
  })

  test('[vanished] lanes that are deleted underneath are made again, and consumed', async () => {
    const name = uniqueName(...endings)
    const process = await startProcess(name, 2)
    const channel = await (await foreignConnection()).openChannel()
    for (const lane of [0, 1]) await channel.deleteQueue(`${name}.lane-${lane}`)
    await poll(async () => {
      await process.driver.send(keyed(name, 8, 1), inSeconds(10))
      expect(process.lanes.size).toBe(2)
    })
    expect(await process.driver.plan({ destinations: [queue(name, 2)] })).toMatchObject([{ action: 'none' }])
  })
})
