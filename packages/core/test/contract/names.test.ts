import { checkName, checkSubscription, isReserved, maxNameBytes } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { errorOf } from '../fixture.ts'

describe('names', () => {
  test.each(['a', 'orders', 'order.placed', 'A-Z_0.9', '-', 'x'.repeat(maxNameBytes), 'dead-letters', 'dead-letter.x'])(
    'allows %s',
    name => {
      expect(() => checkName('queue', name)).not.toThrow()
    },
  )

  test.each(['', 'with space', 'größe', 'a/b', 'a:b', 'a#', 'x'.repeat(maxNameBytes + 1), 'line\nfeed'])(
    'refuses %j',
    async name => {
      expect((await errorOf(() => checkName('queue', name))).code).toBe('name-invalid')
    },
  )

  test.each(['dead-letter', 'orders.dead-letter', 'a.delayed', 'a.parked', 'a.fault', 'a.lane-0', 'lane-17'])(
    'keeps %s for itself',
    async name => {
      expect(isReserved(name)).toBe(true)
      expect((await errorOf(() => checkName('topic', name))).code).toBe('name-invalid')
    },
  )

  test('a reserved word in another place, or as a part of a word, is free', () => {
    for (const name of ['dead-letter.orders', 'a.undelayed', 'lane-x', 'a.lane-', 'default'])
      expect(isReserved(name)).toBe(false)
  })

  test('a subscription has no dot, and is bounded together with its topic', async () => {
    expect(() => checkSubscription('order.placed', 'billing')).not.toThrow()
    expect((await errorOf(() => checkSubscription('orders', 'a.b'))).message).toContain('hyphen')
    expect((await errorOf(() => checkSubscription('orders', 'delayed'))).code).toBe('name-invalid')
    expect((await errorOf(() => checkSubscription('x'.repeat(150), 'y'.repeat(50)))).code).toBe('name-invalid')
  })
})
