import { cpSync, readFileSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { committed, temporaryDirectory } from '../directory.ts'
import { bodyOf, dispatched, drain, message, openClient, refused, startBroker } from '../engine.ts'

test('[commit] is one step of the store: cut at its end, neither its messages nor its acknowledgements have happened', async () => {
  const directory = temporaryDirectory()
  const broker = await startBroker({ dataDirectory: directory })
  const { session } = openClient(broker)
  for (const queue of ['q', 'r']) session.declareQueue({ queue, durable: true })
  await committed(session, session.publish(message('taken', { routingKey: 'q' })).commit)
  const log = 'messages/00000001.log'
  const before = readFileSync(join(directory, log)).length
  session.get('q', false)
  session.selectTransaction()
  session.ack(1, false)
  for (const body of ['x', 'y']) session.publishLater(message(body, { routingKey: 'r' }), false)
  expect(drain(openClient(broker).session, 'r')).toEqual([])
  const { commit, unroutable } = session.commit()
  expect(unroutable).toEqual([])
  await committed(session, commit)
  const after = readFileSync(join(directory, log)).length
  const found = async (length: number) => {
    const copy = join(temporaryDirectory(), 'copy')
    cpSync(directory, copy, { recursive: true, filter: path => !path.endsWith('/lock') && !path.endsWith('.settled') })
    truncateSync(join(copy, log), length)
    const again = openClient(await startBroker({ dataDirectory: copy })).session
    return ['q', 'r'].map(queue => drain(again, queue).map(bodyOf))
  }
  expect(after).toBeGreaterThan(before)
  expect(await found(after)).toEqual([[], ['x', 'y']])
  expect(await found(after - 1)).toEqual([['taken'], []])
})

test('[rollback] what was settled keeps its tag, can be settled again, and goes back in order at the end', async () => {
  const broker = await startBroker()
  const { session } = openClient(broker)
  session.declareQueue({ queue: 'q' })
  for (let index = 1; index <= 6; index++) session.publish(message(`${index}`, { routingKey: 'q' }))
  session.selectTransaction()
  for (let index = 0; index < 6; index++) session.get('q', false)
  session.ack(4, true)
  session.nack(5, false, false)
  expect(session.unsettled).toBe(1)
  session.rollback()
  expect(session.unsettled).toBe(6)
  session.ack(2, false)
  session.commit()
  refused(() => session.ack(2, false), 406, 'PRECONDITION_FAILED - unknown delivery tag 2', 'channel')
  session.ack(6, true)
  session.close()
  expect(drain(openClient(broker).session, 'q').map(bodyOf)).toEqual(['1', '3', '4', '5', '6'])
})

test('[memory] messages that wait for a commit count, block publishers, and are bounded', async () => {
  const broker = await startBroker({ memoryLimitBytes: 1024 * 1024 })
  const { session } = openClient(broker)
  session.declareQueue({ queue: 'q' })
  session.selectTransaction()
  const body = Buffer.alloc(64 * 1024)
  while (!broker.vhost.blocked) session.publishLater({ ...message('', { routingKey: 'q' }), body }, false)
  expect(broker.vhost.memoryBytes).toBeGreaterThan(1024 * 1024)
  session.rollback()
  expect(broker.vhost.blocked).toBe(false)
  const half = Buffer.alloc(70 * 1024 * 1024)
  session.publishLater({ ...message('', { routingKey: 'q' }), body: half }, false)
  const second = { ...message('', { routingKey: 'q' }), body: half }
  refused(() => session.publishLater(second, false), 506, /holds at most 134217728 bytes/, 'connection')
  session.close()
  expect(broker.vhost.memoryBytes).toBe(0)
  await dispatched()
  expect(broker.vhost.inspect('q')).toMatchObject({ ready: 0 })
})
