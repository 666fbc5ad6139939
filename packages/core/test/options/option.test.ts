import { optionTables } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import type { OptionTable } from '../../src/options/option.ts'
import { checkOptions, nearest } from '../../src/options/option.ts'
import { errorOf } from '../fixture.ts'

const table = {
  count: { type: 'integer', unit: 'messages', default: 1, minimum: 1, maximum: 10, meaning: 'A count.' },
  name: { type: 'string', meaning: 'A name.' },
  mode: { type: 'string', choices: ['fast', 'slow'], meaning: 'A mode.' },
  at: { type: 'date', meaning: 'A moment.' },
  signal: { type: 'signal', meaning: 'A signal.' },
} as const satisfies OptionTable

describe('the check of options', () => {
  test('lets pass what is in bounds, and what is absent', () => {
    const given = { count: 10, name: '', mode: 'slow', at: new Date(0), signal: AbortSignal.abort(), unused: undefined }
    const { unused: _, ...known } = given
    expect(() => checkOptions(table, { ...known, name: undefined }, 'x()')).not.toThrow()
  })

  test.each([
    [{ count: 0 }, 'from 1 to 10'],
    [{ count: 11 }, 'from 1 to 10'],
    [{ count: 1.5 }, 'whole number'],
    [{ count: Number.NaN }, 'not NaN'],
    [{ count: '5' }, 'of messages'],
    [{ name: 1 }, 'a string'],
    [{ mode: 'fsat' }, "one of 'fast', 'slow'"],
    [{ at: new Date(Number.NaN) }, 'a valid Date'],
    [{ signal: {} }, 'an AbortSignal'],
  ])('refuses %j', async (given, says) => {
    const { code, message } = await errorOf(() => checkOptions(table, given, 'x()'))
    expect(code).toBe('option-invalid')
    expect(message).toContain(says)
  })

  test('names the known option that is nearest, or all', async () => {
    expect((await errorOf(() => checkOptions(table, { cuont: 1 }, 'x()'))).message).toContain('Did you mean `count`?')
    expect((await errorOf(() => checkOptions(table, { zzzzzzzz: 1 }, 'x()'))).message).toContain(
      'Known are count, name',
    )
    expect((await errorOf(() => checkOptions(table, { toString: 1 }, 'x()'))).code).toBe('option-invalid')
  })

  test('does not print a wrong value: it may be a secret', async () => {
    const { message } = await errorOf(() => checkOptions(table, { count: 'hunter2' }, 'x()'))
    expect(message).not.toContain('hunter2')
  })

  test.each([[null], [[]], ['text']])('refuses %j in place of options', async given => {
    expect((await errorOf(() => checkOptions(table, given as object, 'x()'))).code).toBe('option-invalid')
  })

  test('nearest() gives up on words that are far from all', () => {
    expect(nearest('amqp', ['amqps', 'kafka'])).toBe('amqps')
    expect(nearest('zzzzzz', ['amqps', 'kafka'])).toBeUndefined()
  })
})

describe('the tables of options', () => {
  const all = Object.entries(optionTables).flatMap(([owner, options]) =>
    Object.entries(options as OptionTable).map(([name, info]) => ({ owner, name, info })),
  )

  test.each(all)('$owner: $name says its meaning, its default and its bounds', ({ info }) => {
    expect(info.meaning).toMatch(/\S/)
    expect(info.default ?? info.defaultText).toBeDefined()
    if (info.type !== 'integer') return
    expect(info.unit ?? 'none').toMatch(/\S/)
    expect(info.minimum).toBeTypeOf('number')
    expect(info.maximum).toBeTypeOf('number')
    if (typeof info.default === 'number') {
      expect(info.default).toBeGreaterThanOrEqual(info.minimum!)
      expect(info.default).toBeLessThanOrEqual(info.maximum!)
    }
  })
})
