import { ChasquiError } from '@chasqui/driver'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { type BusEvent, EventHub } from '../../src/observe/events.ts'
import { maxDestinations, metricTable } from '../../src/observe/metric-table.ts'
import { Metrics } from '../../src/observe/metrics.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

const system = 'messaging_system="memory"'
const at = (queue: string, operation?: string) =>
  [
    system,
    ...(operation === undefined ? [] : [`messaging_operation_name="${operation}"`]),
    `messaging_destination_name="${queue}"`,
  ].join(',')

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
  expect(text).toContain(`messaging_client_sent_messages_total{${at(queue, 'send')}} 2`)
  expect(text).toContain(`messaging_client_consumed_messages_total{${at(queue, 'receive')}} 2`)
  expect(text).toContain(`chasqui_failed_attempts_total{${at(queue)},error_type="handler-failed"} 2`)
  expect(text).toContain(`chasqui_retried_messages_total{${at(queue)}} 1`)
  expect(text).toContain(`chasqui_dead_lettered_messages_total{${at(queue)},error_type="handler-failed"} 1`)
  expect(text).toContain(`messaging_process_duration_seconds_count{${at(queue, 'process')}} 3`)
  expect(text).toContain(`messaging_process_duration_seconds_bucket{le="+Inf",${at(queue, 'process')}} 3`)
  expect(text).toContain(`messaging_client_operation_duration_seconds_count{${at(queue, 'send')}} 2`)
  expect(text).toContain(`chasqui_in_flight_messages{${at(queue)}} 0`)
  expect(text).toContain(`chasqui_concurrency{${at(queue)}} 10`)
  expect(text).toContain(`chasqui_reconnects_total{${system}} 0`)
  expect(text).toContain(`chasqui_connection_up{${system}} 1`)
})

test('[metrics] tells how many handlers run at this moment, of all consumers of a source together', async () => {
  const bus = await memoryBus({ metrics: true })
  const queue = ownName()
  const gate = Promise.withResolvers<void>()
  await bus.handle(queue, () => gate.promise, { window: 1, concurrency: 1 })
  await bus.handle(queue, () => gate.promise, { window: 1, concurrency: 1 })
  await bus.send(queue, 1)
  await bus.send(queue, 2)
  const line = `chasqui_in_flight_messages{${at(queue)}}`
  await eventually('two in flight', async () => (await bus.metrics()).includes(`${line} 2`))
  expect(await bus.metrics()).toContain(`chasqui_concurrency{${at(queue)}} 2`)
  gate.resolve()
  await eventually('none in flight', async () => (await bus.metrics()).includes(`${line} 0`))
})

test('[metrics] tells the share of an attempt before its handler, and how long settling takes', async () => {
  const slow = { type: 'slow', ms: 30 }
  const bus = await memoryBus({
    metrics: true,
    incoming: [
      async (message, next) => {
        await new Promise(resolve => setTimeout(resolve, slow.ms))
        message.body = 'decoded'
        return await next(message)
      },
    ],
  })
  const queue = ownName()
  await bus.handle(queue, () => new Promise(resolve => setTimeout(resolve, 100)))
  await bus.send(queue, 1)
  await eventually('settled', () => ofKind(bus.told, 'settled').length === 1)
  const text = await bus.metrics()
  const sum = (name: string) => Number(text.match(new RegExp(`^${name}_sum\\{[^}]*"${queue}"\\} (.*)$`, 'm'))?.[1])
  expect(sum('chasqui_pipeline_duration_seconds')).toBeGreaterThanOrEqual(0.029)
  expect(sum('messaging_process_duration_seconds')).toBeGreaterThan(sum('chasqui_pipeline_duration_seconds') + 0.09)
  expect(text).toContain(`messaging_client_operation_duration_seconds_count{${at(queue, 'settle')}} 1`)
})

test('[metrics] replies count under one name, and those that nobody waits for are told', async () => {
  const bus = await memoryBus({ metrics: true })
  const [queue, rows] = [ownName(), ownName()]
  const late = Promise.withResolvers<void>()
  await bus.handle(queue, async body => {
    if (body === 'late') await late.promise
    return 'reply'
  })
  await bus.handle(rows, async function* () {
    yield 1
    yield 2
  })
  await errorOf(bus.request(queue, 'late', { timeoutMs: 10 }))
  late.resolve()
  await bus.request(queue, 'now')
  for await (const _ of bus.stream(rows, 1));
  await eventually('the late one', () => ofKind(bus.told, 'late-reply').length === 1)
  await eventually('the stream ended', () => ofKind(bus.told, 'streamed').length === 1)
  const text = await bus.metrics()
  expect(text).toContain(`chasqui_late_replies_total{${system}} 1`)
  expect(text).toContain(`chasqui_streams_total{${at(rows)},chasqui_stream_end="finished"} 1`)
  expect(text).toContain(`chasqui_stream_items_total{${at(rows)}} 2`)
  // Two replies; of the stream a word at its begin, two items and the end.
  expect(text).toContain(`messaging_client_sent_messages_total{${at('_reply', 'send')}} 6`)
  expect(text).not.toMatch(/messaging_destination_name="reply-/)
})

test('[metrics] is refused with the way to turn it on where nobody asked for it', async () => {
  const bus = await memoryBus()
  const error = await errorOf(bus.metrics())
  expect(error).toMatchObject({ code: 'option-invalid', message: expect.stringContaining('metrics: true') })
  expect(bus.metricsRegistry).toBeUndefined()
})

test('[metrics] the registry can be merged with the application’s own', async () => {
  const bus = await memoryBus({ metrics: true })
  const merged = Registry.merge([new Registry(), bus.metricsRegistry!])
  await bus.send(ownName(), 1)
  expect(await merged.metrics()).toBe(await bus.metrics())
})

const delivered = { source: 'q', id: 'i', type: 't' }
const error = new ChasquiError('unrouted', 'x')

/** One event of each kind that is counted, and what it makes of the text. */
const counted: readonly [BusEvent, string][] = [
  [
    { kind: 'send-failed', id: 'i', type: 't', destination: 'q', target: 'queue', error, inDoubt: false },
    'messaging_client_sent_messages_total{S,messaging_operation_name="send",Q,error_type="unrouted"} 1',
  ],
  [
    { kind: 'send-refused', destination: 'q', target: 'queue', error: new Error('x') },
    'messaging_client_sent_messages_total{S,messaging_operation_name="send",Q,error_type="handler-failed"} 1',
  ],
  [{ kind: 'received', ...delivered, redelivered: true, bytes: 1 }, 'chasqui_redelivered_messages_total{S,Q} 1'],
  [{ kind: 'delay-cut', ...delivered, askedMs: 2, delayMs: 1 }, 'chasqui_cut_delays_total{S,Q} 1'],
  [{ kind: 'retry-held', ...delivered, delayMs: 1, error }, 'chasqui_held_retries_total{S,Q} 1'],
  [
    { kind: 'dead-lettered', ...delivered, attempts: 1, code: 'crash-loop', reason: 'r', deadLetter: 'd', error },
    'chasqui_dead_lettered_messages_total{S,Q,error_type="crash-loop"} 1',
  ],
  [
    { kind: 'dead-letter-failed', ...delivered, deadLetter: 'd', error, delayMs: 1 },
    'chasqui_dead_letter_failures_total{S,Q} 1',
  ],
  [
    { kind: 'redriven', ...delivered, destination: 'q', by: 'me', isEdited: false },
    'chasqui_redriven_messages_total{S,Q} 1',
  ],
  [{ kind: 'discarded', ...delivered, by: 'me' }, 'chasqui_discarded_messages_total{S,Q} 1'],
  [{ kind: 'released', ...delivered, reason: 'r' }, 'chasqui_released_messages_total{S,Q} 1'],
  [{ kind: 'unrouted', ...delivered, count: 1 }, 'chasqui_unrouted_messages_total{S,Q} 1'],
  [{ kind: 'settled-late', source: 'q', count: 3 }, 'chasqui_late_settlements_total{S,Q} 3'],
  [{ kind: 'bound-reached', source: 'q', held: 1, unsettled: 1 }, 'chasqui_bound_reached_total{S,Q} 1'],
  [{ kind: 'circuit-opened', source: 'q', openMs: 1, error }, 'chasqui_circuit_open{S,Q} 1'],
  [{ kind: 'circuit-closed', source: 'q' }, 'chasqui_circuit_open{S,Q} 0'],
  [{ kind: 'circuit-opened', source: 'q', openMs: 1, error }, 'chasqui_circuit_openings_total{S,Q} 2'],
  [{ kind: 'consumer-stopped', source: 'q', cancelled: 0 }, 'chasqui_circuit_open{S,Q} 0'],
  [{ kind: 'consumer-stalled', source: 'q', stallMs: 1, rebuilds: 1 }, 'chasqui_consumer_rebuilds_total{S,Q} 1'],
  [{ kind: 'consumer-failed', source: 'q', error }, 'chasqui_consumer_failures_total{S,Q,error_type="unrouted"} 1'],
  [{ kind: 'request-cancelled', ...delivered }, 'chasqui_cancelled_requests_total{S,Q} 1'],
  [
    { kind: 'streamed', ...delivered, replyTo: 'r', end: 'left', items: 4 },
    'chasqui_streams_total{S,Q,chasqui_stream_end="left"} 1',
  ],
  [{ kind: 'late-reply', id: 'i', type: 't', correlationId: 'c' }, 'chasqui_late_replies_total{S} 1'],
  [{ kind: 'hook-failed', hook: 'h', error }, 'chasqui_hook_failures_total{S} 1'],
  [{ kind: 'driver-failed', doing: 'd', error }, 'chasqui_driver_failures_total{S} 1'],
  [{ kind: 'state', state: 'blocked', reason: undefined }, 'chasqui_connection_up{S} 0'],
  [{ kind: 'state', state: 'up', reason: undefined }, 'chasqui_connection_up{S} 1'],
  [{ kind: 'reconnected', downMs: 1 }, 'chasqui_reconnects_total{S} 1'],
]

test('every metric of the table is there, and each event that is not the usual way is counted', async () => {
  const events = new EventHub()
  const metrics = new Metrics('e', () => [])
  metrics.listen(events)
  const empty = await metrics.registry.metrics()
  for (const { name, type, help } of Object.values(metricTable)) {
    expect(empty).toContain(`# HELP ${name} ${help}\n# TYPE ${name} ${type}`)
  }
  expect(empty.match(/^# TYPE/gm)).toHaveLength(Object.keys(metricTable).length)
  for (const [event, line] of counted) {
    events.emit(event)
    const whole = line.replace('S', 'messaging_system="e"').replace('Q', 'messaging_destination_name="q"')
    expect(await metrics.registry.metrics()).toContain(`\n${whole}\n`)
  }
})

test('puts durations into the bucket whose bound they do not exceed, and sums them', async () => {
  const events = new EventHub()
  const metrics = new Metrics('e', () => [])
  metrics.listen(events)
  for (const durationMs of [5, 6, 20_000]) {
    const times = { attempt: 1, durationMs, pipelineMs: durationMs / 1000 }
    events.emit({ kind: 'handled', source: 'q', id: undefined, type: undefined, ...times })
  }
  const text = await metrics.registry.metrics()
  const labels = 'messaging_system="e",messaging_operation_name="process",messaging_destination_name="q"'
  const bucket = (le: string) => `messaging_process_duration_seconds_bucket{le="${le}",${labels}}`
  expect(text).toContain(`${bucket('0.005')} 1`)
  expect(text).toContain(`${bucket('0.01')} 2`)
  expect(text).toContain(`${bucket('10')} 2`)
  expect(text).toContain(`${bucket('+Inf')} 3`)
  expect(text).toContain(`messaging_process_duration_seconds_sum{${labels}} 20.011`)
  expect(text).toContain('chasqui_pipeline_duration_seconds_bucket{le="0.00001",messaging_system="e"')
  // Applications that merge registries read the same by the other way.
  const asJson = await metrics.registry.getMetricsAsJSON()
  const held = asJson.find(metric => metric.name === 'messaging_process_duration_seconds')
  expect(held).toMatchObject({ type: 'histogram' })
  expect(JSON.stringify(held)).toContain('"le":"+Inf"')
})

test('gives destinations beyond the bound one common label', async () => {
  const events = new EventHub()
  const metrics = new Metrics('e', () => [])
  const stop = metrics.listen(events)
  const received = (source: string) =>
    events.emit({ kind: 'received', source, id: undefined, type: undefined, redelivered: false, bytes: 0 })
  for (let i = 0; i < maxDestinations + 3; i++) received(`q${i}`)
  const text = await metrics.registry.metrics()
  expect(text.match(/^messaging_client_consumed_messages_total\{/gm)).toHaveLength(maxDestinations + 1)
  expect(text).toMatch(/^messaging_client_consumed_messages_total\{.*messaging_destination_name="_other"\} 3$/m)
  stop()
  received('q0')
  expect(events.heard.received).toBe(false)
})
