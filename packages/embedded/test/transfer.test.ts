import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Destination, Driver, Outgoing, Receiver } from '@chasqui/driver'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Collector, inTenSeconds, memoryUrl, opened, outgoing, temporaryDirectory } from './fixture.ts'
import { message } from './message.ts'

const from = { kind: 'queue', name: 'from' } as const
const to = { kind: 'queue', name: 'to' } as const
const queue = (name: string): Destination => ({ kind: 'queue', name, durable: true })
const program = fileURLToPath(new URL('./mover-process.ts', import.meta.url))
const timeout = 10_000

async function received(
  driver: Driver,
): Promise<{ sink: Collector; receiver: Receiver; tags: number[]; epoch: number }> {
  await driver.declare({ destinations: [queue('from')] }, { create: true })
  const sink = new Collector()
  const receiver = await driver.receive(from, sink, { window: 10, order: 'none' })
  await driver.send(outgoing(from, 'a', 'b'), inTenSeconds())
  await vi.waitFor(() => expect(sink.items).toHaveLength(2))
  return { sink, receiver, tags: sink.items.map(item => item.tag), epoch: sink.batches[0]!.epoch }
}

const copies = (...ids: string[]): Outgoing[] => ids.map(id => ({ to, message: message(id) }))

describe('[transfer]', () => {
  it('sends and acknowledges in one step, to queues and to topics without subscriptions', async () => {
    const driver = await opened(memoryUrl())
    const { receiver, tags, epoch } = await received(driver)
    await driver.declare(
      { destinations: [queue('to'), { kind: 'topic', name: 'faults', durable: true }] },
      { create: true },
    )
    const out = [...copies('a'), { to: { kind: 'topic', name: 'faults' } as const, message: message('a') }]
    expect(await receiver.transfer!('from', epoch, [tags[0]!], out)).toBe('done')
    expect(await driver.inspector!.depth(from)).toMatchObject({ ready: 0, unsettled: 1 })
    expect(await driver.inspector!.depth(to)).toMatchObject({ ready: 1 })
  })

  it('does nothing where a queue is absent or full', async () => {
    const url = memoryUrl()
    const driver = await opened(url)
    const { receiver, tags, epoch } = await received(driver)
    await expect(receiver.transfer!('from', epoch, tags, copies('a'))).rejects.toMatchObject({ code: 'unroutable' })

    const { shareBroker } = await import('../src/shared-broker.ts')
    const shared = await shareBroker({ kind: 'memory', name: url.slice('memory:'.length) })
    shared.broker.vhost.openSession({ owner: {}, onDeliveries: () => {}, onCancelled: () => {} }).declareQueue({
      queue: 'to',
      arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' },
    })
    await shared.release()
    await driver.send(copies('in the way'), inTenSeconds())
    await expect(receiver.transfer!('from', epoch, tags, copies('a', 'b'))).rejects.toMatchObject({
      code: 'destination-full',
    })
    expect(await driver.inspector!.depth(from)).toMatchObject({ unsettled: 2 })
    expect(await receiver.settle('from', epoch, tags, 'ack')).toBe('done')
  })

  it('is stale where the delivery is', async () => {
    const driver = await opened(memoryUrl())
    const { receiver, tags, epoch } = await received(driver)
    await driver.declare({ destinations: [queue('to')] }, { create: true })
    await receiver.stop()
    expect(await receiver.transfer!('from', epoch, tags, copies('a', 'b'))).toBe('stale')
    expect(await driver.inspector!.depth(from)).toMatchObject({ ready: 2 })
    expect(await driver.inspector!.depth(to)).toMatchObject({ ready: 0 })
  })

  it.each([1, 150, 400])(
    'after kill -9, with %i moved, each message is there once, on one side or the other',
    async seen => {
      const directory = await temporaryDirectory()
      const count = 500
      const mover = fork(program, [directory, String(count)])
      onTestFinished(() => void mover.kill('SIGKILL'))
      const exited = once(mover, 'exit')
      let moved = 0
      mover.on('message', () => {
        if (++moved === seen) mover.kill('SIGKILL')
      })
      await exited
      expect(moved).toBeGreaterThanOrEqual(seen)
      const driver = await opened(`embedded:${directory}`)
      const ids: (string | undefined)[] = []
      for (const source of [from, to]) {
        const sink = new Collector()
        await driver.receive(source, sink, { window: count, order: 'none' })
        const { ready = 0, unsettled = 0 } = (await driver.inspector!.depth(source)) ?? {}
        await vi.waitFor(() => expect(sink.items).toHaveLength(ready + unsettled), { timeout })
        // What was told to be moved is.
        if (source === to) expect(sink.items.length).toBeGreaterThanOrEqual(moved)
        ids.push(...sink.ids)
      }
      expect(ids.toSorted()).toEqual(Array.from({ length: count }, (_, index) => `m-${index}`).toSorted())
    },
  )
})
