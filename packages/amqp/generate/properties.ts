/** src/generated/properties.ts: the content properties of class basic. */

import { banner, camelCase, type Definition, type Field, type FieldType } from './definition.ts'

const tsTypes: Partial<Record<FieldType, string>> = {
  shortstr: 'string',
  table: 'FieldTable',
  octet: 'number',
  timestamp: 'number',
}

const docs: Record<string, string> = {
  contentType: 'MIME type of the body.',
  contentEncoding: 'MIME encoding of the body.',
  headers: 'What the application likes; the headers exchange routes by it.',
  deliveryMode: '1: transient, 2: persistent. Absent counts as 1.',
  priority: '0 to 9; RabbitMQ takes up to 255.',
  correlationId: 'Which request this answers.',
  replyTo: 'The queue that takes the answer.',
  expiration: 'How long the message may wait in a queue, in milliseconds, as decimal digits.',
  messageId: "The application's name for the message.",
  timestamp: 'When the message came to be, in seconds since the epoch.',
  type: "The message's type.",
  userId: 'The user who sent it; RabbitMQ refuses another name than that of the connection.',
  appId: 'The application that sent it.',
  clusterId: 'Deprecated; kept because old peers send it.',
}

/** Texts that are the same in many messages. */
const repeated = new Set(['contentType', 'contentEncoding', 'replyTo', 'type', 'userId', 'appId', 'clusterId'])

const nameOf = (field: Field): string => (field.name === 'reserved' ? 'clusterId' : camelCase(field.name))
const flagOf = (index: number): string => `0x${(1 << (15 - index)).toString(16).padStart(4, '0')}`

export function propertiesSource(definition: Definition): string {
  const { properties } = definition
  if (properties.length > 15) throw new Error('More than 15 properties need a second word of flags.')
  return `${banner}
import { AmqpError } from '../errors.ts'
import { type FieldTable, readTable, tableBound, tableLength, writeTable } from '../field-table.ts'
import { readLongLong, readShort, writeLongLong, writeOctet, writeShort } from '../integer.ts'
import { readRepeatedText, readText, shortStringBound, writeShortString } from '../text.ts'

/** What a message bears beside its body. Absent and undefined are the same. */
export interface BasicProperties {
${properties
  .map(
    field => `  /** ${docs[nameOf(field)] ?? ''} */\n  readonly ${nameOf(field)}?: ${tsTypes[field.type]} | undefined`,
  )
  .join('\n')}
}

/** The most bytes that \`writeProperties\` may need. */
export function propertiesBound(properties: BasicProperties): number {
  let bound = ${2 + properties.reduce((sum, field) => sum + (field.type === 'octet' ? 1 : field.type === 'timestamp' ? 8 : 0), 0)}
${properties
  .filter(field => field.type === 'shortstr' || field.type === 'table')
  .map(field => {
    const bound = field.type === 'table' ? 'tableBound' : 'shortStringBound'
    return `  if (properties.${nameOf(field)} !== undefined) bound += ${bound}(properties.${nameOf(field)})`
  })
  .join('\n')}
  return bound
}

/** Writes [flags u16][value ...] and returns the offset behind them. Throws EncodingError. */
export function writeProperties(buffer: Buffer, offset: number, properties: BasicProperties): number {
  let flags = 0
  let at = offset + 2
${properties
  .map((field, index) => {
    const name = nameOf(field)
    return `  const { ${name} } = properties
  if (${name} !== undefined) {
    flags |= ${flagOf(index)}
    at = ${writerOf(field.type)}(buffer, at, ${name})
  }`
  })
  .join('\n')}
  writeShort(buffer, offset, flags)
  return at
}

/** As read from the wire: every field is there, so that all messages share one shape in memory. */
class ReadProperties implements BasicProperties {
${properties.map(field => `  ${nameOf(field)}: ${tsTypes[field.type]} | undefined = undefined`).join('\n')}
}

/**
 * Reads [flags u16][value ...] from \`offset\` up to \`end\`. Throws an AmqpError (502) where they are cut short,
 * malformed or have flags that the protocol lacks. Short strings that are no UTF-8 are read with U+FFFD.
 */
export function readProperties(buffer: Buffer, offset: number, end: number): BasicProperties {
  if (offset + 2 > end) refuse('are cut short')
  const flags = readShort(buffer, offset)
  if ((flags & ${lacking(properties.length)}) !== 0) refuse('have flags that the protocol lacks')
  const properties = new ReadProperties()
  let at = offset + 2
${properties.map((field, index) => propertyRead(field, index)).join('\n')}
  return properties
}

function refuse(explanation: string): never {
  throw AmqpError.of('syntax-error', \`the properties of a message \${explanation}\`, { classId: 60 })
}
`
}

function lacking(count: number): string {
  return `0x${((1 << (16 - count)) - 1).toString(16).padStart(4, '0')}`
}

function writerOf(type: FieldType): string {
  if (type === 'shortstr') return 'writeShortString'
  if (type === 'table') return 'writeTable'
  return type === 'octet' ? 'writeOctet' : 'writeLongLong'
}

function propertyRead(field: Field, index: number): string {
  const name = nameOf(field)
  return `  if ((flags & ${flagOf(index)}) !== 0) {
${valueRead(field.type, name).join('\n')}
  }`
}

function valueRead(type: FieldType, name: string): string[] {
  if (type === 'table') {
    return [
      '    const length = tableLength(buffer, at, end)',
      `    properties.${name} = readTable(buffer, at, at + length)`,
      '    at += length',
    ]
  }
  if (type === 'shortstr') {
    return [
      `    if (at + 1 > end) refuse('are cut short')`,
      '    const length = buffer[at]!',
      `    if (at + 1 + length > end) refuse('are cut short')`,
      `    properties.${name} = ${repeated.has(name) ? 'readRepeatedText' : 'readText'}(buffer, at + 1, length)`,
      '    at += 1 + length',
    ]
  }
  const size = type === 'octet' ? 1 : 8
  return [
    `    if (at + ${size} > end) refuse('are cut short')`,
    `    properties.${name} = ${size === 1 ? 'buffer[at]!' : 'readLongLong(buffer, at)'}`,
    `    at += ${size}`,
  ]
}
