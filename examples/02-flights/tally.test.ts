import { expect, it } from 'vitest'
import { Tally } from './tally.ts'

function attempts(...list: readonly (readonly [flight: number, beganNs: number, done?: boolean])[]): Tally {
  const tally = new Tally(list.length)
  const flights = list.map(([flight, beganNs, done = true]) => ({ flight, origin: 'JFK', delay: 0, done, beganNs }))
  tally.add({ kind: 'attempted', flights })
  return tally
}

it('counts a flight that was first done after a later one of its airport had begun as a violation', () => {
  expect(attempts([1, 10], [2, 20], [3, 30]).orderViolations).toBe(0)
  expect(attempts([1, 30], [2, 20], [3, 40]).orderViolations).toBe(1)
  expect(attempts([1, 10, false], [2, 20], [1, 30]).orderViolations).toBe(1)
})

it('goes by when attempts began, not by when they were reported', () => {
  expect(attempts([2, 20], [1, 10]).orderViolations).toBe(0)
})

it('counts what comes again after a crash as a duplicate and not as a violation', () => {
  const tally = attempts([1, 10], [2, 20], [1, 30], [2, 40], [3, 50])
  expect(tally.orderViolations).toBe(0)
  expect(tally.duplicates).toBe(2)
})

it('counts a flight as retried when a later attempt was done', () => {
  const tally = attempts([1, 10, false], [1, 20], [2, 30, false])
  expect(tally.retried).toBe(1)
  expect(tally.handled).toBe(1)
})
