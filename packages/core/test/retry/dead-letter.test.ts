import { ChasquiError, deadLetterName } from '@chasqui/core'
import type { Batch, Incoming, WireMessage } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { deadLetterCopy, type Failure, faultCopy, isLastStop } from '../../src/retry/dead-letter.ts'
import { alteredBus } from '../altered-driver.ts'
import { eventually, ownName } from '../fixture.ts'

const original: WireMessage = {
  id: '42',
  type: 'order.placed',
  attributes: { source: 'shop' },
  headers: { mine: 'yes', 'x-death': [{ count: 1 }], 'x-first-death-queue': 'a', 'x-last-death-reason': 'b' },
  contentType: 'application/json',
  correlationId: '41',
  time: 1,
  expiresAt: 2,
  notBefore: 3,
  durable: false,
  body: Buffer.from('{}'),
}
const source = { kind: 'queue', name: 'orders' } as const
const failure: Failure = {
  code: 'handler-failed',
  reason: 'the last of 5 attempts failed: no',
  error: new RangeError('no'),
  attempts: 5,
  firstFailedAt: Date.UTC(2026, 0, 1),
  lastFailedAt: Date.UTC(2026, 0, 2),
}

test('a delayed message whose time to live passed while it waited is dead-lettered as `expired`, unhandled', async () => {
  const { bus, told, driver } = await alteredBus({
    // As where messages wait apart from their queue, and the engine does not look at their time.
    driver: real => ({
      receive: (source, sink, options) => {
        const late = (item: Incoming) => ({ ...item, message: { ...item.message, notBefore: 1000, expiresAt: 2000 } })
        const deliver = (batch: Batch) => sink.deliver({ ...batch, items: batch.items.map(late) })
        const others = { revoke: sink.revoke.bind(sink), fail: sink.fail.bind(sink) }
        return real.receive(source, { ...others, deliver }, options)
      },
    }),
  })
  const queue = ownName()
  const handled: unknown[] = []
  await bus.handle(queue, body => handled.push(body))
  await bus.send(queue, 'late')
  await eventually('it is given up', () => told.some(({ kind }) => kind === 'dead-lettered'))
  expect(told).toContainEqual(expect.objectContaining({ kind: 'dead-lettered', code: 'expired' }))
  expect(await driver.inspector!.depth({ kind: 'queue', name: `${queue}.dead-letter` })).toMatchObject({ ready: 1 })
  // A dead letter is handed out all the same.
  await bus.handle(`${queue}.dead-letter`, body => handled.push(`dead ${body}`))
  await eventually('the letter comes', () => handled.length > 0)
  expect(handled).toEqual(['dead late'])
})

test('[headers] where its own nearly fill what the engine allows, a dead letter says less of its failure, or nothing', async () => {
  for (const [room, told] of [
    [900, { chasqui_error_code: 'handler-failed', chasqui_error_message: `${'no '.repeat(33)}…`, chasqui_attempts: 1 }],
    [10, {}],
  ] as const) {
    const size = ({ headers }: WireMessage) => JSON.stringify(headers).length
    const {
      bus,
      driver,
      told: events,
    } = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) =>
          size(batch[0]!.message) > 2000 + room
            ? batch.map(() => ({ ok: false, error: new ChasquiError('header-invalid', 'Too long.'), inDoubt: false }))
            : await real.send(batch, deadline),
      }),
    })
    const queue = ownName()
    await bus.handle(
      queue,
      () => {
        throw new Error('no '.repeat(1000))
      },
      { retry: { attempts: 1 } },
    )
    const fill = 'x'.repeat(2000 - '{"fill":""}'.length)
    await bus.send(queue, 'body', { headers: { fill } })
    await eventually('it is given up', () => events.some(({ kind }) => kind === 'dead-lettered'))
    for await (const dead of bus.receive(`${queue}.dead-letter`)) {
      expect(dead.headers).toMatchObject({ fill, ...told })
      expect('chasqui_error_code' in dead.headers).toBe('chasqui_error_code' in told)
      expect(dead.headers.chasqui_error_stack).toBeUndefined()
      await dead.ack()
      break
    }
    expect(events.filter(({ kind }) => kind === 'dead-letter-failed')).toEqual([])
    await driver.close()
  }
})

describe('a dead letter', () => {
  const copy = deadLetterCopy(original, source, 'shop', failure)

  test('keeps the bytes, the id and the metadata; neither expires nor waits; is durable', () => {
    expect(copy).toMatchObject({
      id: '42',
      type: 'order.placed',
      contentType: 'application/json',
      correlationId: '41',
      time: 1,
    })
    expect(copy.body).toBe(original.body)
    expect([copy.expiresAt, copy.notBefore, copy.durable]).toEqual([undefined, undefined, true])
  })

  test('says why, and loses the engine’s own history, which would make RabbitMQ drop it', () => {
    expect(copy.headers).toEqual({
      mine: 'yes',
      chasqui_error_code: 'handler-failed',
      chasqui_error_type: 'RangeError',
      chasqui_error_message: 'no',
      chasqui_error_stack: expect.stringContaining('RangeError: no'),
      chasqui_attempts: 5,
      chasqui_first_failed_at: '2026-01-01T00:00:00.000Z',
      chasqui_last_failed_at: '2026-01-02T00:00:00.000Z',
      chasqui_original_destination: 'orders',
      chasqui_consumer: 'shop',
      chasqui_reason: 'the last of 5 attempts failed: no',
    })
  })

  test('bounds what an error may say, and never cuts a character in half', () => {
    const error = new Error('🎺'.repeat(10_000))
    error.stack = `Error: ${'🎺'.repeat(10_000)}`
    const { headers } = deadLetterCopy(original, source, 'shop', { ...failure, error, reason: '🎺'.repeat(10_000) })
    for (const value of Object.values(headers)) {
      expect(String(value).length).toBeLessThanOrEqual(4000)
      expect(String(value).isWellFormed()).toBe(true)
    }
    expect(Buffer.byteLength(JSON.stringify(headers))).toBeLessThan(30_000)
  })

  test('changes nothing of the original', () => {
    expect(original.headers['x-death']).toBeDefined()
    expect(faultCopy(original).headers).toEqual({ mine: 'yes' })
  })

  test('of a subscription has the subscription’s own queue', () => {
    expect(deadLetterName({ kind: 'subscription', topic: 'orders', name: 'billing' })).toBe(
      'orders.billing.dead-letter',
    )
  })

  test('is not moved on from the last stop', () => {
    expect(['a.dead-letter', 'a.fault', 'dead-letter', 'a.dead-letters'].map(isLastStop)).toEqual([
      true,
      true,
      false,
      false,
    ])
  })
})
