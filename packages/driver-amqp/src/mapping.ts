/**
 * A message between Chasqui's words and AMQP 0-9-1's: pure functions, no copy of a body.
 *
 *     WireMessage                 AMQP 0-9-1
 *     id                          message-id                     (read from cloudEvents_id too)
 *     type                        type                           (read from cloudEvents_type too)
 *     attributes.X                header cloudEvents_X           (read from cloudEvents:X too)
 *     key                         header cloudEvents_partitionkey
 *     time                        timestamp, in seconds, and header cloudEvents_time, in milliseconds
 *     expiresAt                   expiration, what is left of it, and header cloudEvents_expirytime
 *     notBefore                   header chasqui_not_before, in milliseconds since the epoch
 *     contentType, contentEncoding, correlationId, replyTo       the properties of that name
 *     durable                     delivery-mode 2, else 1
 *     headers                     headers
 *
 * What has an id, a type and a source is a CloudEvent and says so (`cloudEvents_specversion`; CloudEvents AMQP
 * binding, section 3.1; the underscore of section 3.1.3.1 for the sake of JMS). Programs that know nothing of us put
 * anything anywhere: what cannot be read as its field stays in the headers under the name it came with. Priority, user
 * id and application id have no field in a WireMessage and do not travel on in a copy.
 */
import type { BasicProperties, FieldTable, FieldValue } from '@chasqui/amqp'
import { ChasquiError, type Headers, headerPrefix, type WireMessage } from '@chasqui/driver'

/** Returns so far, put on by quorum queues from the second delivery on (RabbitMQ, "Quorum Queues: Poison Message Handling"). */
const deliveryCountHeader = 'x-delivery-count'
/** Its newer sister, RabbitMQ 4. */
const acquiredCountHeader = 'x-acquired-count'

const prefix = headerPrefix.amqpCloudEvents
const partitionKeyHeader = `${prefix}partitionkey`
const timeHeader = `${prefix}time`
const expiryHeader = `${prefix}expirytime`
const specVersionHeader = `${prefix}specversion`
const notBeforeHeader = `${headerPrefix.chasqui}not_before`
const specVersion = '1.0'
/** The stem before `_` or `:`, both of which the CloudEvents binding allows. */
const stem = prefix.slice(0, -1)

/** The longest short string, in bytes (AMQP 0-9-1 section 4.2.5.3). */
const maxShortStringBytes = 255
/** The longest expiration that RabbitMQ takes, in milliseconds: an unsigned 32-bit number. */
const maxExpirationMs = 4_294_967_295
/** The range of a `Date`, in milliseconds either side of the epoch. */
const maxDateMs = 8.64e15
const persistentMode = 2
const transientMode = 1

const nothing: Readonly<Record<string, never>> = Object.freeze({})

/**
 * The properties with which a message travels. Its body is sent as it is.
 *
 * @param now milliseconds since the epoch, from which what is left of `expiresAt` is counted; default the clock's.
 * @throws ChasquiError `header-invalid` where a field or a header's name is longer than AMQP's 255 bytes, or a time is none.
 */
export function toProperties(message: WireMessage, now?: number): BasicProperties {
  const { id, type, attributes, key, correlationId, replyTo, time, expiresAt, notBefore, contentType } = message
  const properties: { -readonly [Name in keyof BasicProperties]: BasicProperties[Name] } = {
    contentType: contentType === undefined ? undefined : short('contentType', contentType),
    contentEncoding:
      message.contentEncoding === undefined ? undefined : short('contentEncoding', message.contentEncoding),
    headers: undefined,
    deliveryMode: message.durable ? persistentMode : transientMode,
    correlationId: correlationId === undefined ? undefined : short('correlationId', correlationId),
    replyTo: replyTo === undefined ? undefined : short('replyTo', replyTo),
    expiration: undefined,
    messageId: id === undefined ? undefined : short('id', id),
    timestamp: undefined,
    type: type === undefined ? undefined : short('type', type),
  }

  let headers: Record<string, FieldValue> | undefined
  for (const name in attributes) {
    headers ??= copyOf(message.headers)
    headers[shortName(prefix + name)] = attributes[name]!
  }
  if (key !== undefined) {
    headers ??= copyOf(message.headers)
    headers[partitionKeyHeader] = key
  }
  if (id !== undefined && type !== undefined && headers !== undefined && attributes.source !== undefined) {
    headers[specVersionHeader] ??= specVersion
  }
  if (time !== undefined) {
    headers ??= copyOf(message.headers)
    headers[timeHeader] = instantText('time', time)
    if (time >= 0) properties.timestamp = Math.floor(time / 1000)
  }
  if (expiresAt !== undefined) {
    headers ??= copyOf(message.headers)
    headers[expiryHeader] = instantText('expiresAt', expiresAt)
    const leftMs = Math.ceil(expiresAt - (now ?? Date.now()))
    // Beyond what the property can say (49 days) the header alone bounds the message's life; readers look at it.
    if (leftMs <= maxExpirationMs) properties.expiration = String(Math.max(0, leftMs))
  }
  if (notBefore !== undefined) {
    headers ??= copyOf(message.headers)
    headers[notBeforeHeader] = Math.ceil(notBefore)
  }
  properties.headers = headers ?? (isEmpty(message.headers) ? undefined : (message.headers as FieldTable))
  return properties
}

/**
 * The message that was delivered. Takes the body by reference.
 *
 * @param now milliseconds since the epoch, the moment of arrival, for a foreign message whose expiration is relative;
 *   default the clock's. Never throws, whatever a foreign program sent.
 */
export function fromDelivery(properties: BasicProperties, body: Uint8Array, now?: number): WireMessage {
  const table = properties.headers
  let headers: Headers = nothing
  let attributes: Readonly<Record<string, string>> = nothing
  let id = text(properties.messageId)
  let type = text(properties.type)
  let key: string | undefined
  let time: number | undefined
  let expiresAt: number | undefined
  let notBefore: number | undefined

  if (table !== undefined && table !== null) {
    if (isPlain(table)) {
      headers = table as Headers
    } else {
      const kept: Record<string, FieldValue> = {}
      const found: Record<string, string> = {}
      for (const header in table) {
        const value = table[header]!
        if (header === deliveryCountHeader || header === acquiredCountHeader) continue
        if (header === notBeforeHeader && typeof value === 'number' && isInstant(value)) {
          notBefore = value
          continue
        }
        const name = attributeName(header)
        const attribute = name === undefined ? undefined : attributeText(value)
        if (name === undefined || attribute === undefined) {
          put(kept, header, value)
          continue
        }
        switch (name) {
          case 'partitionkey':
            key = attribute
            break
          case 'time':
            time = instant(attribute)
            if (time === undefined) put(kept, header, value)
            break
          case 'expirytime':
            expiresAt = instant(attribute)
            if (expiresAt === undefined) put(kept, header, value)
            break
          case 'specversion':
            // Ours to write again. Another version is the sender's to keep.
            if (attribute !== specVersion) put(found, name, attribute)
            break
          case 'id':
            if (id === undefined) id = attribute
            else if (id !== attribute) put(found, name, attribute)
            break
          case 'type':
            if (type === undefined) type = attribute
            else if (type !== attribute) put(found, name, attribute)
            break
          default:
            put(found, name, attribute)
        }
      }
      headers = kept as Headers
      attributes = found
    }
  }

  if (time === undefined && properties.timestamp !== undefined) {
    const timestampMs = Number(properties.timestamp) * 1000
    if (isInstant(timestampMs)) time = timestampMs
  }
  if (expiresAt === undefined && properties.expiration !== undefined) {
    // A foreign message: how long it waited is not known, so this is the latest moment that its sender can have meant.
    const expirationMs = Number(properties.expiration)
    if (properties.expiration !== '' && expirationMs >= 0 && isInstant(expirationMs)) {
      expiresAt = (now ?? Date.now()) + expirationMs
    }
  }

  return {
    id,
    type,
    attributes,
    headers,
    contentType: text(properties.contentType),
    contentEncoding: text(properties.contentEncoding),
    key,
    correlationId: text(properties.correlationId),
    replyTo: text(properties.replyTo),
    time,
    expiresAt,
    notBefore,
    durable: properties.deliveryMode === persistentMode,
    body,
  }
}

/** How often a quorum queue has handed this message out, this time included; `undefined` where no count came with it. */
export function deliveriesOf(properties: BasicProperties): number | undefined {
  const count = properties.headers?.[deliveryCountHeader]
  return typeof count === 'number' && count >= 0 ? count + 1 : undefined
}

/** An empty property is what several clients send for an absent one. */
function text(value: string | undefined): string | undefined {
  return value === '' ? undefined : value
}

/** True if no header is ours to take off, so that the table can be handed on as it is. */
function isPlain(table: FieldTable): boolean {
  for (const header in table) {
    const first = header.charCodeAt(0)
    // c: cloudEvents, chasqui; x: x-delivery-count.
    if (first === 0x63 && (header.startsWith(stem) || header === notBeforeHeader)) return false
    if (first === 0x78 && (header === deliveryCountHeader || header === acquiredCountHeader)) return false
  }
  return true
}

/** `cloudEvents_x` and `cloudEvents:x` to `x`; undefined for a header of another kind. */
function attributeName(header: string): string | undefined {
  if (header.length <= prefix.length || !header.startsWith(stem)) return undefined
  const separator = header.charCodeAt(stem.length)
  return separator === 0x5f || separator === 0x3a ? header.slice(prefix.length) : undefined
}

/** The canonical text of an attribute of any type (CloudEvents 1.0, "Type System"); undefined for what cannot be one. */
function attributeText(value: FieldValue): string | undefined {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return String(value)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? undefined : value.toISOString()
  if (value instanceof Uint8Array) {
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')
  }
  return undefined
}

/** A header may be called `__proto__`; assigning that would change the object's prototype instead. */
function put<Value>(record: Record<string, Value>, name: string, value: Value): void {
  if (name === '__proto__') {
    Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true })
  } else {
    record[name] = value
  }
}

function isEmpty(headers: Headers): boolean {
  for (const _ in headers) return false
  return true
}

function copyOf(headers: Headers): Record<string, FieldValue> {
  const copy: Record<string, FieldValue> = {}
  for (const name in headers) put(copy, shortName(name), headers[name] as FieldValue)
  return copy
}

function short(field: string, value: string): string {
  // At most three bytes come of one UTF-16 unit, so that short texts need no count.
  if (value.length * 3 > maxShortStringBytes && Buffer.byteLength(value) > maxShortStringBytes) {
    throw new ChasquiError(
      'header-invalid',
      `The message's ${field} has ${Buffer.byteLength(value)} bytes in UTF-8; AMQP 0-9-1 carries at most ${maxShortStringBytes}. Shorten it.`,
      { details: { field, limitBytes: maxShortStringBytes } },
    )
  }
  return value
}

function shortName(name: string): string {
  return name.length * 3 > maxShortStringBytes ? short(`header name ${name.slice(0, 20)}...`, name) : name
}

function isInstant(ms: number): boolean {
  return ms >= -maxDateMs && ms <= maxDateMs
}

// Formatting and parsing dates costs more than the rest of a message. Those of one second differ in their last digits.
let writtenSecondMs = 0
let writtenSecond = '1970-01-01T00:00:00.'
let readSecondMs = 0
let readSecond = writtenSecond

/** RFC 3339 with milliseconds, UTC. */
function instantText(field: string, ms: number): string {
  const whole = Math.trunc(ms)
  let rest = whole - writtenSecondMs
  if (!(rest >= 0 && rest < 1000)) {
    if (!isInstant(ms)) {
      throw new ChasquiError('header-invalid', `The message's ${field} is ${ms}, which is no moment in milliseconds.`, {
        details: { field },
      })
    }
    writtenSecondMs = Math.floor(whole / 1000) * 1000
    writtenSecond = new Date(whole).toISOString().slice(0, -4)
    rest = whole - writtenSecondMs
  }
  return `${writtenSecond}${rest < 10 ? '00' : rest < 100 ? '0' : ''}${rest}Z`
}

/** The moment of an RFC 3339 text, whoever wrote it; undefined for another text. */
function instant(written: string): number | undefined {
  const rest = millisecondsBehind(readSecond, written)
  if (rest >= 0) return readSecondMs + rest
  const ms = Date.parse(written)
  if (Number.isNaN(ms)) return undefined
  const second = written.slice(0, -4)
  const found = millisecondsBehind(second, written)
  if (found >= 0 && second.endsWith('.')) {
    readSecond = second
    readSecondMs = ms - found
  }
  return ms
}

/** The three digits in `[second][ddd]Z`, as a number; -1 for another shape. */
function millisecondsBehind(second: string, written: string): number {
  const at = second.length
  if (written.length !== at + 4 || written.charCodeAt(at + 3) !== 0x5a || !written.startsWith(second)) return -1
  let value = 0
  for (let index = at; index < at + 3; index++) {
    const digit = written.charCodeAt(index) - 0x30
    if (digit < 0 || digit > 9) return -1
    value = value * 10 + digit
  }
  return value
}
