import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { localSocketPath } from '@chasqui/broker'
import type { Source } from '@chasqui/driver'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { Collector, inTenSeconds, opened, outgoing, temporaryDirectory } from './fixture.ts'

const source: Source = { kind: 'queue', name: 'orders' }
const program = fileURLToPath(new URL('./owner-process.ts', import.meta.url))

async function owner(directory: string): Promise<ChildProcess> {
  const child = fork(program, [directory])
  onTestFinished(() => void child.kill('SIGKILL'))
  const [role] = await once(child, 'message')
  expect(role).toBe('owner')
  return child
}

describe('a second process on the same directory', () => {
  it('joins the first through a socket that nobody else may open', async () => {
    const directory = await temporaryDirectory()
    await owner(directory)
    const guest = await opened(`embedded:${directory}`)
    expect(guest.capabilities.properties).toMatchObject({ separateProcess: true, durable: true, shared: true })
    await guest.declare({ destinations: [{ ...source, kind: 'queue', durable: true }] }, { create: true })
    const sink = new Collector()
    const receiver = await guest.receive(source, sink, { window: 10, order: 'none' })
    expect(await guest.send(outgoing(source, 'a'), inTenSeconds())).toEqual([{ ok: true, durable: true }])
    await vi.waitFor(() => expect(sink.ids).toEqual(['a']))
    await receiver.settle('orders', sink.batches[0]!.epoch, [sink.items[0]!.tag], 'ack')

    const path = localSocketPath(directory)
    expect((await stat(dirname(path))).mode & 0o777).toBe(0o700)
    expect((await stat(path)).isSocket()).toBe(true)
    expect((await stat(directory)).mode & 0o077).toBe(0)
  })

  it('sees every queue of the directory, as its owner does', async () => {
    const directory = await temporaryDirectory()
    await owner(directory)
    const guest = await opened(`embedded:${directory}`)
    await guest.declare({ destinations: [{ kind: 'queue', name: 'another', durable: true }] }, { create: true })
    await guest.send(outgoing(source, 'a'), inTenSeconds())
    // Of a bus that has declared nothing itself.
    const looker = await opened(`embedded:${directory}`)
    expect(await looker.inspector!.queues!()).toEqual([
      expect.objectContaining({ name: 'another', ready: 0, unsettled: 0, delayed: 0 }),
      expect.objectContaining({ name: 'orders', ready: 1, unsettled: 0, delayed: 0 }),
    ])
  })

  it('takes a delayed message back by its id, once', async () => {
    const directory = await temporaryDirectory()
    await owner(directory)
    const guest = await opened(`embedded:${directory}`)
    await guest.declare({ destinations: [{ ...source, kind: 'queue', durable: true }] }, { create: true })
    const [later] = outgoing(source, 'later')
    const delayed = [{ ...later!, message: { ...later!.message, notBefore: Date.now() + 3_600_000 } }]
    expect(await guest.send(delayed, inTenSeconds())).toEqual([{ ok: true, durable: true }])
    expect(await guest.cancelDelayed!(source, 'another')).toBe(false)
    expect(await guest.cancelDelayed!(source, 'later')).toBe(true)
    expect(await guest.cancelDelayed!(source, 'later')).toBe(false)
    expect(await guest.inspector!.queues!()).toMatchObject([{ name: 'orders', ready: 0, delayed: 0 }])
    await expect(guest.cancelDelayed!({ kind: 'queue', name: 'absent' }, 'x')).rejects.toMatchObject({
      code: 'destination-missing',
    })
  })

  it('removes a queue with what waits in it, and says whether there was one', async () => {
    const directory = await temporaryDirectory()
    await owner(directory)
    const guest = await opened(`embedded:${directory}`)
    await guest.declare({ destinations: [{ kind: 'queue', name: 'orders', durable: true }] }, { create: true })
    await guest.send(outgoing(source, 'a'), inTenSeconds())
    expect(await guest.inspector!.remove!(source)).toBe(true)
    expect(await guest.inspector!.remove!(source)).toBe(false)
    expect(await guest.inspector!.depth(source)).toBeUndefined()
  })

  it('becomes the owner when it opens the directory after the first has closed', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    first.send('close')
    await once(first, 'exit')
    const second = await opened(`embedded:${directory}`)
    expect(second.capabilities.properties.separateProcess).toBe(false)
    expect(await second.inspector!.depth(source)).toMatchObject({ ready: 0 })
  })

  it('waits for a frozen owner within the connect timeout, and never overrules it', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    first.kill('SIGSTOP')
    await expect(opened(`embedded:${directory}`, 500)).rejects.toMatchObject({
      code: 'connect-timeout',
      message: expect.stringContaining(`Process ${first.pid} owns the data directory`),
    })
    first.kill('SIGCONT')
    const guest = await opened(`embedded:${directory}`)
    expect(guest.capabilities.properties.separateProcess).toBe(true)
  })
})

describe('two buses of one process on the same directory', () => {
  it('share its broker, which closes with the last of them', async () => {
    const directory = await temporaryDirectory()
    const first = await opened(`embedded:${directory}`)
    const second = await opened(`embedded:${directory}/../${directory.split('/').at(-1)}`)
    await first.declare({ destinations: [{ kind: 'queue', name: 'orders', durable: true }] }, { create: true })
    expect(await first.send(outgoing(source, 'a'), inTenSeconds())).toEqual([{ ok: true, durable: true }])
    await first.close()
    expect(await second.inspector!.depth(source)).toMatchObject({ ready: 1 })
    await second.close()
    const third = await opened(`embedded:${directory}`)
    expect(await third.inspector!.depth(source)).toMatchObject({ ready: 1 })
  })

  it('keeps what one of them kept, and gives it back after a restart with its metadata', async () => {
    const directory = await temporaryDirectory()
    const first = await opened(`embedded:${directory}`)
    await first.declare({ destinations: [{ kind: 'queue', name: 'orders', durable: true }] }, { create: true })
    const sent = {
      id: 'm-1',
      type: 'order.placed',
      attributes: { source: 'shop', causationid: 'm-0' },
      headers: { colour: 'red', count: 3, flag: true },
      contentType: 'application/json',
      key: 'k',
      correlationId: 'c',
      time: 1_700_000_000_123,
      durable: true,
      body: Buffer.from('{"a":1}'),
    }
    await first.send([{ to: { kind: 'queue', name: 'orders' }, message: sent }], inTenSeconds())
    await first.close()
    const second = await opened(`embedded:${directory}`)
    const sink = new Collector()
    await second.receive(source, sink, { window: 10, order: 'none' })
    await vi.waitFor(() => expect(sink.items).toHaveLength(1))
    expect(sink.items[0]!.message).toMatchObject({ ...sent, body: expect.anything() })
    expect(Buffer.from(sink.items[0]!.message.body).toString()).toBe('{"a":1}')
  })
})
