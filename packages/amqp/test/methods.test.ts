import { describe, expect, test } from 'vitest'
import { camelCase, type Field, type Method as MethodDefinition } from '../generate/definition.ts'
import { readProtocolDefinition } from '../generate/main.ts'
import {
  AmqpError,
  encodeMethodFrame,
  hasContent,
  type Method,
  methodBound,
  methodNames,
  methodResponses,
  readMethod,
  writeMethod,
} from '../src/index.ts'
import amqplib from './vectors/amqplib.json' with { type: 'json' }
import pika from './vectors/pika.json' with { type: 'json' }

const definition = readProtocolDefinition()

function idOf(method: MethodDefinition): number {
  return method.classId * 0x10000 + method.methodId
}

function pick<T>(values: readonly T[], seed: number): T {
  return values[seed % values.length]!
}

function sample(field: Field, seed: number): unknown {
  switch (field.type) {
    case 'bit':
      return seed % 2 === 0
    case 'octet':
      return pick([0, 1, 255], seed)
    case 'short':
      return pick([0, 258, 65535], seed)
    case 'long':
      return pick([0, 16909060, 4294967295], seed)
    case 'longlong':
    case 'timestamp':
      return pick([0, 4294967296, 9007199254740991], seed)
    case 'shortstr':
      return pick(['', 'name', 'Grüße 🐘', 'x'.repeat(255)], seed)
    case 'longstr':
      return Buffer.from(pick(['', 'PLAIN AMQPLAIN', 'y'.repeat(70_000)], seed))
    case 'table':
      return pick([{}, { a: 1, b: 'two', c: { d: [true, null] } }], seed)
  }
}

function example(method: MethodDefinition, seed: number): Method {
  const fields = method.fields
    .filter(field => !field.reserved)
    .map((field, index) => [camelCase(field.name), sample(field, seed + index)])
  return { id: idOf(method), ...Object.fromEntries(fields) } as unknown as Method
}

function encode(method: Method): Buffer {
  const buffer = Buffer.alloc(methodBound(method), 0xee)
  return buffer.subarray(0, writeMethod(buffer, 0, method))
}

describe('every method of the definition', () => {
  for (const method of definition.methods) {
    const name = `${method.className}.${method.name}`

    test(`[${name}] comes back as it was written, in exactly the bytes that were announced`, () => {
      for (let seed = 0; seed < 12; seed++) {
        const value = example(method, seed)
        const bytes = encode(value)
        expect(bytes.readUInt16BE(0)).toBe(method.classId)
        expect(bytes.readUInt16BE(2)).toBe(method.methodId)
        expect(readMethod(bytes, 0, bytes.length)).toEqual(value)
        expect(bytes.length).toBeLessThanOrEqual(methodBound(value))
      }
    })

    test(`[${name}] cut at any byte is a syntax error, not a crash`, () => {
      // A run of bytes follows the cut, as in a frame, so that reading too far would find something.
      for (let seed = 0; seed < 4; seed++) {
        const bytes = encode(example(method, seed))
        for (let end = 0; end < Math.min(bytes.length, 600); end++) {
          expect(() => readMethod(bytes, 0, end)).toThrow(AmqpError)
        }
      }
    })

    test(`[${name}] is known by name, content and answers`, () => {
      expect(methodNames.get(idOf(method))).toBe(name)
      expect(hasContent(idOf(method))).toBe(method.hasContent)
      const answers = (methodResponses.get(idOf(method)) ?? []).map(id => methodNames.get(id))
      expect(answers).toEqual(method.responses.map(response => `${method.className}.${response}`))
    })
  }
})

interface Vector {
  readonly name: string
  readonly channel: number
  readonly fields: Readonly<Record<string, unknown>>
  readonly hex: string
}

for (const { producer, methods } of [amqplib, pika] as { producer: string; methods: Vector[] }[]) {
  describe(`methods of ${producer}`, () => {
    test.each(methods)('[$name] is read as it was meant', vector => {
      const bytes = Buffer.from(vector.hex, 'hex')
      const method = readMethod(bytes, 7, bytes.length - 1)
      expect(methodNames.get(method.id)?.replace(/[.-]/g, '').toLowerCase()).toBe(vector.name.toLowerCase())
      const { id: _, ...fields } = method as unknown as Record<string, unknown>
      for (const [name, value] of Object.entries(fields)) {
        if (Buffer.isBuffer(value)) fields[name] = value.toString()
      }
      expect(fields).toEqual(vector.fields)
    })

    // amqplib writes small integers of tables under tags of their own, so tables are compared where pika made them.
    const sameBytes = methods.filter(vector => producer.startsWith('pika') || !/declare|startok/i.test(vector.name))
    test.each(sameBytes)('[$name] is written in the same bytes', vector => {
      const bytes = Buffer.from(vector.hex, 'hex')
      const frame = encodeMethodFrame(vector.channel, readMethod(bytes, 7, bytes.length - 1))
      expect(frame.toString('hex')).toBe(vector.hex)
    })
  })
}

describe('bogus methods', () => {
  const refusal = (bytes: number[]): AmqpError => {
    try {
      readMethod(Buffer.from(bytes), 0, bytes.length)
    } catch (error) {
      if (error instanceof AmqpError) return error
      throw error
    }
    throw new Error('It was read.')
  }

  test('[unknown method] is 540 and names class and method', () => {
    const error = refusal([0, 60, 0, 99])
    expect(error).toMatchObject({ replyCode: 540, scope: 'connection', classId: 60, methodId: 99 })
  })

  test('[unknown class] is 540', () => {
    expect(refusal([1, 2, 0, 10])).toMatchObject({ replyCode: 540, classId: 258 })
  })

  test('[no method at all] is 502', () => {
    expect(refusal([0, 60])).toMatchObject({ replyCode: 502 })
  })

  test('[string longer than the frame] is 502 and names the method', () => {
    const error = refusal([0, 60, 0, 40, 0, 0, 200, 0x61])
    expect(error).toMatchObject({ replyCode: 502, classId: 60, methodId: 40 })
    expect(error.replyText).toBe('SYNTAX_ERROR - the frame of basic.publish is cut short')
  })

  test('[a queue name that is no UTF-8] is 502 where a server reads it', () => {
    const bytes = [0, 50, 0, 30, 0, 0, 2, 0xc3, 0x28, 0]
    expect(refusal(bytes)).toMatchObject({ replyCode: 502, replyText: 'SYNTAX_ERROR - a name is not valid UTF-8' })
  })

  test("[a routing key that is no UTF-8] does not cost a client its connection: it is a stranger's", () => {
    const bytes = Buffer.from([0, 60, 0, 60, 1, 0x74, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 2, 0xc3, 0x28])
    expect(readMethod(bytes, 0, bytes.length)).toMatchObject({ consumerTag: 't', routingKey: '\uFFFD(' })
  })

  test('[U+FFFD itself] is a good name', () => {
    const bytes = Buffer.from([0, 50, 0, 30, 0, 0, 3, 0xef, 0xbf, 0xbd, 0])
    expect(readMethod(bytes, 0, bytes.length)).toMatchObject({ queue: '\uFFFD' })
  })
})
