import { command, event, isContract, request } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf } from '../fixture.ts'

const schema = z.object({ id: z.string() })

describe('contracts', () => {
  test('tell a schema from options', () => {
    expect(command('a', schema).schema).toBe(schema)
    expect(command('a', { destination: 'b' })).toMatchObject({ schema: undefined, destination: 'b' })
    expect(event('a', schema, { destination: 'b', version: 2 })).toMatchObject({ schema, destination: 'b', version: 2 })
  })

  test('do not change once declared', () => {
    const contract = command('a')
    expect(() => Object.assign(contract, { type: 'b' })).toThrow(TypeError)
  })

  test('are known from things that look like them', () => {
    expect(isContract(event('a'))).toBe(true)
    expect(isContract({ kind: 'event', type: 'a', destination: 'a' })).toBe(false)
  })

  test.each([
    ['a bad type', () => command('no spaces please'), 'name-invalid'],
    ['a bad destination', () => event('a', { destination: 'a.fault' }), 'name-invalid'],
    ['no lanes', () => event('a', { lanes: 0 }), 'option-invalid'],
    ['half a lane', () => event('a', schema, { lanes: 1.5 }), 'option-invalid'],
    ['a key that is no function', () => event('a', { key: 'id' as unknown as () => string }), 'option-invalid'],
    ['a request without reply', () => request('a', schema, undefined as unknown as typeof schema), 'option-invalid'],
  ])('refuse %s', async (_what, declare, code) => {
    expect((await errorOf(declare)).code).toBe(code)
  })

  test('name the option that was meant', async () => {
    const { message } = await errorOf(() => command('a', { destinaton: 'b' } as object))
    expect(message).toContain('Did you mean `destination`?')
  })
})
