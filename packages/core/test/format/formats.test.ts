import { bytesFormat, type Format, Formats, jsonFormat, textFormat } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { errorOf } from '../fixture.ts'

const none = {}
const bytesOf = (text: string) => Buffer.from(text, 'utf8')

describe('[json]', () => {
  test.each([
    [{ a: [1, 2.5, null, true], b: { c: 'Ünïcödé 🎺' } }],
    ['text'],
    [0],
    [null],
    [[]],
    [{ constructor: 'x', escaped: '\u0001' }],
  ])('brings %j back', value => {
    expect(jsonFormat.decode(jsonFormat.encode(value), none)).toEqual(value)
  })

  test('passes over a byte order mark [RFC 8259 section 8.1]', () => {
    expect(jsonFormat.decode(bytesOf('\ufeff{"a":1}'), none)).toEqual({ a: 1 })
  })

  test('reads another charset when the message names it', () => {
    expect(jsonFormat.decode(Buffer.from('{"a":"ü"}', 'utf16le'), { charset: 'utf-16le' })).toEqual({ a: 'ü' })
  })

  test.each(['', '{', '{"a":1,}', 'undefined', "{'a':1}", '\u0000'])('refuses %j', text => {
    expect(() => jsonFormat.decode(bytesOf(text), none)).toThrow()
  })

  test('refuses bytes that are not UTF-8 rather than change them', () => {
    expect(() => jsonFormat.decode(Buffer.from([0x22, 0xc3, 0x28, 0x22]), none)).toThrow('UTF-8')
    expect(jsonFormat.decode(bytesOf('"\ufffd"'), none)).toBe('\ufffd')
  })

  test.each(['{"__proto__":{"admin":true}}', '[{"a":{"\\u005f_proto__":1}}]', '{"__pr\\u006fto__":null}'])(
    'refuses the member __proto__ in %s',
    text => {
      expect(() => jsonFormat.decode(bytesOf(text), none)).toThrow('__proto__')
    },
  )

  test('allows the word __proto__ as a value', () => {
    expect(jsonFormat.decode(bytesOf('{"a":"__proto__"}'), none)).toEqual({ a: '__proto__' })
  })

  test('survives nesting as deep as a body is long', () => {
    const deep = `${'['.repeat(5000)}"__proto__"${']'.repeat(5000)}`
    expect(jsonFormat.decode(bytesOf(deep), none)).toBeInstanceOf(Array)
  })

  test('refuses what JSON has no place for', () => {
    const circle: Record<string, unknown> = {}
    circle.self = circle
    for (const value of [undefined, () => 1, Symbol('x'), 1n, circle]) expect(() => jsonFormat.encode(value)).toThrow()
  })
})

describe('[text]', () => {
  test('brings text back', () => {
    expect(textFormat.decode(textFormat.encode('Grüße 🎺'), none)).toBe('Grüße 🎺')
    expect(textFormat.decode(textFormat.encode(''), none)).toBe('')
  })

  test('reads the charset that the message names', () => {
    expect(textFormat.decode(Buffer.from([0xfc]), { charset: 'iso-8859-1' })).toBe('ü')
    expect(() => textFormat.decode(Buffer.from([0xfc]), { charset: 'no-such' })).toThrow()
  })

  test('refuses invalid UTF-8, half surrogate pairs and what is no string', () => {
    expect(() => textFormat.decode(Buffer.from([0xff, 0xfe]), none)).toThrow('UTF-8')
    expect(() => textFormat.encode('\ud800')).toThrow('surrogate')
    expect(() => textFormat.encode(1)).toThrow('string')
  })
})

describe('[bytes]', () => {
  test('hands the same bytes on, all 256 values', () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i)
    expect(bytesFormat.encode(all)).toBe(all)
    const decoded = bytesFormat.decode(all, none)
    expect(Buffer.isBuffer(decoded)).toBe(true)
    expect(Buffer.compare(decoded as Buffer, all)).toBe(0)
  })

  test('refuses what is no bytes', () => {
    expect(() => bytesFormat.encode('text')).toThrow('Uint8Array')
  })
})

describe('the choice of a format', () => {
  const upper: Format = {
    name: 'upper',
    contentType: 'text/x-upper',
    encode: value => bytesOf(String(value).toUpperCase()),
    decode: bytes => Buffer.from(bytes).toString().toLowerCase(),
  }

  test.each([
    ['application/json', jsonFormat, {}],
    ['Application/JSON; Charset="UTF-8"', jsonFormat, { charset: 'UTF-8' }],
    ['application/vnd.acme.order+json;v=2', jsonFormat, { v: '2' }],
    ['text/plain;charset=latin1', textFormat, { charset: 'latin1' }],
    ['application/octet-stream', bytesFormat, {}],
    ['text/plain; junk; =; a=b', textFormat, { '': '', a: 'b' }],
  ])('reads %s', (contentType, format, parameters) => {
    const choice = new Formats().choose(contentType)
    expect(choice.format).toBe(format)
    expect({ ...choice.parameters }).toEqual(parameters)
  })

  test('knows formats by name and by content type, the user’s too', () => {
    const formats = new Formats([upper])
    expect(formats.named('upper')).toBe(upper)
    expect(formats.named('text/x-upper')).toBe(upper)
    expect(formats.named('json')).toBe(jsonFormat)
    expect(formats.choose('text/x-upper; a=b').format).toBe(upper)
  })

  test('a format of the user’s replaces a built-in one', () => {
    const mine = { ...upper, name: 'json', contentType: 'application/json' }
    expect(new Formats([mine]).choose('application/json').format).toBe(mine)
  })

  test.each(['', 'application/pdf', ';', 'json', 'x'.repeat(5000), '__proto__'])(
    'says that it knows no %j',
    async contentType => {
      const { code, message } = await errorOf(() => new Formats().choose(contentType))
      expect(code).toBe('format-unknown')
      expect(message.length).toBeLessThan(300)
    },
  )

  test('names the format that was meant', async () => {
    expect((await errorOf(() => new Formats().named('jsn'))).message).toContain('Did you mean `json`')
  })

  test('remembers a bounded number of content types', () => {
    const formats = new Formats()
    for (let i = 0; i < 2000; i++) expect(formats.choose(`application/json; n=${i}`).parameters.n).toBe(String(i))
  })
})
