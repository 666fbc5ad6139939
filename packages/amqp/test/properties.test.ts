import { describe, expect, test } from 'vitest'
import { AmqpError, type BasicProperties, decodeProperties, encodeProperties } from '../src/index.ts'
import amqplib from './vectors/amqplib.json' with { type: 'json' }
import pika from './vectors/pika.json' with { type: 'json' }

const all: BasicProperties = {
  contentType: 'application/json',
  contentEncoding: 'gzip',
  headers: { a: 1, b: { c: ['d'] } },
  deliveryMode: 2,
  priority: 255,
  correlationId: 'c',
  replyTo: 'amq.rabbitmq.reply-to',
  expiration: '60000',
  messageId: 'm',
  timestamp: 1_764_000_000,
  type: 'order.placed',
  userId: 'guest',
  appId: 'app',
  clusterId: 'cluster',
}

/** Where the properties begin in a header frame: behind its head, class, weight and body size. */
const inFrame = (hex: string): Buffer => Buffer.from(hex, 'hex').subarray(7 + 12, -1)

describe('round trips', () => {
  test('all properties, and each of the 2^14 subsets, come back', () => {
    const names = Object.keys(all) as (keyof BasicProperties)[]
    for (let subset = 0; subset < 2 ** names.length; subset++) {
      const some = Object.fromEntries(names.filter((_, bit) => subset & (1 << bit)).map(name => [name, all[name]]))
      const read = decodeProperties(encodeProperties(some)) as Record<string, unknown>
      for (const name of names) expect(read[name] === some[name] || name === 'headers').toBe(true)
      expect(read.headers === undefined).toBe(some.headers === undefined)
    }
    expect(decodeProperties(encodeProperties(all))).toEqual(all)
  })

  test('[offset] reading begins where it is told to', () => {
    const bytes = Buffer.concat([Buffer.alloc(5), encodeProperties(all)])
    expect(decodeProperties(bytes, 5)).toEqual(all)
    expect(decodeProperties(new Uint8Array(bytes), 5)).toEqual(all)
  })

  test('[empty values] are values: they differ from absent ones', () => {
    expect(decodeProperties(encodeProperties({ messageId: '', headers: {}, priority: 0 }))).toEqual({
      messageId: '',
      headers: {},
      priority: 0,
    })
    expect(encodeProperties({})).toEqual(Buffer.from([0, 0]))
  })
})

describe('known bytes', () => {
  test(`${amqplib.producer} is read`, () => {
    expect(decodeProperties(inFrame(amqplib.headerFrame.hex))).toEqual(amqplib.headerFrame.properties)
  })

  test(`${pika.producer} is read, and written in the same bytes but for its decimal`, () => {
    const bytes = inFrame(pika.headerFrame.hex)
    const properties = decodeProperties(bytes)
    expect(properties).toEqual({
      contentType: 'application/json',
      headers: {
        text: 'Grüße',
        int: 42,
        negative: -7,
        long: 1_764_000_000_000,
        yes: true,
        no: false,
        nothing: null,
        bytes: Buffer.from([0, 255]),
        when: new Date('2026-01-02T03:04:05Z'),
        list: ['a', 1, [true]],
        table: { deep: { er: 'x' } },
        decimal: 3.14,
      },
      deliveryMode: 2,
      priority: 3,
      correlationId: 'c',
      replyTo: 'r',
      expiration: '1',
      messageId: 'm',
      timestamp: 1_764_000_000,
      type: 't',
      userId: 'guest',
      appId: 'a',
    })
    const { decimal: _, ...headers } = properties.headers!
    const decimalBytes = Buffer.from('07646563696d616c44020000013a', 'hex')
    const at = bytes.indexOf(decimalBytes)
    const without = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + decimalBytes.length)])
    const tableAt = 2 + 1 + 'application/json'.length
    without.writeUInt32BE(without.readUInt32BE(tableAt) - decimalBytes.length, tableAt)
    expect(encodeProperties({ ...properties, headers }).toString('hex')).toBe(without.toString('hex'))
  })
})

describe('bogus properties', () => {
  test('[cut] at any byte they are 502', () => {
    const bytes = encodeProperties(all)
    for (let end = 0; end < bytes.length; end++) {
      expect(() => decodeProperties(bytes.subarray(0, end))).toThrow(AmqpError)
    }
  })

  test('[flags that the protocol lacks] are 502', () => {
    for (const flags of [1, 2]) {
      expect(() => decodeProperties(Buffer.from([0, flags]))).toThrow(expect.objectContaining({ replyCode: 502 }))
    }
  })

  test('[text that is no UTF-8] is read with U+FFFD: the message must be got rid of somehow', () => {
    const bytes = encodeProperties({ messageId: 'ab' })
    bytes[3] = 0xff
    expect(decodeProperties(bytes).messageId).toBe('\uFFFDb')
  })

  test.each([
    ['string-too-long', { messageId: 'x'.repeat(256) }],
    ['out-of-range', { priority: 256 }],
    ['out-of-range', { deliveryMode: 1.5 }],
    ['out-of-range', { timestamp: -1 }],
    ['out-of-range', { timestamp: 2 ** 53 }],
  ])('[%s] %o cannot be written', (code, properties) => {
    expect(() => encodeProperties(properties)).toThrow(expect.objectContaining({ name: 'EncodingError', code }))
  })
})
