import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { drain, message, openClient, startBroker } from '../engine.ts'

const waiting = { timeout: 15_000, interval: 50 }
const nowMs = 1_700_000_000_000
const sentAt = (ms: number) => ({ deliveryMode: 2, timestamp: ms / 1000 })

test('[rates] count what came and what was handed out, and go back to nothing when nothing moves', async () => {
  const broker = await startBroker()
  const { session } = openClient(broker)
  session.declareQueue({ queue: 'q' })
  session.declareQueue({ queue: 'idle' })
  expect(broker.vhost.inspect('q')).toMatchObject({ publishRate: undefined, deliverRate: undefined })
  // For as long as it takes to be seen: a turn of the rates may fall between any two of these.
  await expect
    .poll(() => {
      for (let count = 0; count < 100; count++) session.publish(message('x', { routingKey: 'q' }))
      for (let count = 0; count < 50; count++) session.get('q', true)
      return broker.vhost.inspect('q')
    }, waiting)
    .toMatchObject({ publishRate: expect.any(Number), deliverRate: expect.any(Number) })
  const { publishRate, deliverRate } = broker.vhost.inspect('q')!
  expect(publishRate).toBeGreaterThan(0)
  expect(deliverRate).toBeGreaterThan(0)
  expect(publishRate! / deliverRate!).toBeCloseTo(2, 5)
  expect(broker.vhost.inspect('idle')).toMatchObject({ publishRate: 0, deliverRate: 0 })
  await expect.poll(() => broker.vhost.inspect('q'), waiting).toMatchObject({ publishRate: 0, deliverRate: 0 })
})

test('[oldest] is the age of the first that waits, by what its sender says', async () => {
  const broker = await startBroker({ clock: { now: () => nowMs } })
  const { session } = openClient(broker)
  session.declareQueue({ queue: 'q' })
  const oldest = () => broker.vhost.inspect('q')!.oldestAgeMs
  expect(oldest()).toBeUndefined()
  session.publish(message('a', { routingKey: 'q' }, sentAt(nowMs - 60_000)))
  session.publish(message('b', { routingKey: 'q' }, sentAt(nowMs - 5000)))
  session.publish(message('from a clock that is ahead', { routingKey: 'q' }, sentAt(nowMs + 5000)))
  session.publish(message('says nothing', { routingKey: 'q' }))
  const ages: (number | undefined)[] = []
  while (broker.vhost.inspect('q')!.ready > 0) {
    ages.push(oldest())
    session.get('q', true)
  }
  expect(ages).toEqual([60_000, 5000, 0, undefined])
})

test('[oldest] a delayed message is as old as the time since it was due', async () => {
  let now = nowMs
  const broker = await startBroker({ clock: { now: () => now } })
  const { session } = openClient(broker)
  session.declareQueue({ queue: 'q' })
  const properties = { ...sentAt(nowMs - 60_000), headers: { chasqui_not_before: nowMs + 1000 } }
  session.publish(message('later', { routingKey: 'q' }, properties))
  expect(broker.vhost.inspect('q')).toMatchObject({ delayed: 1, oldestAgeMs: undefined })
  now += 3000
  await expect.poll(() => broker.vhost.inspect('q'), waiting).toMatchObject({ ready: 1, oldestAgeMs: 2000 })
})

test('[oldest] is known of what is only on disk, which stays there to be consumed', async () => {
  const dataDirectory = mkdtempSync(join(tmpdir(), 'chasqui-traffic-'))
  onTestFinished(() => rmSync(dataDirectory, { recursive: true, force: true }))
  const first = await startBroker({ dataDirectory, clock: { now: () => nowMs } })
  const before = openClient(first).session
  before.declareQueue({ queue: 'q', durable: true })
  before.publish(message('kept', { routingKey: 'q' }, sentAt(nowMs - 60_000)))
  await first.close()
  const second = await startBroker({ dataDirectory, clock: { now: () => nowMs } })
  expect(second.vhost.inspect('q')).toMatchObject({ ready: 1, oldestAgeMs: 60_000 })
  expect(drain(openClient(second).session, 'q')).toHaveLength(1)
})
