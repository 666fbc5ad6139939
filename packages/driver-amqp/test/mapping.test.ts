import type { BasicProperties, FieldTable } from '@chasqui/amqp'
import type { WireMessage } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { deliveriesOf, fromDelivery, toProperties } from '../src/mapping.ts'

const body = Buffer.from('{"orderId":"42"}')
const time = Date.UTC(2026, 10, 24, 12, 30, 15, 250)

function message(fields: Partial<WireMessage> = {}): WireMessage {
  return { attributes: {}, headers: {}, durable: true, body, ...fields }
}

/** What is set, as a test would write it down. */
function set(record: object): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined))
}

describe('toProperties', () => {
  test('[metadata] puts each field in the property of its name, the rest in cloudEvents_ headers [DESIGN, engines]', () => {
    const properties = toProperties(
      message({
        id: 'm-1',
        type: 'order.placed',
        attributes: { source: 'shop', causationid: 'm-0', tenantid: 'acme' },
        headers: { color: 'red', weight: 12, wet: false },
        contentType: 'application/json',
        contentEncoding: 'gzip',
        key: 'customer 7',
        correlationId: 'c-1',
        replyTo: 'replies',
        time,
      }),
    )
    expect(set(properties)).toEqual({
      messageId: 'm-1',
      type: 'order.placed',
      contentType: 'application/json',
      contentEncoding: 'gzip',
      correlationId: 'c-1',
      replyTo: 'replies',
      deliveryMode: 2,
      timestamp: Math.floor(time / 1000),
      headers: {
        color: 'red',
        weight: 12,
        wet: false,
        cloudEvents_specversion: '1.0',
        cloudEvents_source: 'shop',
        cloudEvents_causationid: 'm-0',
        cloudEvents_tenantid: 'acme',
        cloudEvents_partitionkey: 'customer 7',
        cloudEvents_time: '2026-11-24T12:30:15.250Z',
      },
    })
  })

  test('[metadata] a message with nothing but a body has no properties but its delivery mode', () => {
    expect(set(toProperties(message()))).toEqual({ deliveryMode: 2 })
    expect(toProperties(message({ durable: false })).deliveryMode).toBe(1)
  })

  test('[specversion] is claimed only by what has the id, type and source that a CloudEvent needs', () => {
    const attributes = { source: 'shop' }
    expect(toProperties(message({ attributes })).headers).not.toHaveProperty('cloudEvents_specversion')
    expect(toProperties(message({ attributes, id: '1', type: 't' })).headers).toHaveProperty(
      'cloudEvents_specversion',
      '1.0',
    )
    const old = { source: 'shop', specversion: '0.3' }
    expect(toProperties(message({ attributes: old, id: '1', type: 't' })).headers).toHaveProperty(
      'cloudEvents_specversion',
      '0.3',
    )
  })

  test('[headers] are handed on by reference where nothing is added, and never written to', () => {
    const headers = Object.freeze({ color: 'red' })
    expect(toProperties(message({ headers })).headers).toBe(headers)
    expect(toProperties(message({ headers, key: 'k' })).headers).toEqual({
      color: 'red',
      cloudEvents_partitionkey: 'k',
    })
    expect(headers).toEqual({ color: 'red' })
  })

  test('[expiresAt] becomes what is left of it, in milliseconds, and never less than 0', () => {
    const now = 1_000_000
    expect(toProperties(message({ expiresAt: now + 1500 }), now).expiration).toBe('1500')
    expect(toProperties(message({ expiresAt: now + 0.25 }), now).expiration).toBe('1')
    expect(toProperties(message({ expiresAt: now - 1 }), now).expiration).toBe('0')
    const far = toProperties(message({ expiresAt: now + 4_294_967_296 }), now)
    expect(far.expiration).toBeUndefined()
    expect(far.headers).toHaveProperty('cloudEvents_expirytime')
  })

  test('[time] before 1970 has no timestamp, which AMQP counts from there, and keeps its header', () => {
    const properties = toProperties(message({ time: -1500 }))
    expect(properties.timestamp).toBeUndefined()
    expect(fromDelivery(properties, body).time).toBe(-1500)
  })

  test.each([
    ['id', { id: 'x'.repeat(256) }],
    ['type', { type: 'ñ'.repeat(128) }],
    ['correlationId', { correlationId: '€'.repeat(86) }],
    ['replyTo', { replyTo: 'x'.repeat(1000) }],
    ['contentType', { contentType: 'x'.repeat(256) }],
    ['contentEncoding', { contentEncoding: 'x'.repeat(256) }],
    ['header name', { headers: { ['x'.repeat(256)]: 1 }, key: 'k' }],
    ['attribute name', { attributes: { ['x'.repeat(244)]: 'y' } }],
    ['time', { time: Number.NaN }],
    ['expiresAt', { expiresAt: 1e300 }],
  ])('[%s] beyond what AMQP carries is header-invalid [amqp 4.2.5.3]', (_, fields: Partial<WireMessage>) => {
    expect(() => toProperties(message(fields))).toThrow(expect.objectContaining({ code: 'header-invalid' }))
  })

  test('[id] of exactly 255 bytes passes', () => {
    const id = `${'ñ'.repeat(127)}x`
    expect(toProperties(message({ id })).messageId).toBe(id)
  })
})

describe('there and back', () => {
  const whole = message({
    id: 'm-1',
    type: 'order.placed',
    attributes: { source: 'shop', traceparent: '00-1-2-01' },
    headers: { color: 'rot', größe: 12.5, list: [1, 'two', null], nested: { deep: true }, big: 2n ** 60n },
    contentType: 'application/json; charset=utf-8',
    key: '',
    correlationId: 'c-1',
    replyTo: 'replies',
    time,
    expiresAt: time + 60_000,
    notBefore: time + 30_000,
    durable: false,
  })

  test('[round trip] every field comes back as it went', () => {
    expect(set(fromDelivery(toProperties(whole, time), body, time))).toEqual(set(whole))
  })

  test('[round trip] a second passage changes nothing more', () => {
    const once = fromDelivery(toProperties(whole, time), body, time)
    expect(toProperties(once, time)).toEqual(toProperties(whole, time))
  })

  test('[time] every moment comes back, near and far, in any order', () => {
    const moments = [
      0,
      1,
      999,
      1000,
      1001,
      -1,
      -999,
      -1000,
      -1001,
      time,
      time + 749,
      time + 750,
      time - 250,
      time - 251,
    ]
    for (const moment of [...moments, ...moments.toReversed(), 8.64e15, -8.64e15, 253402300800000, ...moments]) {
      const properties = toProperties(message({ time: moment }))
      expect(properties.headers).toEqual({ cloudEvents_time: new Date(moment).toISOString() })
      expect(fromDelivery(properties, body).time).toBe(moment)
    }
  })

  test('[round trip] __proto__ is a header like another', () => {
    const headers = JSON.parse('{"__proto__": "x", "a": 1}')
    const back = fromDelivery(toProperties(message({ headers, key: 'k' })), body)
    expect(Object.keys(back.headers)).toEqual(['__proto__', 'a'])
    expect(Object.getPrototypeOf(back.headers)).toBe(Object.prototype)
  })
})

describe('fromDelivery', () => {
  test('[foreign] nothing but bytes: no id, no type, no content type [DESIGN, foreign messages]', () => {
    expect(set(fromDelivery({}, body))).toEqual({ attributes: {}, headers: {}, durable: false, body })
  })

  test('[body] and plain headers are taken by reference', () => {
    const headers: FieldTable = { a: 1, b: [new Date(0), Buffer.from('x')], c: null, chasqui_attempt: 2, 'x-death': [] }
    const found = fromDelivery({ headers }, body)
    expect(found.body).toBe(body)
    expect(found.headers).toBe(headers)
  })

  test('[foreign] CloudEvents under the other separator, id and type among the headers [cloudevents amqp 3.1.3.1]', () => {
    const found = fromDelivery(
      {
        headers: {
          'cloudEvents:specversion': '1.0',
          'cloudEvents:id': 'e-1',
          'cloudEvents:type': 'com.example.made',
          'cloudEvents:source': '/somewhere',
          'cloudEvents:time': new Date(time),
          'cloudEvents:sequence': 7,
          'cloudEvents:flag': true,
          'cloudEvents:binary': Buffer.from([1, 2, 3]),
          plain: 'x',
        },
      },
      body,
    )
    expect(set(found)).toEqual({
      id: 'e-1',
      type: 'com.example.made',
      time,
      attributes: { source: '/somewhere', sequence: '7', flag: 'true', binary: 'AQID' },
      headers: { plain: 'x' },
      durable: false,
      body,
    })
  })

  test('[foreign] the property wins over a header that says otherwise, which is kept', () => {
    const headers = { cloudEvents_id: 'other', cloudEvents_type: 'same' }
    const found = fromDelivery({ messageId: 'mine', type: 'same', headers }, body)
    expect(found).toMatchObject({ id: 'mine', type: 'same', attributes: { id: 'other' } })
    expect(toProperties(found)).toMatchObject({ messageId: 'mine', headers: { cloudEvents_id: 'other' } })
  })

  test('[foreign] what cannot be read as its field stays a header under its own name', () => {
    const headers: FieldTable = {
      cloudEvents_time: 'yesterday',
      cloudEvents_expirytime: 'never',
      cloudEvents_source: { not: 'text' },
      cloudEvents_list: [1],
      cloudEvents_: 'no name',
      cloudEventsX: 'no separator',
      cloudEvents_when: new Date(Number.NaN),
      chasqui_not_before: 'soon',
    }
    const found = fromDelivery({ headers }, body)
    expect(found.headers).toEqual(headers)
    expect(found.attributes).toEqual({})
    expect(set(found)).not.toHaveProperty('time')
  })

  test.each([
    ['2026-11-24T12:30:15.250+01:00', Date.UTC(2026, 10, 24, 11, 30, 15, 250)],
    ['2026-11-24T12:30:15Z', Date.UTC(2026, 10, 24, 12, 30, 15)],
    ['2026-11-24T12:30:15.1Z', Date.UTC(2026, 10, 24, 12, 30, 15, 100)],
    ['2026-11-24T12:30:15.123456Z', Date.UTC(2026, 10, 24, 12, 30, 15, 123)],
    ['2026-11-24T12:30:15.12xZ', undefined],
    ['2026-11-24T12:30:15.---Z', undefined],
  ])('[foreign] cloudEvents_time %s is read as what it says [rfc 3339]', (written, expected) => {
    const ours = toProperties(message({ time: Date.UTC(2026, 10, 24, 12, 30, 15, 250) }))
    for (let passage = 0; passage < 2; passage++) {
      expect(fromDelivery({ headers: { cloudEvents_time: written } }, body).time).toBe(expected)
      expect(fromDelivery(ours, body).time).toBe(Date.UTC(2026, 10, 24, 12, 30, 15, 250))
    }
  })

  test('[foreign] timestamp counts seconds; one beyond any date is none', () => {
    expect(fromDelivery({ timestamp: 1_700_000_000 }, body).time).toBe(1_700_000_000_000)
    expect(fromDelivery({ timestamp: 1e18 }, body).time).toBeUndefined()
    const headers = { cloudEvents_time: 'yesterday' }
    expect(fromDelivery({ timestamp: 5, headers }, body).time).toBe(5000)
  })

  test('[foreign] a relative expiration counts from arrival; one that is no number is none', () => {
    expect(fromDelivery({ expiration: '250' }, body, 1000).expiresAt).toBe(1250)
    for (const expiration of ['', 'soon', '-1', '1e400']) {
      expect(fromDelivery({ expiration }, body, 1000).expiresAt).toBeUndefined()
    }
  })

  test('[foreign] empty texts count as absent', () => {
    const empty: BasicProperties = { messageId: '', type: '', contentType: '', correlationId: '', replyTo: '' }
    expect(set(fromDelivery(empty, body))).toEqual({ attributes: {}, headers: {}, durable: false, body })
  })

  test("[x-delivery-count] is the engine's word for this queue: counted, and not handed on", () => {
    const headers = { 'x-delivery-count': 2, 'x-acquired-count': 3, a: 1 }
    expect(deliveriesOf({ headers })).toBe(3)
    expect(fromDelivery({ headers }, body).headers).toEqual({ a: 1 })
    expect(deliveriesOf({ headers: { 'x-delivery-count': 'x' } })).toBeUndefined()
    expect(deliveriesOf({})).toBeUndefined()
  })
})
