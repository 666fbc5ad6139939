import type { Destination, Source } from '@chasqui/driver'
import { describe, expect, it, vi } from 'vitest'
import { Collector, inTenSeconds, memoryUrl, opened, outgoing, temporaryDirectory } from './fixture.ts'
import { message } from './message.ts'

const queue: Destination = { kind: 'queue', name: 'orders', durable: true, deadLetter: 'orders.dead-letter' }
const source: Source = { kind: 'queue', name: 'orders' }
const options = { window: 100, order: 'none' } as const

describe('the broker of this process', () => {
  it('removes a queue or a subscription with what waits in it, and leaves its topic and its dead letters', async () => {
    const driver = await opened(memoryUrl())
    const subscription: Source = { kind: 'subscription', topic: 'news', name: 'audit' }
    await driver.declare({ destinations: [queue, { ...subscription, durable: true }] }, { create: true })
    await driver.send([{ to: source, message: message('a') }], inTenSeconds())
    expect(await driver.inspector!.remove!(source)).toBe(true)
    expect(await driver.inspector!.remove!(source)).toBe(false)
    expect(await driver.inspector!.remove!(subscription)).toBe(true)
    expect((await driver.inspector!.queues!()).map(({ name }) => name)).toEqual(['orders.dead-letter'])
    expect(await driver.send([{ to: source, message: message('b') }], inTenSeconds())).toMatchObject([
      { ok: false, error: { code: 'unroutable' } },
    ])
    const topic: Destination = { kind: 'topic', name: 'news', durable: true }
    expect(await driver.plan({ destinations: [topic] })).toMatchObject([{ action: 'none' }])
  })

  it('hands the very message over that was sent', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    const sent = message('a', { headers: { colour: 'red' } })
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, options)
    const results = await driver.send([{ to: source, message: sent }], inTenSeconds())
    await vi.waitFor(() => expect(sink.items).toHaveLength(1))

    expect(results).toEqual([{ ok: true, durable: false }])
    expect(sink.items[0]).toMatchObject({ redelivered: false, deliveries: 1 })
    expect(sink.items[0]!.message).toBe(sent)
    expect(await receiver.settle('orders', sink.batches[0]!.epoch, [sink.items[0]!.tag], 'ack')).toBe('done')
    expect(await driver.inspector!.depth(source)).toMatchObject({ ready: 0, unsettled: 0, consumers: 1 })
  })

  it('says of each message of a batch what became of it', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    const batch = [...outgoing(source, 'a'), ...outgoing({ kind: 'queue', name: 'nowhere' }, 'b')]
    expect(await driver.send(batch, inTenSeconds())).toEqual([
      { ok: true, durable: false },
      { ok: false, inDoubt: false, error: expect.objectContaining({ code: 'unroutable' }) },
    ])
  })

  it('[window] holds back what exceeds it, and 0 pauses', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, { window: 2, order: 'none' })
    await driver.send(outgoing(source, 'a', 'b', 'c', 'd', 'e'), inTenSeconds())
    await vi.waitFor(() => expect(sink.ids).toEqual(['a', 'b']))

    await receiver.window(0)
    const { epoch } = sink.batches[0]!
    await receiver.settle('orders', epoch, [sink.items[0]!.tag, sink.items[1]!.tag], 'ack')
    await driver.send(outgoing(source, 'f'), inTenSeconds())
    expect(sink.ids).toEqual(['a', 'b'])

    await receiver.window(3)
    await vi.waitFor(() => expect(sink.ids).toEqual(['a', 'b', 'c', 'd', 'e']))
  })

  it('delivers what was requeued again, in its place, and counts', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, { window: 1, order: 'none' })
    await driver.send(outgoing(source, 'a', 'b'), inTenSeconds())
    await vi.waitFor(() => expect(sink.items).toHaveLength(1))
    await receiver.settle('orders', sink.batches[0]!.epoch, [sink.items[0]!.tag], 'requeue')
    await vi.waitFor(() => expect(sink.ids).toEqual(['a', 'a']))
    expect(sink.items[1]).toMatchObject({ redelivered: true, deliveries: 2 })
  })

  it('gives back what a stopped receiver had unsettled, and calls later settlements stale', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    const sink = new Collector()
    const receiver = await driver.receive(source, sink, options)
    await driver.send(outgoing(source, 'a', 'b'), inTenSeconds())
    await vi.waitFor(() => expect(sink.items).toHaveLength(2))
    await receiver.stop()
    await receiver.stop()
    expect(await receiver.settle('orders', sink.batches[0]!.epoch, [sink.items[0]!.tag], 'ack')).toBe('stale')
    expect(await driver.inspector!.depth(source)).toMatchObject({ ready: 2, consumers: 0 })
  })

  it('makes a queue again that was deleted underneath, under a new epoch', async () => {
    const url = memoryUrl()
    const driver = await opened(url)
    await driver.declare({ destinations: [queue] }, { create: true })
    const sink = new Collector()
    await driver.receive(source, sink, options)
    await driver.send(outgoing(source, 'a'), inTenSeconds())
    await vi.waitFor(() => expect(sink.ids).toEqual(['a']))

    const { shareBroker } = await import('../src/shared-broker.ts')
    const shared = await shareBroker({ kind: 'memory', name: url.slice('memory:'.length) })
    shared.broker.vhost
      .openSession({ owner: {}, onDeliveries: () => {}, onCancelled: () => {} })
      .deleteQueue({ queue: 'orders' })
    await shared.release()

    await driver.send(outgoing(source, 'b'), inTenSeconds())
    await vi.waitFor(() => expect(sink.ids).toEqual(['a', 'b']))
    expect(sink.revoked).toEqual([1])
    expect(sink.batches.at(-1)!.epoch).toBe(2)
  })

  it('copies what is published to each subscription, also one that looks at the topic first', async () => {
    const driver = await opened(memoryUrl())
    const destinations: Destination[] = [
      { kind: 'subscription', topic: 'sales', name: 'billing', durable: true },
      { kind: 'subscription', topic: 'sales', name: 'audit', durable: true },
      { kind: 'topic', name: 'sales', durable: true },
    ]
    await driver.declare({ destinations }, { create: true })
    await driver.send(outgoing({ kind: 'topic', name: 'sales' }, 'a', 'b'), inTenSeconds())
    for (const name of ['billing', 'audit']) {
      const sink = new Collector()
      await driver.receive({ kind: 'subscription', topic: 'sales', name }, sink, options)
      await vi.waitFor(() => expect(sink.ids).toEqual(['a', 'b']))
    }
  })

  it.each<[string, Destination]>([
    ['a topic', { kind: 'topic', name: 'orders', durable: true }],
    ['the topic of a subscription', { kind: 'subscription', topic: 'orders', name: 's', durable: true }],
  ])('refuses a queue as %s: destination-kind', async (_, destination) => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    await expect(driver.declare({ destinations: [destination] }, { create: true })).rejects.toMatchObject({
      code: 'destination-kind',
    })
    expect(await driver.plan({ destinations: [destination, queue] })).toMatchObject([
      { action: 'conflict' },
      { action: 'none' },
    ])
  })

  it("[create: false] an absent destination is destination-missing, and isn't created", async () => {
    const driver = await opened(memoryUrl())
    const declare = driver.declare({ destinations: [queue] }, { create: false })
    await expect(declare).rejects.toMatchObject({ code: 'destination-missing' })
    expect(await driver.inspector!.depth(source)).toBeUndefined()
  })

  it('refuses everything with `closed` after close, which may be called twice', async () => {
    const driver = await opened(memoryUrl())
    await driver.declare({ destinations: [queue] }, { create: true })
    await Promise.all([driver.close(), driver.close()])
    expect(driver.state).toBe('down')
    await expect(driver.declare({ destinations: [queue] }, { create: true })).rejects.toMatchObject({ code: 'closed' })
    await expect(driver.receive(source, new Collector(), options)).rejects.toMatchObject({ code: 'closed' })
    expect(await driver.send(outgoing(source, 'a'), inTenSeconds())).toMatchObject([{ ok: false }])
  })

  it('memory: is shared by the buses of one name, and empty once the last has closed', async () => {
    const url = memoryUrl()
    const first = await opened(url)
    const second = await opened(url)
    await first.declare({ destinations: [queue] }, { create: true })
    await first.close()
    expect(await second.inspector!.depth(source)).toMatchObject({ ready: 0 })
    await second.close()
    const third = await opened(url)
    expect(await third.inspector!.depth(source)).toBeUndefined()
  })

  it('a directory that cannot be made is directory-unusable', async () => {
    const directory = await temporaryDirectory()
    const { writeFile } = await import('node:fs/promises')
    await writeFile(`${directory}/file`, 'in the way')
    await expect(opened(`embedded:${directory}/file/data`)).rejects.toMatchObject({ code: 'directory-unusable' })
  })
})

describe('a reply source', () => {
  it('has a queue for as long as it is received from', async () => {
    const driver = await opened(memoryUrl())
    const replies = { kind: 'reply', name: 'reply-1' } as const
    const sink = new Collector()
    const receiver = await driver.receive(replies, sink, options)
    expect(await driver.send(outgoing(replies, 'a'), inTenSeconds())).toMatchObject([{ ok: true }])
    await vi.waitFor(() => expect(sink.ids).toEqual(['a']))
    await receiver.stop()
    expect(await driver.inspector!.depth(replies)).toBeUndefined()
    expect(await driver.send(outgoing(replies, 'b'), inTenSeconds())).toMatchObject([
      { ok: false, error: { code: 'unroutable' } },
    ])
  })
})
