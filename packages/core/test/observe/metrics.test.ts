import { expect, test } from 'vitest'
import { EventHub } from '../../src/observe/events.ts'
import { Metrics, maxDestinations } from '../../src/observe/metrics.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

test('[metrics] counts what is sent, received, failed, retried and dead-lettered, per destination and error', async () => {
  const bus = await memoryBus({ metrics: true })
  const queue = ownName()
  await bus.handle(
    queue,
    (body: unknown) => {
      if (body === 'bad') throw new Error('no')
    },
    { retry: { attempts: 2, delays: [] } },
  )
  await bus.send(queue, 'good')
  await bus.send(queue, 'bad')
  await eventually('the dead letter', () => ofKind(bus.told, 'dead-lettered').length === 1)
  await eventually('the good one', () => ofKind(bus.told, 'handled').length === 1)
  const text = await bus.metrics()
  const at = `messaging_destination_name="${queue}"`
  expect(text).toContain(`messaging_client_sent_messages_total{${at}} 2`)
  expect(text).toContain(`messaging_client_consumed_messages_total{${at}} 2`)
  expect(text).toContain(`chasqui_failed_attempts_total{${at},error_type="handler-failed"} 2`)
  expect(text).toContain(`chasqui_retried_messages_total{${at}} 1`)
  expect(text).toContain(`chasqui_dead_lettered_messages_total{${at},error_type="handler-failed"} 1`)
  expect(text).toContain(`messaging_process_duration_seconds_count{${at}} 3`)
  expect(text).toContain(`messaging_process_duration_seconds_bucket{le="+Inf",${at}} 3`)
  expect(text).toContain(`messaging_client_operation_duration_seconds_count{${at}} 2`)
  expect(text).toContain(`chasqui_in_flight_messages{${at}} 0`)
  expect(text).toContain('chasqui_reconnects_total 0')
})

test('[metrics] tells how many handlers run at this moment', async () => {
  const bus = await memoryBus({ metrics: true })
  const queue = ownName()
  const gate = Promise.withResolvers<void>()
  await bus.handle(queue, () => gate.promise)
  await bus.send(queue, 1)
  const line = `chasqui_in_flight_messages{messaging_destination_name="${queue}"}`
  await eventually('one in flight', async () => (await bus.metrics()).includes(`${line} 1`))
  gate.resolve()
  await eventually('none in flight', async () => (await bus.metrics()).includes(`${line} 0`))
})

test('[metrics] is refused with the way to turn it on where nobody asked for it', async () => {
  const bus = await memoryBus()
  const error = await errorOf(bus.metrics())
  expect(error).toMatchObject({ code: 'option-invalid', message: expect.stringContaining('metrics: true') })
})

test('puts durations into the bucket whose bound they do not exceed, and sums them', async () => {
  const events = new EventHub()
  const metrics = new Metrics(() => [])
  metrics.listen(events)
  for (const durationMs of [5, 6, 20_000]) {
    events.emit({ kind: 'handled', source: 'q', id: undefined, type: undefined, attempt: 1, durationMs })
  }
  const text = await metrics.registry.metrics()
  const bucket = (le: string) => `messaging_process_duration_seconds_bucket{le="${le}",messaging_destination_name="q"}`
  expect(text).toContain(`${bucket('0.005')} 1`)
  expect(text).toContain(`${bucket('0.01')} 2`)
  expect(text).toContain(`${bucket('10')} 2`)
  expect(text).toContain(`${bucket('+Inf')} 3`)
  expect(text).toContain('messaging_process_duration_seconds_sum{messaging_destination_name="q"} 20.011')
  // Applications that merge registries read the same by the other way.
  const asJson = await metrics.registry.getMetricsAsJSON()
  const held = asJson.find(metric => metric.name === 'messaging_process_duration_seconds')
  expect(held).toMatchObject({ type: 'histogram' })
  expect(JSON.stringify(held)).toContain('"le":"+Inf"')
})

test('gives destinations beyond the bound one common label', async () => {
  const events = new EventHub()
  const metrics = new Metrics(() => [])
  const stop = metrics.listen(events)
  const received = (source: string) =>
    events.emit({ kind: 'received', source, id: undefined, type: undefined, redelivered: false, bytes: 0 })
  for (let i = 0; i < maxDestinations + 3; i++) received(`q${i}`)
  const text = await metrics.registry.metrics()
  expect(text.match(/^messaging_client_consumed_messages_total\{/gm)).toHaveLength(maxDestinations + 1)
  expect(text).toContain('messaging_client_consumed_messages_total{messaging_destination_name="_other"} 3')
  stop()
  received('q0')
  expect(events.heard.received).toBe(false)
})
