import { expect, test } from 'vitest'
import { committed, temporaryDirectory } from '../directory.ts'
import { bodyOf, dispatched, drain, message, openClient, startBroker } from '../engine.ts'

const levels = { 'x-max-priority': 10 }

test('[restart] a durable queue keeps its priorities, also of what is delayed', async () => {
  const dataDirectory = temporaryDirectory()
  let now = Date.now()
  const first = await startBroker({ dataDirectory, clock: { now: () => now } })
  const { session } = openClient(first)
  session.declareQueue({ queue: 'q', durable: true, arguments: levels })
  let commit = 0
  for (const [body, priority, notBefore] of [
    ['low', 1, 0],
    ['later', 9, now + 1000],
    ['high', 8, 0],
    ['low too', 1, 0],
  ] as const) {
    const properties = { deliveryMode: 2, priority, headers: { chasqui_not_before: notBefore } }
    commit = session.publish(message(body, { routingKey: 'q' }, properties)).commit
  }
  await committed(session, commit)
  await first.close()
  const second = await startBroker({ dataDirectory, clock: { now: () => now } })
  expect(second.vhost.inspect('q')).toMatchObject({ ready: 3, delayed: 1 })
  now += 1001
  await expect.poll(() => second.vhost.inspect('q')).toMatchObject({ ready: 4 })
  expect(drain(openClient(second).session, 'q').map(bodyOf)).toEqual(['later', 'high', 'low', 'low too'])
})

test('[order by key] the lock holds across priorities: one of a key at a time, the greatest first', async () => {
  const broker = await startBroker()
  const client = openClient(broker)
  client.session.declareQueue({ queue: 'q', arguments: levels })
  for (const [body, key, priority] of [
    ['a1', 'a', 1],
    ['a9', 'a', 9],
    ['b5', 'b', 5],
    ['a5', 'a', 5],
  ] as const) {
    const properties = { priority, headers: { cloudEvents_partitionkey: key } }
    client.session.publish(message(body, { routingKey: 'q' }, properties))
  }
  client.session.consume({ queue: 'q', order: 'key' })
  await dispatched()
  expect(client.bodies()).toEqual(['a9', 'b5'])
  for (const tag of [1, 3]) {
    client.session.ack(tag, false)
    await dispatched()
  }
  expect(client.bodies().slice(2).sort()).toEqual(['a1', 'a5'])
  expect(broker.vhost.inspect('q')).toMatchObject({ ready: 0 })
})
