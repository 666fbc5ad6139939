import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Broker, type BrokerOptions, type Session } from '@chasqui/broker'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type Files, nodeFiles } from '../../src/store/files.ts'
import { committed, temporaryDirectory } from '../directory.ts'
import { bodyOf, dispatched, drain, message, openClient, startBroker } from '../engine.ts'

/** The real file system, with faults that a test turns on and off. */
class FaultyFiles implements Files {
  /** Bytes that the disk still takes. */
  space = Number.POSITIVE_INFINITY
  syncFails = false
  openFails = false
  syncs = 0
  /** Syncs wait for `release`. */
  held: (() => void)[] | undefined
  open = (path: string) => {
    if (this.openFails) throw Object.assign(new Error('EMFILE: too many open files'), { code: 'EMFILE' })
    return nodeFiles.open(path)
  }
  write: Files['write'] = (descriptor, buffers, position, done) => {
    const bytes = buffers.reduce((sum, buffer) => sum + buffer.byteLength, 0)
    if (bytes <= this.space) {
      this.space -= bytes
      nodeFiles.write(descriptor, buffers, position, done)
      return
    }
    // As a full disk does: some of the bytes, then the error.
    const some = Buffer.concat(buffers).subarray(0, this.space)
    this.space = 0
    nodeFiles.write(descriptor, [some], position, () =>
      done(Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })),
    )
  }
  writeNow: Files['writeNow'] = (descriptor, buffer, position) => {
    if (buffer.byteLength > this.space) {
      throw Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
    }
    nodeFiles.writeNow(descriptor, buffer, position)
  }
  sync: Files['sync'] = (descriptor, done) => {
    this.syncs++
    if (this.syncFails) setImmediate(done, Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
    else if (this.held !== undefined) this.held.push(() => nodeFiles.sync(descriptor, done))
    else nodeFiles.sync(descriptor, done)
  }
  syncDirectory = nodeFiles.syncDirectory
  read = nodeFiles.read
  remove = nodeFiles.remove
  release(): void {
    const held = this.held ?? []
    this.held = undefined
    for (const sync of held) sync()
  }
}

async function withQueue(options: BrokerOptions = {}) {
  const files = new FaultyFiles()
  const dataDirectory = temporaryDirectory()
  const broker = await startBroker({ dataDirectory, files, ...options })
  const client = openClient(broker)
  await committed(client.session, client.session.declareQueue({ queue: 'q', durable: true }).commit)
  return { files, dataDirectory, broker, client, session: client.session }
}

function publish(session: Session, body: string): { commit: number; done: Promise<void>; isDone: () => boolean } {
  const { commit } = session.publish(message(body, { routingKey: 'q' }))
  let done = false
  const promise = committed(session, commit)
  void promise.then(() => {
    done = true
  })
  return { commit, done: promise, isDone: () => done }
}

describe('group commit', () => {
  test('[confirm] comes after the sync that covers it, and not before', async () => {
    const { files, session, broker } = await withQueue()
    files.held = []
    const one = publish(session, 'one')
    await expect.poll(() => files.held?.length).toBe(1)
    const two = publish(session, 'two')
    await dispatched()
    expect([one.isDone(), two.isDone(), broker.vhost.committed < one.commit]).toEqual([false, false, true])
    files.release()
    await one.done
    await two.done
    expect(broker.vhost.committed).toBe(two.commit)
  })

  test('[batch] what comes during a sync shares the next one', async () => {
    const { files, session } = await withQueue()
    files.held = []
    const first = publish(session, 'first')
    await expect.poll(() => files.held?.length).toBe(1)
    const before = files.syncs
    const rest = Array.from({ length: 500 }, (_, index) => publish(session, `${index}`))
    files.release()
    await Promise.all([first.done, ...rest.map(({ done }) => done)])
    expect(files.syncs - before).toBe(1)
  })

  test('[order] confirms come in the order of publishing', async () => {
    const { session } = await withQueue()
    const order: number[] = []
    for (let index = 0; index < 100; index++) {
      const { commit } = session.publish(message(`${index}`, { routingKey: 'q' }))
      session.whenCommitted(commit, () => order.push(index))
      if (index % 7 === 0) await dispatched()
    }
    await expect.poll(() => order.length).toBe(100)
    expect(order).toEqual(Array.from({ length: 100 }, (_, index) => index))
  })

  test('[transient] a message that is not persistent has nothing to wait for', async () => {
    const { session } = await withQueue()
    expect(session.publish(message('', { routingKey: 'q' }, {})).commit).toBe(0)
    session.declareQueue({ queue: 'passing' })
    expect(session.publish(message('', { routingKey: 'passing' })).commit).toBe(0)
  })

  test('[name] one that is longer than AMQP allows is refused before anything is written', async () => {
    const { session, dataDirectory, broker } = await withQueue()
    session.bindQueue({ queue: 'q', exchange: 'amq.fanout', routingKey: '' })
    for (const routingKey of ['x'.repeat(256), 'ü'.repeat(128)]) {
      expect(() => session.publish(message('m', { exchange: 'amq.fanout', routingKey }))).toThrow(
        expect.objectContaining({ name: 'AmqpError', replyCode: 502 }),
      )
    }
    const args = { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'x'.repeat(256) }
    expect(() => session.declareQueue({ queue: 'new', arguments: args })).toThrow(
      expect.objectContaining({ replyCode: 406 }),
    )
    await committed(
      session,
      session.publish(message('m', { exchange: 'amq.fanout', routingKey: 'ü'.repeat(127) })).commit,
    )
    await broker.close()
    const again = await startBroker({ dataDirectory })
    expect(drain(openClient(again).session, 'q').map(got => got.message.routingKey)).toEqual(['ü'.repeat(127)])
  })

  test.each(['disk full', 'sync fails', 'no descriptor'] as const)(
    '[%s] publishers are blocked, nothing is confirmed, nothing confirmed is lost, and it goes on by itself',
    async fault => {
      const { files, session, broker, dataDirectory, client } = await withQueue()
      await publish(session, 'before').done
      const told: [boolean, string][] = []
      broker.vhost.onBlocked((blocked, reason) => told.push([blocked, reason]))
      if (fault === 'disk full') files.space = 20
      else if (fault === 'sync fails') files.syncFails = true
      else {
        files.openFails = true
        // A message that opens the next segment.
        const body = Buffer.alloc(34_000_000)
        session.publish({ ...message('', { routingKey: 'q' }), body })
      }
      const during = publish(session, 'during')
      await expect.poll(() => broker.vhost.blocked).toBe(true)
      expect(broker.vhost.blockedReason).toMatch(/cannot write to .*messages: (ENOSPC|EIO|EMFILE)/)
      expect(during.isDone()).toBe(false)
      // Who was there before is served on.
      session.consume({ queue: 'q', prefetch: 1 })
      await dispatched()
      expect(client.bodies()).toEqual(['before'])
      files.space = Number.POSITIVE_INFINITY
      files.syncFails = false
      files.openFails = false
      await during.done
      expect(broker.vhost.blocked).toBe(false)
      expect(told).toEqual([
        [true, expect.stringContaining('cannot write')],
        [false, ''],
      ])
      await publish(session, 'after').done
      await broker.close()
      const again = await startBroker({ dataDirectory })
      expect(again.damage).toEqual([])
      const bodies = drain(openClient(again).session, 'q').map(bodyOf)
      expect(bodies.filter(body => body.length < 100)).toEqual(['before', 'during', 'after'])
    },
  )

  test('[close] a disk that takes nothing any more is given up after a moment, with a word', async () => {
    const warnings: string[] = []
    const { files, session, broker, dataDirectory } = await withQueue({
      onWarning: sentence => warnings.push(sentence),
    })
    await publish(session, 'confirmed').done
    files.syncFails = true
    const never = publish(session, 'never')
    await broker.close()
    expect(warnings).toEqual([expect.stringMatching(/closes with 1 unconfirmed changes/)])
    expect(never.isDone()).toBe(false)
    const again = await startBroker({ dataDirectory })
    expect(bodyOf(drain(openClient(again).session, 'q')[0]!)).toBe('confirmed')
  })

  test('[close] everything published before is on disk', async () => {
    const { session, broker, dataDirectory } = await withQueue()
    for (let index = 0; index < 5000; index++) publish(session, `${index}`)
    await broker.close()
    const again = await startBroker({ dataDirectory })
    expect(again.vhost.inspect('q')).toMatchObject({ ready: 5000 })
  })

  test('[close] afterwards everything is refused, and sessions are told', async () => {
    const broker = new Broker({ dataDirectory: temporaryDirectory() })
    await broker.start()
    onTestFinished(() => broker.close())
    const { vhost } = broker
    let told = 0
    const session = vhost.openSession({ owner: {}, onDeliveries() {}, onCancelled() {}, onClosed: () => told++ })
    session.declareQueue({ queue: 'q', durable: true })
    await Promise.all([broker.close(), broker.close()])
    expect(told).toBe(1)
    const refused = expect.objectContaining({ replyCode: 320 })
    expect(() => session.publish(message('', { routingKey: 'q' }))).toThrow(refused)
    expect(() => session.declareQueue({ queue: 'q' })).toThrow(refused)
    expect(() => vhost.openSession({ owner: {}, onDeliveries() {}, onCancelled() {} })).toThrow(refused)
    expect(() => broker.vhost).toThrow(expect.objectContaining({ code: 'closed' }))
  })
})

describe('memory', () => {
  test('[limit] publishers are blocked above it and go on below nine tenths of it', async () => {
    const broker = await startBroker({ memoryLimitBytes: 1024 * 1024 })
    const { session } = openClient(broker)
    const told: boolean[] = []
    broker.vhost.onBlocked(blocked => told.push(blocked))
    session.declareQueue({ queue: 'q' })
    const body = 'x'.repeat(10_000)
    let published = 0
    while (!broker.vhost.blocked) {
      session.publish(message(body, { routingKey: 'q' }))
      published++
    }
    expect(published).toBeGreaterThan(95)
    expect(broker.vhost.blockedReason).toBe('low on memory')
    while (broker.vhost.blocked) session.get('q', true)
    expect(broker.vhost.memoryBytes).toBeLessThan(0.9 * 1024 * 1024)
    expect(told).toEqual([true, false])
    session.purgeQueue({ queue: 'q' })
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[deep queue] bodies that the store has leave memory, and come back in order when they are wanted', async () => {
    const { session, broker, dataDirectory } = await withQueue({ memoryLimitBytes: 4 * 1024 * 1024 })
    const count = 8000
    const body = (index: number) => `${index} ${'x'.repeat(4000)}`
    for (let index = 0; index < count; index++) {
      const { commit } = session.publish(message(body(index), { routingKey: 'q' }))
      if (index % 100 === 99) await committed(session, commit)
    }
    // 32 MB of bodies, most of them on disk alone.
    expect(broker.vhost.memoryBytes).toBeLessThan(12 * 1024 * 1024)
    expect(readdirSync(join(dataDirectory, 'messages')).length).toBeGreaterThan(0)
    for (let index = 0; index < count; index++) {
      const got = session.get('q', false)!
      expect(bodyOf(got)).toBe(body(index))
      if (index % 3 === 0) session.nack(got.tag, false, true)
      else session.ack(got.tag, false)
      if (index % 3 === 0) session.ack(session.get('q', false)!.tag, false)
    }
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 0, unsettled: 0 })
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('[unreadable] a body that the disk cannot give back is reported, and the next one comes', async () => {
    const warnings: string[] = []
    const { files, session, broker, client } = await withQueue({
      memoryLimitBytes: 1024 * 1024,
      onWarning: sentence => warnings.push(sentence),
    })
    const body = 'x'.repeat(500)
    let commit = 0
    for (let index = 0; index < 4000; index++) {
      commit = session.publish(message(`${index} ${body}`, { routingKey: 'q' })).commit
      if (index % 500 === 0) await committed(session, commit)
    }
    await committed(session, commit)
    let broken = 3
    files.read = (descriptor, position, length) => {
      if (broken-- > 0) throw new Error('EIO: i/o error')
      return nodeFiles.read(descriptor, position, length)
    }
    session.consume({ queue: 'q', noAck: true })
    await expect.poll(() => client.deliveries.length).toBe(3997)
    expect(broker.damage).toHaveLength(3)
    expect(warnings).toHaveLength(3)
    expect(broker.vhost.inspect('q')).toMatchObject({ ready: 0, unsettled: 0 })
  })
})
