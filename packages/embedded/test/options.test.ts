import { resolve } from 'node:path'
import { describe, expect, it } from 'vitest'
import { placeOf } from '../src/options.ts'

const given = (url: string, more: object = {}) => ({ urls: [url], name: 'test', connectTimeoutMs: 1_000, ...more })

describe('the URLs of the embedded broker', () => {
  it.each([
    ['memory:', { kind: 'memory', name: '' }],
    ['memory:orders-1', { kind: 'memory', name: 'orders-1' }],
    ['embedded:.chasqui', { kind: 'directory', path: resolve('.chasqui') }],
    ['embedded:/var/lib/x', { kind: 'directory', path: '/var/lib/x' }],
    ['embedded:///var/lib/x', { kind: 'directory', path: '/var/lib/x' }],
    ['embedded:a%20b', { kind: 'directory', path: resolve('a b') }],
  ])('%s is read', (url, place) => {
    expect(placeOf(given(url))).toEqual(place)
  })

  it.each([
    'memory://localhost',
    'memory://guest:guest@host/',
    'memory:a/b',
    'embedded:',
    'embedded://host/dir',
    'embedded:a%zz',
  ])('%s is url-invalid, with a sentence', url => {
    expect(() => placeOf(given(url))).toThrow(expect.objectContaining({ code: 'url-invalid' }))
  })

  it('a second URL is url-invalid', () => {
    expect(() => placeOf({ ...given('memory:'), urls: ['memory:', 'memory:b'] })).toThrow(
      expect.objectContaining({ code: 'url-invalid' }),
    )
  })

  it.each([{ username: 'a' }, { password: 'b' }, { tls: {} }, { engine: { unheardOf: 1 } }])(
    'the option %o is option-invalid',
    more => {
      expect(() => placeOf(given('memory:', more))).toThrow(expect.objectContaining({ code: 'option-invalid' }))
    },
  )

  it('a refused URL never shows its password', () => {
    try {
      placeOf(given('memory://guest:secret@host/'))
    } catch (error) {
      expect(String(error)).not.toContain('secret')
    }
    expect.assertions(1)
  })
})
