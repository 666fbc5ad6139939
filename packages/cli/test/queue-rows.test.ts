import { expect, test } from 'vitest'
import { queueRows } from '../src/queue-rows.ts'

const queue = (name: string, ready = 0) => ({ name, ready, consumers: 0 })

test('the lanes of a queue are one row, where the first one stood', () => {
  const { rows } = queueRows([
    queue('a'),
    { ...queue('orders.lane-0', 1), unsettled: 2, consumers: 1, publishRate: 1.5, oldestAgeMs: 10 },
    { ...queue('orders.lane-1', 3), unsettled: 4, consumers: 2, deliverRate: 1, oldestAgeMs: 30 },
    { ...queue('orders.lane-2', 5), delayed: 1, oldestAgeMs: 20 },
    queue('z'),
  ])
  expect(rows.map(({ name }) => name)).toEqual(['a', 'orders', 'z'])
  expect(rows[1]).toEqual({
    name: 'orders',
    lanes: 3,
    ready: 9,
    unsettled: 6,
    delayed: 1,
    consumers: 2,
    publishRate: 1.5,
    deliverRate: 1,
    oldestAgeMs: 30,
  })
})

test('what only looks like lanes stays as it is: a gap, or one alone', () => {
  const names = ['gap.lane-0', 'gap.lane-2', 'one.lane-0', 'lane-3']
  expect(queueRows(names.map(name => queue(name))).rows.map(({ name }) => name)).toEqual(names)
})

test("Chasqui's own queues are left out and counted with what waits in them; what lost its place is shown", () => {
  const { rows, hidden } = queueRows([
    queue('chasqui.03.delayed', 2),
    queue('chasqui.sink.delayed'),
    queue('chasqui.undeliverable.delayed', 1),
    queue('orders.lane-members'),
    queue('reply-0f689c81-339d-4e07-b82f-9696ef4ce06e', 1),
    queue('reply-to-customers', 7),
    queue('flights.delayed', 1),
  ])
  expect(rows.map(({ name }) => name)).toEqual([
    'chasqui.undeliverable.delayed',
    'reply-to-customers',
    'flights.delayed',
  ])
  expect(hidden).toEqual({ queues: 4, messages: 3 })
})
