import { type BasicProperties, decodeProperties, encodeProperties, TaggedValue } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { checkProperties, HAS_EXPIRATION, HAS_USER_ID, PERSISTENT } from '../../src/server/property-check.ts'
import { refused } from '../engine.ts'

const everything: BasicProperties = {
  contentType: 'application/json',
  contentEncoding: 'gzip',
  headers: {
    text: 'text',
    long: 2n ** 60n,
    number: 7,
    double: 1.5,
    yes: true,
    nothing: null,
    when: new Date(1_700_000_000_000),
    bytes: Uint8Array.of(1, 2, 3),
    list: ['a', 1, [true, { deep: 'er' }]],
    table: { inner: { most: 'x' } },
    int8: new TaggedValue('b', -1),
    uint8: new TaggedValue('B', 255),
    int16: new TaggedValue('s', -2),
    uint16: new TaggedValue('u', 2),
    uint32: new TaggedValue('i', 3),
    int64: new TaggedValue('L', 4),
    float: new TaggedValue('f', 0.5),
    decimal: new TaggedValue('D', { scale: 2, value: 314 }),
  },
  deliveryMode: 2,
  priority: 3,
  correlationId: 'correlation',
  replyTo: 'reply',
  expiration: '1000',
  messageId: 'id',
  timestamp: 1_700_000_000,
  type: 'type',
  userId: 'guest',
  appId: 'app',
  clusterId: 'cluster',
}

function check(properties: BasicProperties): number {
  const bytes = encodeProperties(properties)
  return checkProperties(bytes, 0, bytes.length)
}

test('finds what the broker must know', () => {
  expect(check({})).toBe(0)
  expect(check({ deliveryMode: 1 })).toBe(0)
  expect(check({ deliveryMode: 2 })).toBe(PERSISTENT)
  expect(check({ headers: { a: 'b' }, contentType: 'x', contentEncoding: 'y', deliveryMode: 2 })).toBe(PERSISTENT)
  expect(check({ expiration: '1' })).toBe(HAS_EXPIRATION)
  expect(check({ userId: 'guest', deliveryMode: 2 })).toBe(HAS_USER_ID | PERSISTENT)
  expect(check({ priority: 200, messageId: 'x', timestamp: 1, type: 'y', appId: 'z', clusterId: 'c' })).toBe(0)
  expect(check(everything)).toBe(PERSISTENT | HAS_EXPIRATION | HAS_USER_ID)
})

test('reads within a larger buffer', () => {
  const bytes = encodeProperties(everything)
  const larger = Buffer.concat([Buffer.alloc(5, 0xff), bytes, Buffer.alloc(5, 0xff)])
  expect(checkProperties(larger, 5, 5 + bytes.length)).toBe(PERSISTENT | HAS_EXPIRATION | HAS_USER_ID)
})

test('refuses tables nested deeper than a reader can follow', () => {
  let deep = Buffer.from([0, 0, 0, 0])
  for (let depth = 0; depth < 1000; depth++) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(deep.length + 3)
    deep = Buffer.concat([length, Buffer.from([1, 0x61, 0x46]), deep])
  }
  const bytes = Buffer.concat([Buffer.from([0x20, 0]), deep])
  refused(() => checkProperties(bytes, 0, bytes.length), 502, /nested deeper/, 'connection')
})

describe('passes exactly what decodeProperties can read', () => {
  const decodes = (bytes: Buffer): boolean => {
    try {
      decodeProperties(bytes)
      return true
    } catch {
      return false
    }
  }
  const passes = (bytes: Buffer): boolean => {
    try {
      checkProperties(bytes, 0, bytes.length)
      return true
    } catch {
      return false
    }
  }

  test('cut at every byte', () => {
    const whole = encodeProperties(everything)
    for (let length = 0; length <= whole.length; length++) {
      const cut = Buffer.from(whole.subarray(0, length))
      expect(passes(cut), `cut at ${length}`).toBe(decodes(cut))
    }
    expect(passes(Buffer.from(whole))).toBe(true)
  })

  test('with every byte changed', () => {
    const whole = encodeProperties(everything)
    let refusals = 0
    for (let at = 0; at < whole.length; at++) {
      for (const value of [0, 1, 0x20, 0x41, 0x46, 0x7f, 0x80, 0xff, whole[at]! ^ 1]) {
        const changed = Buffer.from(whole)
        changed[at] = value
        expect(passes(changed), `byte ${at} = ${value}`).toBe(decodes(changed))
        if (!passes(changed)) refusals++
      }
    }
    expect(refusals).toBeGreaterThan(100)
  })
})
