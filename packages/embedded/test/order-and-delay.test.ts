import { Broker } from '@chasqui/broker'
import type { Driver, Source } from '@chasqui/driver'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openGuest } from '../src/guest.ts'
import { Collector, inTenSeconds, memoryUrl, opened, temporaryDirectory } from './fixture.ts'
import { message } from './message.ts'

const source: Source = { kind: 'queue', name: 'orders' }
const target = { kind: 'queue', name: 'orders' } as const
const timeout = 5000

async function guest(): Promise<Driver> {
  const directory = await temporaryDirectory()
  const broker = new Broker({ dataDirectory: directory, listeners: [{ local: true }] })
  await broker.start()
  onTestFinished(() => broker.close())
  const driver = await openGuest(directory, { urls: [], name: 'test', connectTimeoutMs: timeout }, timeout)
  onTestFinished(() => driver.close())
  return driver
}

const drivers: readonly (readonly [string, () => Promise<Driver>])[] = [
  ['the broker of this process', () => opened(memoryUrl())],
  ['a guest', guest],
]

describe.each(drivers)('order and delay through %s', (_name, openDriver) => {
  async function setUp(): Promise<Driver> {
    const driver = await openDriver()
    await driver.declare({ destinations: [{ ...target, durable: true }] }, { create: true })
    return driver
  }

  it('[key] hands out one message of a key at a time, in order, across receivers', async () => {
    const driver = await setUp()
    const one = new Collector()
    const two = new Collector()
    const receivers = [
      await driver.receive(source, one, { window: 10, order: 'key' }),
      await driver.receive(source, two, { window: 10, order: 'key' }),
    ]
    const batch = ['a1', 'b1', 'a2', 'a3', 'b2'].map(id => ({ to: target, message: message(id, { key: id[0]! }) }))
    await driver.send(batch, inTenSeconds())
    const seen: (string | undefined)[] = []
    await vi.waitFor(
      async () => {
        for (const [index, sink] of [one, two].entries()) {
          for (const { lane, epoch, items } of sink.batches.splice(0)) {
            const keys = items.map(item => item.message.key)
            expect(new Set(keys).size).toBe(keys.length)
            seen.push(...items.map(item => item.message.id))
            await receivers[index]!.settle(
              lane,
              epoch,
              items.map(item => item.tag),
              'ack',
            )
          }
        }
        expect(seen.length).toBe(5)
      },
      { timeout, interval: 5 },
    )
    expect(seen.filter(id => id!.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    expect(seen.filter(id => id!.startsWith('b'))).toEqual(['b1', 'b2'])
  })

  it('[strict] hands out one message of the queue at a time', async () => {
    const driver = await setUp()
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, { window: 10, order: 'strict' })
    await driver.send(
      ['1', '2', '3'].map(id => ({ to: target, message: message(id, { key: id }) })),
      inTenSeconds(),
    )
    for (const id of ['1', '2', '3']) {
      await vi.waitFor(() => expect(sink.ids.at(-1)).toBe(id), { timeout })
      expect(sink.items.length).toBe(Number(id))
      await receiver.settle('orders', sink.batches.at(-1)!.epoch, [sink.items.at(-1)!.tag], 'ack')
    }
  })

  it('[notBefore] is not early, and [expiresAt] ends a message that nobody takes', async () => {
    const driver = await setUp()
    const at = Date.now() + 300
    await driver.send(
      [
        { to: target, message: message('expires', { expiresAt: at - 200 }) },
        { to: target, message: message('later', { notBefore: at }) },
        { to: target, message: message('now', { notBefore: at - 10_000 }) },
      ],
      inTenSeconds(),
    )
    await vi.waitFor(async () => expect((await driver.inspector!.depth(source))!.ready).toBe(1), { timeout })
    const sink = new Collector()
    let arrivedAt = 0
    const deliver = sink.deliver.bind(sink)
    sink.deliver = batch => {
      arrivedAt = Date.now()
      deliver(batch)
    }
    await driver.receive(source, sink, { window: 10, order: 'none' })
    await vi.waitFor(() => expect(sink.ids).toEqual(['now', 'later']), { timeout })
    expect(arrivedAt).toBeGreaterThanOrEqual(at)
  })
})

it('[cancelDelayed] takes a message back by its id, once, and the list of queues says what is there', async () => {
  const driver = await opened(memoryUrl())
  const other = { kind: 'queue', name: 'another' } as const
  for (const queue of [target, other]) {
    await driver.declare({ destinations: [{ ...queue, durable: true }] }, { create: true })
  }
  await driver.send(
    [
      { to: target, message: message('later', { notBefore: Date.now() + 60_000 }) },
      { to: target, message: message('now') },
    ],
    inTenSeconds(),
  )
  expect(await driver.inspector!.queues!()).toEqual([
    expect.objectContaining({ name: 'another', ready: 0, unsettled: 0, consumers: 0, delayed: 0 }),
    expect.objectContaining({ name: 'orders', ready: 1, unsettled: 0, consumers: 0, delayed: 1 }),
  ])
  expect(await driver.cancelDelayed!(target, 'later')).toBe(true)
  expect(await driver.cancelDelayed!(target, 'later')).toBe(false)
  expect(await driver.cancelDelayed!(target, 'now')).toBe(false)
  await expect(driver.cancelDelayed!({ kind: 'topic', name: 't' }, 'x')).rejects.toMatchObject({ code: 'unsupported' })
})
