import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Broker } from '@chasqui/broker'
import { describe, expect, onTestFinished, test } from 'vitest'
import { committed, temporaryDirectory } from '../directory.ts'
import { bodyOf, type Client, dispatched, drain, message, openClient, startBroker } from '../engine.ts'

interface Opened {
  readonly broker: Broker
  readonly client: Client
}

async function open(dataDirectory: string): Promise<Opened> {
  const broker = await startBroker({ dataDirectory })
  return { broker, client: openClient(broker) }
}

/** A copy of the directory as it is now: what a killed process would have left. */
function snapshot(dataDirectory: string): string {
  const copy = join(temporaryDirectory(), 'copy')
  cpSync(dataDirectory, copy, { recursive: true, filter: path => !path.endsWith('/lock') })
  return copy
}

async function publish({ client }: Opened, bodies: readonly string[], routingKey = 'q'): Promise<void> {
  let commit = 0
  for (const body of bodies) commit = client.session.publish(message(body, { routingKey })).commit
  await committed(client.session, commit)
}

async function declare({ client }: Opened, queue: string, args = {}): Promise<void> {
  const { commit } = client.session.declareQueue({ queue, durable: true, arguments: args })
  await committed(client.session, commit)
}

const numbered = (count: number) => Array.from({ length: count }, (_, index) => `${index}`)

function logs(directory: string): string[] {
  return readdirSync(join(directory, 'messages'))
    .filter(name => name.endsWith('.log'))
    .sort()
    .map(name => join(directory, 'messages', name))
}

describe('restart', () => {
  test('[durable] queues, exchanges, bindings and persistent messages are back, in order; the rest is gone', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    const { session } = first.client
    await declare(first, 'q')
    await declare(first, 'other', { 'x-max-length': 100 })
    session.declareQueue({ queue: 'transient' })
    session.declareQueue({ queue: 'mine', durable: true, exclusive: true })
    session.declareExchange({ exchange: 'events', type: 'topic', durable: true })
    session.declareExchange({ exchange: 'passing', type: 'topic' })
    session.bindQueue({ queue: 'q', exchange: 'events', routingKey: 'a.*' })
    session.bindQueue({ queue: 'other', exchange: 'events', routingKey: '#' })
    session.bindQueue({ queue: 'q', exchange: 'events', routingKey: 'b' })
    session.unbindQueue({ queue: 'q', exchange: 'events', routingKey: 'b' })
    await publish(first, numbered(1000))
    session.publish(message('not persistent', { routingKey: 'q' }, {}))
    session.publish(message('both', { exchange: 'events', routingKey: 'a.b' }))
    await first.broker.close()

    const second = await open(directory)
    expect(second.broker.damage).toEqual([])
    expect(second.broker.vhost.queueNames().sort()).toEqual(['other', 'q'])
    expect(second.broker.vhost.describeExchange('events')).toEqual({ type: 'topic', durable: true, internal: false })
    expect(second.broker.vhost.describeExchange('passing')).toBeUndefined()
    expect(drain(second.client.session, 'q').map(bodyOf)).toEqual([...numbered(1000), 'both'])
    expect(drain(second.client.session, 'other').map(bodyOf)).toEqual(['both'])
    expect(second.client.session.publish(message('', { exchange: 'events', routingKey: 'b' })).routed).toBe(1)
    expect(second.client.session.publish(message('', { exchange: 'events', routingKey: 'a.c' })).routed).toBe(2)
  })

  test('[content] properties, exchange, routing key and the bytes of short and long bodies come back', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q')
    const properties = { deliveryMode: 2, messageId: 'm', headers: { a: 1, b: 'ü', c: [true, { d: 2n ** 60n }] } }
    const bodies = [Buffer.alloc(0), Buffer.from([0, 255, 10]), Buffer.alloc(300_000, 7), Buffer.alloc(3_000_000, 8)]
    let commit = 0
    for (const body of bodies) {
      commit = first.client.session.publish({ ...message('', { routingKey: 'q' }, properties), body }).commit
    }
    await committed(first.client.session, commit)
    const second = await open(snapshot(directory))
    const got = drain(second.client.session, 'q').map(delivery => delivery.message)
    expect(got.map(({ body }) => Buffer.from(body).equals(bodies.shift()!))).toEqual([true, true, true, true])
    expect(got[0]).toMatchObject({ exchange: '', routingKey: 'q', properties, persistent: true })
  })

  test('[settled] acknowledged messages stay away, unsettled ones come back in order, marked', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q', { 'x-queue-type': 'quorum' })
    await publish(first, numbered(20))
    const { session } = first.client
    session.consume({ queue: 'q', prefetch: 10 })
    await dispatched()
    session.ackMany([1, 3, 5])
    session.nack(2, false, true)
    await dispatched()
    // Entries are written right behind the next commit.
    await declare(first, 'another')
    await dispatched()
    const second = await open(snapshot(directory))
    const got = drain(second.client.session, 'q')
    expect(got.map(bodyOf)).toEqual(numbered(20).filter(n => !['0', '2', '4'].includes(n)))
    expect(got.slice(0, 3).map(d => [bodyOf(d), d.redelivered, d.deliveryCount])).toEqual([
      ['1', true, 2],
      ['3', true, 1],
      ['5', true, 1],
    ])
    expect(got.at(-1)).toMatchObject({ redelivered: false, deliveryCount: 0 })
  })

  test('[returns] a message that is out when the broker dies has come back by that, each time; one that waits has not', async () => {
    let directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q')
    await publish(first, ['out', 'waits'])
    for (let deaths = 0; deaths < 4; deaths++) {
      const { client } = deaths === 0 ? first : await open(directory)
      client.session.consume({ queue: 'q', prefetch: 1 })
      await dispatched()
      expect(client.deliveries.map(d => [bodyOf(d), d.redelivered, d.deliveryCount])).toEqual([
        ['out', deaths > 0, deaths],
      ])
      directory = snapshot(directory)
    }
    const last = await open(directory)
    expect(drain(last.client.session, 'q').map(d => [bodyOf(d), d.deliveryCount])).toEqual([
      ['out', 4],
      ['waits', 0],
    ])
  })

  test('[shared] a message of several queues is stored once and settled by each', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    for (const queue of ['a', 'b', 'c']) {
      await declare(first, queue)
      first.client.session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: '' })
    }
    const { commit } = first.client.session.publish(
      message('x'.repeat(4000), { exchange: 'amq.fanout', routingKey: '' }),
    )
    await committed(first.client.session, commit)
    expect(readFileSync(logs(directory)[0]!).length).toBeLessThan(5000)
    drain(first.client.session, 'b')
    await first.broker.close()
    const second = await open(directory)
    expect(['a', 'b', 'c'].map(queue => drain(second.client.session, queue).length)).toEqual([1, 0, 1])
  })

  test('[deleted] a queue that was deleted and declared again begins empty', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q')
    await publish(first, ['old'])
    const { commit } = first.client.session.deleteQueue({ queue: 'q' })
    await committed(first.client.session, commit)
    await declare(first, 'q')
    await publish(first, ['new'])
    const second = await open(snapshot(directory))
    expect(drain(second.client.session, 'q').map(bodyOf)).toEqual(['new'])
  })

  test('[dead letter] a message moves with one record: after a kill it is in one queue and not in two', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'dead')
    await declare(first, 'q', { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'dead' })
    await publish(first, numbered(10))
    first.client.session.consume({ queue: 'q', prefetch: 5 })
    await dispatched()
    first.client.session.nack(5, true, false)
    const { commit } = first.client.session.publish(message('last', { routingKey: 'q' }))
    await committed(first.client.session, commit)
    const copy = snapshot(directory)
    // Without the entries the log alone must say it.
    for (const name of readdirSync(join(copy, 'messages'))) {
      if (name.endsWith('.settled')) truncateSync(join(copy, 'messages', name), 0)
    }
    for (const from of [copy, snapshot(directory)]) {
      const again = await open(from)
      expect(drain(again.client.session, 'dead').map(bodyOf)).toEqual(numbered(5))
      expect(drain(again.client.session, 'q').map(bodyOf)).toEqual(['5', '6', '7', '8', '9', 'last'])
      await again.broker.close()
      const oncemore = await open(from)
      expect(oncemore.broker.vhost.inspect('q')).toMatchObject({ ready: 0 })
    }
  })

  test('[segments] what is settled leaves no files behind', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q')
    const body = 'x'.repeat(1_000_000)
    await publish(
      first,
      Array.from({ length: 80 }, () => body),
    )
    expect(logs(directory).length).toBeGreaterThan(2)
    drain(first.client.session, 'q')
    await expect.poll(() => logs(directory)).toHaveLength(1)
    await first.broker.close()
    const second = await open(directory)
    expect(second.broker.vhost.inspect('q')).toMatchObject({ ready: 0 })
    expect(logs(directory)).toHaveLength(0)
    await publish(second, ['after'])
    expect(logs(directory)).toHaveLength(1)
  })
})

describe('damage', () => {
  async function threeMessages() {
    const directory = temporaryDirectory()
    const first = await open(directory)
    await declare(first, 'q')
    const log = join(directory, 'messages', '00000001.log')
    await publish(first, ['first'])
    const afterFirst = readFileSync(log).length
    await publish(first, ['second'])
    const afterSecond = readFileSync(log).length
    await publish(first, ['third'])
    const copy = snapshot(directory)
    await first.broker.close()
    return { copy, log: join(copy, 'messages', '00000001.log'), afterFirst, afterSecond }
  }

  test('[torn end] cut at any byte of the last record, everything before is there and the broker goes on', async () => {
    const { copy, log, afterSecond } = await threeMessages()
    const whole = readFileSync(log)
    for (let length = afterSecond; length < whole.length; length++) {
      const directory = join(temporaryDirectory(), 'cut')
      cpSync(copy, directory, { recursive: true })
      truncateSync(join(directory, 'messages', '00000001.log'), length)
      const cut = new Broker({ dataDirectory: directory })
      await cut.start()
      const client = openClient(cut)
      expect(cut.damage).toEqual([])
      const { commit } = client.session.publish(message('after', { routingKey: 'q' }))
      await committed(client.session, commit)
      await cut.close()
      const again = new Broker({ dataDirectory: directory })
      await again.start()
      expect(drain(openClient(again).session, 'q').map(bodyOf)).toEqual(['first', 'second', 'after'])
      await again.close()
    }
  })

  test('[torn header] a log or an entry file that was only begun is empty', async () => {
    const { copy } = await threeMessages()
    for (let length = 0; length < 24; length += 5) {
      writeFileSync(
        join(copy, 'messages', '00000009.log'),
        Buffer.from('CHASQLOG\x01\0\0\0\x09\0\0\0????\0\0\0\0', 'latin1').subarray(0, length),
      )
      const broker = new Broker({ dataDirectory: copy })
      await broker.start()
      expect(broker.vhost.inspect('q')).toMatchObject({ ready: 3 })
      await broker.close()
    }
  })

  test('[middle] a damaged record is reported, its neighbours are kept, and so is the file', async () => {
    const { copy, log, afterFirst, afterSecond } = await threeMessages()
    const bytes = readFileSync(log)
    bytes[afterSecond - 3]! ^= 0xff
    // Its length too, so that only the next record's own check shows where it begins.
    bytes[afterFirst]! ^= 0x55
    writeFileSync(log, bytes)
    const warnings: string[] = []
    const broker = await startBroker({ dataDirectory: copy, onWarning: sentence => warnings.push(sentence) })
    const client = openClient(broker)
    expect(broker.damage).toEqual([{ path: log, offset: afterFirst, bytes: afterSecond - afterFirst }])
    expect(warnings).toEqual([expect.stringContaining('cannot be read')])
    expect(drain(client.session, 'q').map(bodyOf)).toEqual(['first', 'third'])
    await expect.poll(() => readdirSync(join(copy, 'messages'))).toContain('00000001.log.damaged')
  })

  test('[no log of ours] a file with foreign bytes is refused by name', async () => {
    const { copy, log } = await threeMessages()
    writeFileSync(log, 'something else entirely, and long enough')
    const broker = new Broker({ dataDirectory: copy })
    onTestFinished(() => broker.close())
    await expect(broker.start()).rejects.toMatchObject({ name: 'BrokerError', code: 'directory-corrupt' })
  })
})

describe('sparse segments', () => {
  test('[rewrite] a few messages that stay do not keep the disk full, and keep their order, marks and queues', async () => {
    const directory = temporaryDirectory()
    const first = await open(directory)
    for (const queue of ['dead', 'shared', 'busy']) await declare(first, queue, { 'x-queue-type': 'quorum' })
    for (const queue of ['dead', 'shared'])
      first.client.session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: '' })
    const { session } = first.client
    const body = Buffer.alloc(100_000, 'x')
    const stays: string[] = []
    for (let round = 0; round < 14; round++) {
      // 32 MB that go, and one message that stays, in two queues.
      for (let index = 0; index < 330; index++) session.publish({ ...message('', { routingKey: 'busy' }), body })
      stays.push(`stays ${round}`)
      const { commit } = session.publish(message(`stays ${round}`, { exchange: 'amq.fanout', routingKey: '' }))
      await committed(session, commit)
      if (round === 0) session.nack(session.get('dead', false)!.tag, false, true)
      drain(session, 'busy')
    }
    await expect.poll(() => logs(directory).length, { timeout: 5000 }).toBeLessThan(9)
    // New ones behind, so that what was written anew must be put before them.
    await publish(first, ['behind'], 'dead')
    const check = ({ client }: Opened) => {
      const dead = drain(client.session, 'dead')
      expect(dead.map(bodyOf)).toEqual([...stays, 'behind'])
      expect(dead.map(d => d.deliveryCount)).toEqual([1, ...new Array(14).fill(0)])
      expect(drain(client.session, 'shared').map(bodyOf)).toEqual(stays)
    }
    check(await open(snapshot(directory)))
    check(first)
    await expect.poll(() => logs(directory).length).toBeLessThan(3)
    expect(first.broker.vhost.memoryBytes).toBe(0)
  })
})
