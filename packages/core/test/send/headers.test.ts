import { describe, expect, test } from 'vitest'
import { checkedHeaders } from '../../src/send/headers.ts'
import { errorOf } from '../fixture.ts'

describe('headers', () => {
  test('may be strings, finite numbers and booleans, under names in Unicode', () => {
    const given = { tenant: 'acme', 'größe-🎺': 1.5, urgent: true, empty: '' }
    const checked = checkedHeaders(given, 1000)
    expect(checked).toEqual(given)
    expect(checked).not.toBe(given)
  })

  test('that are undefined are left out', () => {
    expect(checkedHeaders({ a: 1, b: undefined } as never, 1000)).toEqual({ a: 1 })
  })

  test.each([
    [{ a: Number.NaN }],
    [{ a: Number.POSITIVE_INFINITY }],
    [{ a: null }],
    [{ a: {} }],
    [{ a: new Date(0) }],
    [{ a: 1n }],
    [{ a: '\ud800' }],
    [{ '': 1 }],
    [{ '\udfff': 1 }],
    [{ ['x'.repeat(201)]: 1 }],
    [{ chasqui_attempts: 1 }],
    [{ Chasqui_x: 1 }],
    [{ cloudEvents_type: 'x' }],
    [{ 'cloudEvents:type': 'x' }],
    [{ ce_id: 'x' }],
    [{ 'x-death': 'x' }],
    [{ 'x-first-death-queue': 'x' }],
    [{ CC: 'other' }],
    [{ BCC: 'other' }],
    [JSON.parse('{"__proto__": "x"}')],
  ])('refuse %o', async given => {
    expect((await errorOf(() => checkedHeaders(given as never, 1000))).code).toBe('header-invalid')
  })

  test('are bounded together', async () => {
    const { code, details } = await errorOf(() => checkedHeaders({ a: 'x'.repeat(600), b: 'ü'.repeat(300) }, 1000))
    expect(code).toBe('header-invalid')
    expect(details).toEqual({ bytes: 1202, maxHeaderBytes: 1000 })
  })
})
