import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Broker } from '@chasqui/broker'
import { describe, expect, test } from 'vitest'
import { committed, temporaryDirectory } from '../directory.ts'
import { bodyOf, type Client, dispatched, drain, message, openClient, refused, startBroker } from '../engine.ts'

async function prepared(dataDirectory?: string) {
  const broker = await startBroker({ dataDirectory })
  const client = openClient(broker)
  const { session } = client
  for (const queue of ['source', 'a', 'b']) session.declareQueue({ queue, durable: true })
  for (const queue of ['a', 'b']) session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: '' })
  let commit = 0
  for (const body of ['1', '2', '3']) commit = session.publish(message(body, { routingKey: 'source' })).commit
  await committed(session, commit)
  session.consume({ queue: 'source', prefetch: 3 })
  await dispatched()
  return { broker, client, session }
}

const toBoth = (body: string) => message(body, { exchange: 'amq.fanout', routingKey: '' })

function waiting({ session }: Client, queue: string): string[] {
  return drain(session, queue).map(bodyOf)
}

describe.each([
  ['in memory', () => undefined],
  ['on disk', temporaryDirectory],
])('[transfer] %s', (_where, directory) => {
  test('publishes all messages and acknowledges these deliveries and no others', async () => {
    const { client, session, broker } = await prepared(directory())
    const outcome = session.transfer([1, 3], [toBoth('x'), message('y', { routingKey: 'a' }), toBoth('z')])
    expect(outcome).toMatchObject({ done: true, routed: [2, 1, 2] })
    if (outcome.done) await committed(session, outcome.commit)
    expect(session.unsettled).toBe(1)
    expect(waiting(client, 'a')).toEqual(['x', 'y', 'z'])
    expect(waiting(client, 'b')).toEqual(['x', 'z'])
    session.close()
    expect(waiting(openClient(broker), 'source')).toEqual(['2'])
    expect(broker.vhost.memoryBytes).toBe(0)
  })

  test('gives the consumer its credit back', async () => {
    const { client, session } = await prepared(directory())
    session.publish(message('4', { routingKey: 'source' }))
    await dispatched()
    expect(client.bodies()).toEqual(['1', '2', '3'])
    session.transfer([2], [])
    await dispatched()
    expect(client.bodies()).toEqual(['1', '2', '3', '4'])
  })

  test('does nothing for an unknown tag, an absent exchange, a full queue, a mandatory message without a queue', async () => {
    const { client, session, broker } = await prepared(directory())
    session.declareQueue({ queue: 'small', arguments: { 'x-max-length': 2, 'x-overflow': 'reject-publish' } })
    const toSmall = message('s', { routingKey: 'small' })
    refused(
      () => session.transfer([1, 9], [toBoth('x')]),
      406,
      'PRECONDITION_FAILED - unknown delivery tag 9',
      'channel',
    )
    const absent = message('x', { exchange: 'absent', routingKey: '' })
    refused(
      () => session.transfer([1], [toBoth('x'), absent]),
      404,
      "NOT_FOUND - no exchange 'absent' in vhost '/'",
      'channel',
    )
    expect(session.transfer([1], [toBoth('x'), toSmall, toSmall, toSmall])).toEqual({
      done: false,
      reason: 'full',
      message: 3,
    })
    const nowhere = message('x', { routingKey: 'nowhere' })
    expect(session.transfer([1], [toBoth('x'), nowhere], { mandatory: true })).toEqual({
      done: false,
      reason: 'unroutable',
      message: 1,
    })
    const tooLong = message('x', { exchange: 'amq.fanout', routingKey: 'k'.repeat(300) })
    if (broker.dataDirectory !== undefined) {
      refused(() => session.transfer([1], [toBoth('x'), tooLong]), 502, /routing key/, 'connection')
    }
    expect(['a', 'b', 'small'].map(queue => waiting(client, queue))).toEqual([[], [], []])
    expect(session.unsettled).toBe(3)
    // The tag that was put back is as good as before; without `mandatory` the message goes nowhere.
    expect(session.transfer([1], [nowhere])).toMatchObject({ done: true, routed: [0] })
    refused(() => session.ack(1, false), 406, 'PRECONDITION_FAILED - unknown delivery tag 1', 'channel')
    session.ack(3, true)
    expect(session.unsettled).toBe(0)
  })
})

describe('[transfer] after a kill', () => {
  /** What each queue holds in a copy of the directory, whose log may have been changed. */
  async function contents(dataDirectory: string, change: (log: string) => void = () => {}) {
    const copy = join(temporaryDirectory(), 'copy')
    cpSync(dataDirectory, copy, { recursive: true, filter: path => !path.endsWith('/lock') })
    // What became of messages is also in the entries, which come later: here the log has to say it.
    for (const name of readdirSync(join(copy, 'messages'))) {
      if (name.endsWith('.settled')) truncateSync(join(copy, 'messages', name), 0)
    }
    change(join(copy, 'messages', '00000001.log'))
    const broker = new Broker({ dataDirectory: copy, onWarning: () => {} })
    await broker.start()
    const client = openClient(broker)
    const found = Object.fromEntries(['source', 'a', 'b'].map(queue => [queue, waiting(client, queue)]))
    const { damage } = broker
    await broker.close()
    return { found, damage: damage.length }
  }

  test.each<readonly [string, string, number]>([
    ['short bodies, cut at every byte', 'l', 1],
    ['a body that is not copied, cut at many bytes', 'l'.repeat(9000), 97],
  ])(
    '%s: all of it is there or nothing',
    async (_what, body, step) => {
      const directory = temporaryDirectory()
      const { session } = await prepared(directory)
      const log = join(directory, 'messages', '00000001.log')
      const before = readFileSync(log).length
      const outcome = session.transfer([1, 2], [toBoth('x'), message(body, { routingKey: 'b' }), toBoth('z')])
      if (outcome.done) await committed(session, outcome.commit)
      const whole = readFileSync(log).length
      const nothing = { source: ['1', '2', '3'], a: [], b: [] }
      const everything = { source: ['3'], a: ['x', 'z'], b: ['x', body, 'z'] }
      expect((await contents(directory)).found).toEqual(everything)
      expect(whole - before).toBeGreaterThan(150)
      for (let length = before; length < whole; length += step) {
        const cut = await contents(directory, path => truncateSync(path, length))
        expect({ length, ...cut }).toEqual({ length, found: nothing, damage: 0 })
      }
      const last = await contents(directory, path => truncateSync(path, whole - 1))
      expect(last).toEqual({ found: nothing, damage: 0 })
    },
    60_000,
  )

  test('acknowledgements alone are kept, also when many fill several records', async () => {
    const directory = temporaryDirectory()
    const { session } = await prepared(directory)
    for (let index = 0; index < 70_000; index++) session.publish(message('m', { routingKey: 'b' }))
    const tags: number[] = []
    for (let got = session.get('b', false); got !== undefined; got = session.get('b', false)) tags.push(got.tag)
    const outcome = session.transfer([3, ...tags], [message('x', { routingKey: 'a' })])
    if (outcome.done) await committed(session, outcome.commit)
    expect((await contents(directory)).found).toEqual({ source: ['1', '2'], a: ['x'], b: [] })
  })

  test('damaged within, what is readable is kept and what it took away comes back: rather twice than never', async () => {
    const directory = temporaryDirectory()
    const { session } = await prepared(directory)
    const log = join(directory, 'messages', '00000001.log')
    const starts = [readFileSync(log).length]
    const outcome = session.transfer(
      [1, 2],
      ['x', 'y', 'z'].map(body => message(body, { routingKey: 'a' })),
    )
    if (outcome.done) await committed(session, outcome.commit)
    const { commit } = session.publish(message('behind', { routingKey: 'a' }))
    await committed(session, commit)
    const bytes = readFileSync(log)
    for (let record = 0; record < 2; record++) starts.push(starts[record]! + 8 + bytes.readUInt32LE(starts[record]!))
    const damagedAt = async (record: number) => {
      const changed = Buffer.from(bytes)
      changed[starts[record]! + 20]! ^= 0xff
      return contents(directory, path => writeFileSync(path, changed))
    }
    expect(await contents(directory)).toEqual({
      found: { source: ['3'], a: ['x', 'y', 'z', 'behind'], b: [] },
      damage: 0,
    })
    for (const [record, left] of [
      [0, ['y', 'z', 'behind']],
      [1, ['x', 'z', 'behind']],
      [2, ['x', 'y', 'behind']],
    ] as const) {
      expect(await damagedAt(record)).toEqual({ found: { source: ['1', '2', '3'], a: left, b: [] }, damage: 1 })
    }
  })

  test('a broker that is opened and killed again and again settles what had moved once and for all', async () => {
    const directory = temporaryDirectory()
    const { session, broker } = await prepared(directory)
    const outcome = session.transfer([1, 2], [])
    if (outcome.done) await committed(session, outcome.commit)
    await broker.close()
    for (let round = 0; round < 3; round++) {
      const again = new Broker({ dataDirectory: directory })
      await again.start()
      expect(again.vhost.inspect('source')).toMatchObject({ ready: 1 })
      await again.close()
    }
  })
})
