import { expect, test } from 'vitest'
import { judge } from '../src/share.ts'

const paying = 0.1
const notPaying = 0.9

test.each([
  // lanes, members, active -> surplus
  [4, 1, 4, 0],
  [4, 2, 4, 2],
  [5, 2, 5, 2],
  [4, 2, 2, 0],
  [4, 2, 0, 0],
  // Of three the first in line gets all of it, so it goes in parts.
  [4, 3, 4, 1],
  [64, 3, 64, 21],
  [64, 3, 23, 1],
  [2, 5, 2, 1],
  [2, 5, 1, 0],
])('[share] of %i lanes for %i members, one who has %i hands over %i', (lanes, members, active, surplus) => {
  expect(judge({ lanes, members, active, isCourtesyDue: false }, paying).surplus).toBe(surplus)
})

test('[courtesy] one who has a lane more than others must have gives it away when others joined, once and not all at once', () => {
  const standing = { lanes: 4, members: 3, active: 2, isCourtesyDue: true }
  expect(judge(standing, notPaying)).toEqual({ surplus: 0, isSatisfied: true, isCourtesyDone: false })
  expect(judge(standing, paying)).toEqual({ surplus: 1, isSatisfied: true, isCourtesyDone: true })
  expect(judge({ ...standing, isCourtesyDue: false }, paying).surplus).toBe(0)
  expect(judge({ ...standing, active: 1 }, paying)).toEqual({ surplus: 0, isSatisfied: true, isCourtesyDone: true })
  expect(judge({ ...standing, lanes: 6 }, paying)).toEqual({ surplus: 0, isSatisfied: true, isCourtesyDone: true })
})

test('[satisfied] nobody makes room who has nothing, or is alone', () => {
  expect(judge({ lanes: 2, members: 5, active: 0, isCourtesyDue: false }, paying).isSatisfied).toBe(false)
  expect(judge({ lanes: 2, members: 1, active: 2, isCourtesyDue: false }, paying).isSatisfied).toBe(false)
  expect(judge({ lanes: 4, members: 3, active: 1, isCourtesyDue: false }, paying).isSatisfied).toBe(true)
})
