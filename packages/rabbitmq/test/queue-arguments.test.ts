import { describe, expect, test } from 'vitest'
import { queueArgumentsFor } from '../src/queue-arguments.ts'

const quorum = queueArgumentsFor({ queueType: 'quorum', deliveryLimit: 20 })
const classic = queueArgumentsFor({ queueType: 'classic', deliveryLimit: 20 })

describe('queueArgumentsFor', () => {
  test('[durable: false] has no arguments, as programs that know the name alone declare it', () => {
    for (const of of [quorum, classic]) {
      expect(of({ role: 'queue', durable: false, deadLetter: undefined })).toEqual({})
      // Nobody else knows its name, and nobody else would delete it.
      expect(of({ role: 'subscription', durable: false, deadLetter: undefined })).toEqual({ 'x-expires': 1_800_000 })
    }
  })

  test('[quorum] limits returns and dead-letters at least once, to the queue named', () => {
    expect(quorum({ role: 'queue', durable: true, deadLetter: 'x.dead-letter' })).toEqual({
      'x-queue-type': 'quorum',
      'x-delivery-limit': 20,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': 'x.dead-letter',
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    })
  })

  test('[quorum] without a dead-letter queue drops nothing for its returns', () => {
    const expected = { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 }
    expect(quorum({ role: 'dead-letter', durable: true, deadLetter: undefined })).toEqual(expected)
    expect(quorum({ role: 'queue', durable: true, deadLetter: undefined })).toEqual(expected)
  })

  test('[ordered] a lane is not left however often its owner changes', () => {
    const lane = quorum({ role: 'queue', durable: true, deadLetter: 'x.dead-letter', ordered: true })
    expect(lane).toMatchObject({ 'x-delivery-limit': 1_000_000, 'x-dead-letter-strategy': 'at-least-once' })
  })

  test('[classic] knows no delivery limit and dead-letters what is rejected', () => {
    expect(classic({ role: 'queue', durable: true, deadLetter: undefined })).toEqual({ 'x-queue-type': 'classic' })
    expect(classic({ role: 'queue', durable: true, deadLetter: 'x.dead-letter' })).toEqual({
      'x-queue-type': 'classic',
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': 'x.dead-letter',
    })
  })
})
