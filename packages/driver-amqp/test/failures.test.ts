import { AmqpError } from '@chasqui/amqp'
import { ConnectionError } from '@chasqui/amqp/client'
import { ChasquiError } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { connectFailure, describe as describeDifferences, differenceOf, isLoss, refusal } from '../src/failures.ts'

/** As RabbitMQ 3.10.8 wrote them. */
const texts = {
  durable:
    "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
  none: "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': received none but current is the value '' of type 'longstr'",
  type: "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'e' in vhost '/': received 'topic' but current is 'fanout'",
  invalid: "PRECONDITION_FAILED - invalid arg 'x-message-ttl' for queue 'q' in vhost '/': {value_negative,-1}",
  locked: "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'",
  missing: "NOT_FOUND - no queue 'q' in vhost '/'",
  reserved: "ACCESS_REFUSED - queue name 'amq.q' contains reserved prefix 'amq.*'",
  refused: "ACCESS_REFUSED - access to queue 'q' in vhost '/' refused for user 'ana'",
  away: "NOT_FOUND - home node 'r@a' of durable queue 'q' in vhost '/' is down or inaccessible",
  forced: "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'",
}

describe('differenceOf', () => {
  test.each([
    [texts.durable, { argument: 'durable', asked: "'true'", current: "'false'" }],
    [texts.none, { argument: 'x-dead-letter-exchange', asked: 'none', current: "the value '' of type 'longstr'" }],
    [texts.type, { argument: 'type', asked: "'topic'", current: "'fanout'" }],
    [`${texts.durable.slice(0, 60)}...`, { argument: 'durable' }],
    [texts.invalid, undefined],
  ])('[406] %s', (text, expected) => {
    expect(differenceOf(new AmqpError(406, text))).toEqual(expected)
  })

  test('[406] is nothing else', () => {
    expect(differenceOf(new AmqpError(404, texts.durable))).toBeUndefined()
    expect(differenceOf(new Error(texts.durable))).toBeUndefined()
  })

  test('[describe] says what was asked and what is, where both are known', () => {
    expect(describeDifferences([{ argument: 'a', asked: "'1'", current: 'none' }, { argument: 'b' }])).toBe(
      "a: asked '1', is none; b differs",
    )
  })
})

describe('refusal', () => {
  test.each([
    [406, texts.none, 'destination-differs'],
    [406, texts.invalid, 'unsupported'],
    [405, texts.locked, 'destination-in-use'],
    [404, texts.missing, 'destination-missing'],
    [404, texts.away, 'disconnected'],
    [403, texts.reserved, 'name-invalid'],
    [403, texts.refused, 'access-refused'],
    [320, texts.forced, 'disconnected'],
    [540, 'NOT_IMPLEMENTED - active=false', 'protocol-error'],
  ])('[%i] %s is %s, names the queue and keeps the cause', (code, text, expected) => {
    const cause = new AmqpError(code, text)
    const failure = refusal(cause, "queue 'q'")
    expect(failure).toMatchObject({ code: expected, message: expect.stringMatching(/queue 'q'.*\.$/s) })
    expect(failure.cause).toBe(cause)
  })

  test('[connection] a lost one is disconnected; exhausted channels are not', () => {
    expect(refusal(new ConnectionError('heartbeat', 'Silence.'), 'q').code).toBe('disconnected')
    expect(refusal(new ConnectionError('channels-exhausted', 'All in use.'), 'q').code).toBe('buffer-full')
  })

  test('[ours] an error that is ours already is handed on', () => {
    const error = new ChasquiError('closed', 'The driver was closed.')
    expect(refusal(error, 'q')).toBe(error)
    expect(connectFailure(error, 'here')).toBe(error)
  })
})

describe('isLoss', () => {
  test('[isLoss] holds for what the next connection may mend, and for nothing else', () => {
    expect(isLoss(refusal(new ConnectionError('disconnected', 'Cut.'), 'q'))).toBe(true)
    expect(isLoss(refusal(new AmqpError(320, texts.forced), 'q'))).toBe(true)
    expect(isLoss(connectFailure(new ConnectionError('refused', 'Nobody.'), 'here'))).toBe(true)
    expect(isLoss(refusal(new AmqpError(404, texts.away), 'q'))).toBe(false)
    expect(isLoss(connectFailure(new ConnectionError('authentication', 'No.'), 'here'))).toBe(false)
    expect(isLoss(new ChasquiError('disconnected', 'No connection for 30 s.'))).toBe(false)
  })
})
