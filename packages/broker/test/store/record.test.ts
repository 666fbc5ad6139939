import { encodeProperties } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { headBound, readMessage, soundRecord, summarizeRecord, writeRecord } from '../../src/store/record.ts'
import { message } from '../engine.ts'

const salt = 0x1234_5678

function written(body: string, routingKey = 'key', settlement?: { segment: number; ordinal: number; queueId: number }) {
  const original = message(body, { exchange: 'exchange', routingKey }, { deliveryMode: 2, messageId: 'm-1' })
  const buffer = Buffer.alloc(headBound(original, original.propertyBytes, 2, 1) + original.body.byteLength)
  const name = {
    order: 2 ** 40 + 5,
    publishedAt: 1_700_000_000_123,
    ordinal: 9,
    salt,
    timed: false,
    continued: false,
    continues: false,
  }
  const end = writeRecord(
    buffer,
    0,
    original,
    original.propertyBytes,
    [7, 0xffff_fffe],
    settlement === undefined ? [] : [settlement],
    name,
    true,
  )
  return { buffer, end, original }
}

describe('record', () => {
  test.each(['', 'hello', 'x'.repeat(10_000)])('[round trip] a body of any length comes back', body => {
    const { buffer, end, original } = written(body, 'ключ-🔑')
    expect(soundRecord(buffer, 0, salt)).toBe(end)
    const read = readMessage(buffer, 0, end)
    expect(read).toMatchObject({ exchange: 'exchange', routingKey: 'ключ-🔑', persistent: true })
    expect(Buffer.from(read.propertyBytes)).toEqual(encodeProperties(original.properties))
    expect(read.properties).toMatchObject({ deliveryMode: 2, messageId: 'm-1' })
    expect(Buffer.from(read.body)).toEqual(original.body)
  })

  test('[summary] tells order, ordinal, queues, what moved, and the length of the body', () => {
    const settlement = { segment: 3, ordinal: 4, queueId: 5 }
    const { buffer, end } = written('12345', 'k', settlement)
    expect(summarizeRecord(buffer, 0, end)).toEqual({
      order: 2 ** 40 + 5,
      publishedAt: 1_700_000_000_123,
      ordinal: 9,
      queueIds: [7, 0xffff_fffe],
      settlements: [settlement],
      bodyBytes: 5,
      timed: false,
      continued: false,
      continues: false,
    })
  })

  test('[check] a record that is cut anywhere, or has any bit turned, is not sound', () => {
    const { buffer, end } = written('a body')
    for (let length = 0; length < end; length++)
      expect(soundRecord(buffer.subarray(0, length), 0, salt)).toBeUndefined()
    for (let bit = 0; bit < end * 8; bit++) {
      const turned = Buffer.from(buffer.subarray(0, end))
      turned[bit >> 3]! ^= 1 << (bit & 7)
      expect(soundRecord(turned, 0, salt)).toBeUndefined()
    }
  })

  test('[salt] a record of another segment is not sound', () => {
    const { buffer } = written('a body')
    expect(soundRecord(buffer, 0, salt + 1)).toBeUndefined()
  })

  test('[long body] written apart from its head it makes the same record', () => {
    const original = message('z'.repeat(50_000), { routingKey: 'k' })
    const head = Buffer.alloc(headBound(original, original.propertyBytes, 1, 0))
    const name = { order: 1, publishedAt: 0, ordinal: 0, salt, timed: false, continued: false, continues: false }
    const end = writeRecord(head, 0, original, original.propertyBytes, [1], [], name, false)
    const whole = Buffer.concat([head.subarray(0, end), original.body])
    expect(soundRecord(whole, 0, salt)).toBe(whole.length)
    expect(Buffer.from(readMessage(whole, 0, whole.length).body)).toEqual(original.body)
  })
})
