/** src/generated/methods.ts: for each method its id, its fields as a type, its size, encoder and decoder. */

import {
  banner,
  camelCase,
  type Definition,
  type Field,
  type FieldType,
  type Method,
  pascalCase,
  upperCase,
} from './definition.ts'

/** Methods of the hot paths stand first wherever a method is looked up by its id. */
const hotMethods = ['basic.deliver', 'basic.ack', 'basic.publish', 'basic.nack', 'basic.reject']

const tsTypes: Record<FieldType, string> = {
  bit: 'boolean',
  octet: 'number',
  short: 'number',
  long: 'number',
  longlong: 'number',
  timestamp: 'number',
  shortstr: 'string',
  longstr: 'string | Uint8Array',
  table: 'FieldTable',
}

const fixedSizes: Partial<Record<FieldType, number>> = { octet: 1, short: 2, long: 4, longlong: 8, timestamp: 8 }

const idOf = (method: Method): string => `${upperCase(method.className)}_${upperCase(method.name)}`
const typeOf = (method: Method): string => pascalCase(method.className) + pascalCase(method.name)
const nameOf = (method: Method): string => `${method.className}.${method.name}`

export function methodsSource(definition: Definition): string {
  const methods = [...definition.methods].sort(byHeat)
  const withFields = methods.filter(method => method.fields.length > 0)
  const union = (list: readonly Method[]): string => list.map(method => `  | ${typeOf(method)}`).join('\n')
  return `${banner}
import { AmqpError } from '../errors.ts'
import { type FieldTable, readTable, tableBound, tableLength, writeTable } from '../field-table.ts'
import { readLong, readLongLong, readShort, writeLong, writeLongLong, writeOctet, writeShort } from '../integer.ts'
import { longStringBound, readRepeatedText, readStrictText, shortStringBound, writeLongString, writeShortString } from '../text.ts'

// A method's id is its class in the upper and its number in the lower 16 bits, as the first four bytes of its frame.
${definition.methods.map(method => `export const ${idOf(method)} = ${hex(method)}`).join('\n')}

${definition.methods.map(interfaceSource).join('\n')}
/** Any method; \`id\` tells which. */
export type Method =
${union(definition.methods)}

/** Methods that a content header and a body follow. */
export type ContentMethod =
${union(definition.methods.filter(method => method.hasContent))}

/** \`basic.publish\` and so on, for messages to people. */
export const methodNames: ReadonlyMap<number, string> = new Map([
${definition.methods.map(method => `  [${idOf(method)}, '${nameOf(method)}'],`).join('\n')}
])

/** The methods that answer a request; a request that is not here has no answer. */
export const methodResponses: ReadonlyMap<number, readonly number[]> = new Map([
${definition.methods
  .filter(method => method.responses.length > 0)
  .map(
    method =>
      `  [${idOf(method)}, [${method.responses.map(name => responseId(definition, method, name)).join(', ')}]],`,
  )
  .join('\n')}
])

/** True for the methods that a content header and a body follow. */
export function hasContent(id: number): boolean {
  return ${[...definition.methods]
    .filter(method => method.hasContent)
    .sort(byHeat)
    .map(method => `id === ${idOf(method)}`)
    .join(' || ')}
}

/** The most bytes that \`writeMethod\` may need: exact but for strings and tables, which count three bytes for each UTF-16 unit. */
export function methodBound(method: Method): number {
  switch (method.id) {
${withFields.map(method => boundCase(method)).join('\n')}
    default:
      return 4
  }
}

/** Writes id and fields (a method frame's payload) and returns the offset behind them. Throws EncodingError. */
export function writeMethod(buffer: Buffer, offset: number, method: Method): number {
  switch (method.id) {
${withFields.map(method => `    case ${idOf(method)}:\n      return write${typeOf(method)}(buffer, offset, method)`).join('\n')}
    default:
      return writeLong(buffer, offset, method.id)
  }
}

/**
 * Reads the payload of a method frame, from \`offset\` up to \`end\`. Throws an AmqpError: 540 for a method that
 * the protocol lacks, 502 for fields that are cut short or malformed. Bytes behind the last field are ignored.
 */
export function readMethod(buffer: Buffer, offset: number, end: number): Method {
  if (offset + 4 > end) refuseShort(0)
  const id = readLong(buffer, offset)
  switch (id) {
${methods.map(decodeCase).join('\n')}
    default:
      throw AmqpError.of('not-implemented', \`the protocol has no method \${id & 0xffff} in class \${id >>> 16}\`, {
        scope: 'connection',
        classId: id >>> 16,
        methodId: id & 0xffff,
      })
  }
}

function refuseShort(id: number): never {
  throw AmqpError.of('syntax-error', \`the frame of \${methodNames.get(id) ?? 'a method'} is cut short\`, {
    classId: id >>> 16,
    methodId: id & 0xffff,
  })
}

${withFields.map(method => writerSource(method)).join('\n')}
${withFields.map(method => readerSource(method)).join('\n')}`
}

function byHeat(a: Method, b: Method): number {
  return heat(a) - heat(b)
}

function heat(method: Method): number {
  const hot = hotMethods.indexOf(nameOf(method))
  if (hot >= 0) return hot
  return method.className === 'basic' ? hotMethods.length : hotMethods.length + 1
}

function hex(method: Method): string {
  return `0x${(method.classId * 0x10000 + method.methodId).toString(16).padStart(8, '0')}`
}

function responseId(definition: Definition, method: Method, name: string): string {
  const response = definition.methods.find(other => other.className === method.className && other.name === name)
  if (response === undefined) throw new Error(`${nameOf(method)} is answered by ${name}, which does not exist.`)
  return idOf(response)
}

function interfaceSource(method: Method): string {
  const fields = method.fields.filter(field => !field.reserved)
  return `export interface ${typeOf(method)} {
  readonly id: typeof ${idOf(method)}
${fields.map(field => `  readonly ${camelCase(field.name)}: ${tsTypes[field.type]}\n`).join('')}}
`
}

/** Runs of bits share octets (AMQP 0-9-1 section 4.2.5.2); every other field stands alone. */
function groups(fields: readonly Field[]): Field[][] {
  const result: Field[][] = []
  for (const field of fields) {
    const last = result.at(-1)
    if (field.type === 'bit' && last !== undefined && last[0]!.type === 'bit' && last.length < 8) last.push(field)
    else result.push([field])
  }
  return result
}

function boundCase(method: Method): string {
  let fixed = 4
  const terms: string[] = []
  for (const [field] of groups(method.fields)) {
    const value = `method.${camelCase(field!.name)}`
    const size = field!.type === 'bit' ? 1 : fixedSizes[field!.type]
    if (size !== undefined) fixed += size
    else if (field!.reserved) fixed += field!.type === 'shortstr' ? 1 : 4
    else if (field!.type === 'shortstr') terms.push(`shortStringBound(${value})`)
    else if (field!.type === 'longstr') terms.push(`longStringBound(${value})`)
    else terms.push(`tableBound(${value})`)
  }
  return `    case ${idOf(method)}:\n      return ${[String(fixed), ...terms].join(' + ')}`
}

const writers: Partial<Record<FieldType, string>> = {
  octet: 'writeOctet',
  short: 'writeShort',
  long: 'writeLong',
  longlong: 'writeLongLong',
  timestamp: 'writeLongLong',
  shortstr: 'writeShortString',
  longstr: 'writeLongString',
  table: 'writeTable',
}

const emptyValues: Partial<Record<FieldType, string>> = { shortstr: `''`, longstr: `''`, table: '{}' }

function writerSource(method: Method): string {
  const lines = groups(method.fields).map(group => {
    const field = group[0]!
    if (field.type === 'bit') {
      const bits = group
        .map((bit, index) => (bit.reserved ? '' : `(method.${camelCase(bit.name)} ? ${1 << index} : 0)`))
        .filter(bit => bit !== '')
      return `  buffer[at++] = ${bits.join(' | ') || '0'}`
    }
    const value = field.reserved ? (emptyValues[field.type] ?? '0') : `method.${camelCase(field.name)}`
    return `  at = ${writers[field.type]}(buffer, at, ${value})`
  })
  const unused = method.fields.every(field => field.reserved)
  return `function write${typeOf(method)}(buffer: Buffer, offset: number, ${unused ? '_method' : 'method'}: ${typeOf(method)}): number {
  let at = writeLong(buffer, offset, ${idOf(method)})
${lines.join('\n')}
  return at
}
`
}

function decodeCase(method: Method): string {
  const call = method.fields.length > 0 ? `read${typeOf(method)}(buffer, offset + 4, end)` : `{ id: ${idOf(method)} }`
  return `    case ${idOf(method)}:\n      return ${call}`
}

/**
 * Reads the fields in their order. Before each run of fields of fixed size stands one check that all of them,
 * and the length octets of the string behind them, lie before the end.
 */
function readerSource(method: Method): string {
  const id = idOf(method)
  const lines: string[] = []
  const names: string[] = []
  const list = groups(method.fields)
  let known = 0 // bytes from `at` on that are known to be there
  list.forEach((group, index) => {
    const field = group[0]!
    if (known === 0) {
      known = fixedRun(list.slice(index))
      lines.push(`  if (at + ${known} > end) refuseShort(${id})`)
    }
    const variable = camelCase(field.name)
    if (field.type === 'bit') {
      for (const [bitIndex, bit] of group.entries()) {
        if (bit.reserved) continue
        names.push(camelCase(bit.name))
        lines.push(`  const ${safe(camelCase(bit.name))} = (buffer[at]! & ${1 << bitIndex}) !== 0`)
      }
      lines.push('  at += 1')
      known -= 1
      return
    }
    const size = fixedSizes[field.type]
    if (!field.reserved) names.push(variable)
    if (size !== undefined) {
      if (!field.reserved) lines.push(`  const ${safe(variable)} = ${fixedRead(field.type)}`)
      lines.push(`  at += ${size}`)
      known -= size
      return
    }
    if (field.type === 'table') {
      lines.push(`  const ${variable}Length = tableLength(buffer, at, end)`)
      if (!field.reserved) lines.push(`  const ${safe(variable)} = readTable(buffer, at, at + ${variable}Length)`)
      lines.push(`  at += ${variable}Length`)
    } else {
      const short = field.type === 'shortstr'
      lines.push(`  const ${variable}Length = ${short ? 'buffer[at]!' : 'readLong(buffer, at)'}`)
      lines.push(`  at += ${short ? 1 : 4}`)
      lines.push(`  if (at + ${variable}Length > end) refuseShort(${id})`)
      if (!field.reserved) lines.push(`  const ${safe(variable)} = ${stringRead(method, field.type, variable)}`)
      lines.push(`  at += ${variable}Length`)
    }
    known = 0
  })
  // The last assignment moves past what nobody reads any more.
  if (lines.at(-1)!.startsWith('  at +=')) lines.pop()
  const object = [`id: ${id}`, ...names.map(name => (safe(name) === name ? name : `${name}: ${safe(name)}`))]
  const moves = lines.some(line => line.startsWith('  at +='))
  return `function read${typeOf(method)}(buffer: Buffer, offset: number, end: number): ${typeOf(method)} {
  ${moves ? 'let' : 'const'} at = offset
${lines.join('\n')}
  return { ${object.join(', ')} }
}
`
}

/** Bytes of fixed size at the head of the groups, and the length field of the variable one that ends them. */
function fixedRun(list: readonly Field[][]): number {
  let bytes = 0
  for (const [field] of list) {
    const size = field!.type === 'bit' ? 1 : fixedSizes[field!.type]
    if (size === undefined) return bytes + (field!.type === 'shortstr' ? 1 : 4)
    bytes += size
  }
  return bytes
}

function fixedRead(type: FieldType): string {
  if (type === 'octet') return 'buffer[at]!'
  if (type === 'short') return 'readShort(buffer, at)'
  if (type === 'long') return 'readLong(buffer, at)'
  return 'readLongLong(buffer, at)'
}

/**
 * What only a server reads decides where messages go, so it must be text. What a client reads may come from a
 * stranger's message: there odd bytes are replaced, for one such message must not cost the connection. Long
 * strings hold credentials and lists of mechanisms, and are bytes by definition.
 */
function stringRead(method: Method, type: FieldType, variable: string): string {
  if (type === 'longstr') return `buffer.subarray(at, at + ${variable}Length)`
  return `${method.forClient ? 'readRepeatedText' : 'readStrictText'}(buffer, at, ${variable}Length)`
}

/** Names that cannot be variables. */
function safe(name: string): string {
  return name === 'arguments' ? 'argumentTable' : name
}
