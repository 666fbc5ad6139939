import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../directory.ts'
import { bodyOf, drain, openClient, startBroker } from '../engine.ts'

test('[format 1] a data directory that a killed broker left is read as it was meant', async () => {
  const dataDirectory = join(temporaryDirectory(), 'data')
  cpSync(new URL('../fixtures/format-1', import.meta.url), dataDirectory, { recursive: true })
  const broker = await startBroker({ dataDirectory })
  const { session } = openClient(broker)
  expect(broker.damage).toEqual([])
  expect(broker.vhost.queueNames().sort()).toEqual(['copy', 'dead', 'work'])
  expect(broker.vhost.describeQueue('work')).toEqual({
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: { 'x-queue-type': 'quorum', 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'dead' },
  })
  const long = 'x'.repeat(9000)
  const numbered = (from: number) => Array.from({ length: 8 - from }, (_, index) => `message ${from + index}`)
  const work = drain(session, 'work')
  expect(work.map(bodyOf)).toEqual([...numbered(2), long, 'last'])
  expect(work.slice(0, 2).map(d => [d.redelivered, d.deliveryCount])).toEqual([
    [true, 1],
    [false, 0],
  ])
  expect(work[0]!.message).toMatchObject({
    exchange: 'events',
    routingKey: 'order.placed',
    properties: { deliveryMode: 2, contentType: 'text/plain', headers: { number: 1, when: new Date(0) } },
  })
  expect(drain(session, 'copy').map(bodyOf)).toEqual([...numbered(1), long, 'last'])
  const [dead] = drain(session, 'dead')
  expect(bodyOf(dead!)).toBe('message 1')
  expect(dead!.message.properties.headers!['x-death']).toMatchObject([{ queue: 'work', reason: 'rejected' }])
  expect(session.publish(work[0]!.message).routed).toBe(2)
})
