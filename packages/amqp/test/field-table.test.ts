import { describe, expect, test } from 'vitest'
import {
  AmqpError,
  decodeTable,
  EncodingError,
  encodeTable,
  type FieldTable,
  type FieldValue,
  maxTableDepth,
  TaggedValue,
} from '../src/index.ts'
import amqplib from './vectors/amqplib.json' with { type: 'json' }

/** The bytes of a table with the one name `v`, behind its length: tag and value as given. */
function tableOf(...tagAndValue: number[]): Buffer {
  const bytes = Buffer.from([0, 0, 0, 2 + tagAndValue.length, 1, 0x76, ...tagAndValue])
  return bytes
}

function readOf(...tagAndValue: number[]): FieldValue | undefined {
  return decodeTable(tableOf(...tagAndValue)).v
}

function refusal(bytes: Uint8Array): AmqpError {
  try {
    decodeTable(bytes)
  } catch (error) {
    if (error instanceof AmqpError) return error
    throw error
  }
  throw new Error('It was read.')
}

const letter = (text: string): number => text.charCodeAt(0)

describe('round trips', () => {
  const values: FieldTable = {
    text: 'Grüße 🐘',
    long: 'x'.repeat(1000),
    empty: '',
    zero: 0,
    small: -1,
    int32: -(2 ** 31),
    int33: 2 ** 31,
    millis: 1_764_000_000_123,
    negativeLong: -1_764_000_000_123,
    safe: Number.MAX_SAFE_INTEGER,
    unsafe: Number.MIN_SAFE_INTEGER,
    fraction: 0.1,
    huge: 1e300,
    infinite: Number.NEGATIVE_INFINITY,
    yes: true,
    no: false,
    nothing: null,
    when: new Date(1_764_000_000_000),
    bytes: Buffer.from([0, 1, 255]),
    list: ['a', 1, [null, { b: 2 }], []],
    table: { inner: { innermost: 'x' }, empty: {} },
    '': 'no name',
    ['__proto__']: 'a name like any other',
  }

  test('every kind of value comes back', () => {
    expect(decodeTable(encodeTable(values))).toEqual(values)
  })

  test('[-0, NaN] survive as doubles', () => {
    expect(decodeTable(encodeTable({ v: -0 })).v).toBe(-0)
    expect(decodeTable(encodeTable({ v: Number.NaN })).v).toBeNaN()
  })

  test('[bigint] beyond 2^53 stays exact; within, it is read as a number', () => {
    for (const value of [2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n, -(2n ** 53n) - 1n]) {
      expect(decodeTable(encodeTable({ v: value })).v).toBe(value)
    }
    expect(decodeTable(encodeTable({ v: 5n })).v).toBe(5)
  })

  test('[__proto__] is a name and changes no prototype', () => {
    const table = decodeTable(encodeTable({ ['__proto__']: { evil: true } }))
    expect(Object.getPrototypeOf(table)).toBe(Object.prototype)
    expect(Object.keys(table)).toEqual(['__proto__'])
  })

  test('[Date] is cut to whole seconds, which is all the wire has', () => {
    expect(decodeTable(encodeTable({ v: new Date(1_764_000_000_999) })).v).toEqual(new Date(1_764_000_000_000))
  })

  test('[undefined] names nothing', () => {
    const table = { a: undefined, b: 1 } as unknown as FieldTable
    expect(decodeTable(encodeTable(table))).toEqual({ b: 1 })
  })

  test('random tables come back', () => {
    let state = 42
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return (state >>> 8) % below
    }
    const value = (depth: number): FieldValue => {
      switch (random(depth > 3 ? 6 : 8)) {
        case 0:
          return String.fromCodePoint(...Array.from({ length: random(60) }, () => 32 + random(0x2000)))
        case 1:
          return random(2 ** 24) - 2 ** 23
        case 2:
          return (random(2 ** 24) - 2 ** 23) * 2 ** 27 + random(1000)
        case 3:
          return random(2 ** 24) / 7
        case 4:
          return random(2) === 0
        case 5:
          return Buffer.from(Array.from({ length: random(40) }, () => random(256)))
        case 6:
          return Array.from({ length: random(5) }, () => value(depth + 1))
        default:
          return table(depth + 1)
      }
    }
    const table = (depth: number): FieldTable =>
      Object.fromEntries(Array.from({ length: random(6) }, (_, index) => [`name-${index}-${random(99)}`, value(depth)]))
    for (let round = 0; round < 500; round++) {
      const made = table(0)
      expect(decodeTable(encodeTable(made))).toEqual(made)
    }
  })
})

describe('tags', () => {
  test.each([
    ['t', [1], true],
    ['b', [0x80], -128],
    ['B', [0xff], 255],
    ['s', [0xff, 0xfe], -2],
    ['u', [0xff, 0xfe], 65534],
    ['I', [0xff, 0xff, 0xff, 0xff], -1],
    ['i', [0xff, 0xff, 0xff, 0xff], 4294967295],
    ['l', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], -1],
    ['L', [0, 0, 0, 1, 0, 0, 0, 0], 4294967296],
    ['f', [0x3f, 0x80, 0, 0], 1],
    ['d', [0x3f, 0xf0, 0, 0, 0, 0, 0, 0], 1],
    ['D', [2, 0, 0, 1, 0x3a], 3.14],
    ['V', [], null],
    ['T', [0, 0, 0, 0, 0, 0, 0, 1], new Date(1000)],
    ['S', [0, 0, 0, 1, 0x61], 'a'],
    ['x', [0, 0, 0, 1, 0x61], Buffer.from('a')],
    ['A', [0, 0, 0, 2, 0x74, 0], [false]],
    ['F', [0, 0, 0, 0], {}],
  ])('[%s] is read [AMQP 0-9-1 section 4.2.1 with the errata of RabbitMQ]', (tag, bytes, value) => {
    expect(readOf(letter(tag), ...bytes)).toEqual(value)
  })

  test.each([
    ['I', 5],
    ['I', -5],
    ['l', 2 ** 40],
    ['l', 7n],
    ['d', 1.5],
    ['S', 'x'],
    ['t', true],
    ['V', null],
    ['T', new Date(0)],
    ['x', Buffer.from('x')],
    ['A', []],
    ['F', {}],
  ] as [string, FieldValue][])('[%s] is what %o is written under', (tag, value) => {
    expect(encodeTable({ v: value })[6]).toBe(letter(tag))
  })

  test('[TaggedValue] writes under the tag that was asked for', () => {
    const exact: [TaggedValue, FieldValue][] = [
      [new TaggedValue('b', -5), -5],
      [new TaggedValue('B', 250), 250],
      [new TaggedValue('s', -300), -300],
      [new TaggedValue('u', 65000), 65000],
      [new TaggedValue('I', 1), 1],
      [new TaggedValue('i', 4_000_000_000), 4_000_000_000],
      [new TaggedValue('l', 1), 1],
      [new TaggedValue('L', -1n), -1],
      [new TaggedValue('f', 0.5), 0.5],
      [new TaggedValue('d', 2), 2],
      [new TaggedValue('D', { scale: 1, value: 15 }), 1.5],
      [new TaggedValue('T', 10), new Date(10_000)],
      [new TaggedValue('S', Buffer.from('bytes')), 'bytes'],
      [new TaggedValue('x', 'text'), Buffer.from('text')],
      [new TaggedValue('A', [1]), [1]],
      [new TaggedValue('F', { a: 1 }), { a: 1 }],
      [new TaggedValue('V', null), null],
      [new TaggedValue('t', true), true],
    ]
    for (const [tagged, value] of exact) {
      const bytes = encodeTable({ v: tagged })
      expect(bytes[6]).toBe(letter(tagged.tag))
      expect(decodeTable(bytes).v).toEqual(value)
    }
  })

  test('[S] that is no UTF-8 is read as bytes: nothing of it is lost', () => {
    expect(readOf(letter('S'), 0, 0, 0, 2, 0xc3, 0x28)).toEqual(Buffer.from([0xc3, 0x28]))
  })

  test('[T] beyond what a Date holds comes back exactly', () => {
    const bytes = tableOf(letter('T'), 0xff, 0, 0, 0, 0, 0, 0, 1)
    expect(decodeTable(bytes).v).toEqual(new TaggedValue('T', 0xff00_0000_0000_0001n))
    expect(encodeTable(decodeTable(bytes))).toEqual(bytes)
  })
})

describe(`tables of ${amqplib.producer}`, () => {
  test('are read', () => {
    expect(decodeTable(Buffer.from(amqplib.table.hex, 'hex'))).toEqual(amqplib.table.value)
  })

  test('cut at any byte are 502', () => {
    const bytes = Buffer.from(amqplib.table.hex, 'hex')
    for (let end = 0; end < bytes.length; end++) {
      expect(refusal(bytes.subarray(0, end))).toMatchObject({ replyCode: 502, scope: 'connection' })
      // The same with an outer length that fits, so that the cut goes through a value.
      if (end < 4) continue
      const shortened = Buffer.from(bytes.subarray(0, end))
      shortened.writeUInt32BE(end - 4)
      let read: FieldTable | undefined
      try {
        read = decodeTable(shortened)
      } catch (error) {
        expect(error).toMatchObject({ replyCode: 502 })
      }
      // Between two values a shorter table is a good table.
      if (read !== undefined) expect(amqplib.table.value).toMatchObject(read)
    }
  })
})

describe('bogus tables', () => {
  test.each([
    ['huge length', Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 0x76]), 'longer than what holds it'],
    ['name cut short', Buffer.from([0, 0, 0, 3, 9, 0x76, 0x74]), 'a name is cut short'],
    ['name without value', Buffer.from([0, 0, 0, 2, 1, 0x76]), 'a name is cut short'],
    ['unknown tag', tableOf(0x3f, 1), 'no value has the tag 0x3f'],
    ['string of 4 GiB', tableOf(letter('S'), 0xff, 0xff, 0xff, 0xff), 'a value is cut short'],
    ['bytes of 2 GiB', tableOf(letter('x'), 0x80, 0, 0, 0), 'a value is cut short'],
    ['array longer than its table', tableOf(letter('A'), 0, 0, 0, 9, 0x56), 'an array is longer'],
    ['table longer than its table', tableOf(letter('F'), 0, 0, 1, 0), 'longer than what holds it'],
    ['number cut short', tableOf(letter('l'), 1, 2, 3), 'a value is cut short'],
  ])('[%s] is 502', (_, bytes, reason) => {
    const error = refusal(bytes)
    expect(error.replyCode).toBe(502)
    expect(error.replyText).toContain(reason)
  })

  test('[nesting] of a hundred thousand levels is 502, not a stack overflow', () => {
    const levels = 100_000
    const bytes = Buffer.alloc(6 + levels * 5)
    bytes.writeUInt32BE(bytes.length - 4, 0)
    bytes[4] = 1
    bytes[5] = 0x76
    for (let level = 0; level < levels; level++) {
      bytes[6 + level * 5] = letter('A')
      bytes.writeUInt32BE(bytes.length - 6 - (level + 1) * 5, 7 + level * 5)
    }
    expect(refusal(bytes).replyText).toContain(`deeper than ${maxTableDepth} levels`)
  })

  test('[nesting] up to the limit goes both ways, one more is refused both ways', () => {
    const nest = (levels: number): FieldTable => {
      let table: FieldTable = {}
      for (let level = 0; level < levels; level++) table = { a: table }
      return table
    }
    expect(decodeTable(encodeTable(nest(maxTableDepth)))).toEqual(nest(maxTableDepth))
    expect(() => encodeTable(nest(maxTableDepth + 1))).toThrow(
      expect.objectContaining({ name: 'EncodingError', code: 'nested-too-deep' }),
    )
  })

  test('[a table in itself] is refused', () => {
    const table: Record<string, FieldValue> = {}
    table.self = table
    expect(() => encodeTable(table)).toThrow(EncodingError)
  })

  test.each([
    ['a function', () => 1, 'value-not-encodable'],
    ['a symbol', Symbol('x'), 'value-not-encodable'],
    ['a bigint of 65 bits', 2n ** 64n, 'out-of-range'],
    ['a time before 1970', new Date(-1), 'out-of-range'],
    ['an invalid time', new Date(Number.NaN), 'out-of-range'],
    ['a tagged octet of 256', new TaggedValue('B', 256), 'out-of-range'],
    ['a tagged integer that is a fraction', new TaggedValue('l', 1.5), 'out-of-range'],
    ['a tagged string that is a number', new TaggedValue('S', 5), 'out-of-range'],
  ])('[%s] cannot be written: %s', (_, value, code) => {
    expect(() => encodeTable({ v: value as FieldValue })).toThrow(
      expect.objectContaining({ name: 'EncodingError', code }),
    )
  })

  test('[a name of 256 bytes] cannot be written', () => {
    expect(() => encodeTable({ ['ü'.repeat(128)]: 1 })).toThrow(
      expect.objectContaining({ name: 'EncodingError', code: 'string-too-long' }),
    )
  })

  test('random bytes are read or refused, never worse', () => {
    let state = 7
    for (let round = 0; round < 20_000; round++) {
      const bytes = Buffer.alloc(40)
      for (let i = 0; i < bytes.length; i++) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
        // Half of the bytes are tags or small numbers, so that values go on for a while.
        bytes[i] = state & 0x100 ? 'tbBsuIilLfdDSxTAFV'.charCodeAt((state >>> 16) % 18) : (state >>> 20) % 12
      }
      bytes.writeUInt32BE(bytes.length - 4)
      try {
        expect(typeof decodeTable(bytes)).toBe('object')
      } catch (error) {
        expect(error).toMatchObject({ name: 'AmqpError', replyCode: 502 })
      }
    }
  })
})
