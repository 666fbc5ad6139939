import { expect, test } from 'vitest'
import { queueArguments } from '../src/queue-arguments.ts'

test('a queue that does not last is bare, as other languages declare it', () => {
  expect(queueArguments({ role: 'queue', durable: false, deadLetter: undefined })).toEqual({})
})

test('the queue of a subscription that does not last goes half an hour after its last consumer', () => {
  const given = queueArguments({ role: 'subscription', durable: false, deadLetter: undefined })
  expect(given).toEqual({ 'x-expires': 1_800_000 })
})

test('one that lasts hands what comes back too often to its dead-letter queue, and without one keeps it', () => {
  expect(queueArguments({ role: 'queue', durable: true, deadLetter: 'a.dead-letter' })).toMatchObject({
    'x-delivery-limit': 20,
    'x-dead-letter-routing-key': 'a.dead-letter',
  })
  const kept = queueArguments({ role: 'dead-letter', durable: true, deadLetter: undefined })
  expect(kept).toEqual({ 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 })
})
