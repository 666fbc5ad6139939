/**
 * Walks over the encoded properties of a publish without making anything of them. What passes here can be decoded by
 * whoever gets the message: a publisher must not be able to hand consumers bytes that break their connections.
 *
 *   [flags u16] [content-type] [content-encoding] [headers] [delivery-mode u8] [priority u8] [correlation-id] [reply-to]
 *   [expiration] [message-id] [timestamp u64] [type] [user-id] [app-id] [cluster-id]     those whose flag is set
 */
import { AmqpError, BASIC_PUBLISH, maxTableDepth } from '@chasqui/amqp'
import { directReplyName } from '../vhost/direct-replies.ts'

/** What the broker itself must know of a message's properties, as bits. */
export const PERSISTENT = 1
export const HAS_EXPIRATION = 2
export const HAS_USER_ID = 4
/** Replies may go to `amq.rabbitmq.reply-to`; its length says so, and is no proof. */
export const MAY_WANT_DIRECT_REPLY = 8

const contentType = 0x8000
const contentEncoding = 0x4000
const headers = 0x2000
const deliveryMode = 0x1000
const priority = 0x0800
const replyTo = 0x0200
const expiration = 0x0100
const userId = 0x0010
const unknown = 0x0003
/** Short strings between the priority and the timestamp, and those behind it. */
const stringsBeforeTimestamp = [0x0400, replyTo, expiration, 0x0080] as const
const timestamp = 0x0040
const stringsBehindTimestamp = [0x0020, userId, 0x0008, 0x0004] as const

const persistentMode = 2

/** The bits of what there is. Throws an AmqpError (502) where `decodeProperties` would. */
export function checkProperties(buffer: Buffer, start: number, end: number): number {
  if (start + 2 > end) refuse('they are cut short')
  const flags = (buffer[start]! << 8) | buffer[start + 1]!
  if ((flags & unknown) !== 0) refuse('they have flags that the protocol lacks')
  let at = start + 2
  let found = 0
  if ((flags & contentType) !== 0) at = behindString(buffer, at, end)
  if ((flags & contentEncoding) !== 0) at = behindString(buffer, at, end)
  if ((flags & headers) !== 0) at = behindTable(buffer, at, end, 0)
  if ((flags & deliveryMode) !== 0) {
    if (at >= end) refuse('they are cut short')
    if (buffer[at++] === persistentMode) found |= PERSISTENT
  }
  if ((flags & priority) !== 0 && ++at > end) refuse('they are cut short')
  // Most messages have none of the rest.
  if ((flags & 0x07fc) === 0) return found
  for (const flag of stringsBeforeTimestamp) {
    if ((flags & flag) === 0) continue
    if (flag === replyTo && buffer[at] === directReplyName.length) found |= MAY_WANT_DIRECT_REPLY
    at = behindString(buffer, at, end)
  }
  if ((flags & timestamp) !== 0) {
    at += 8
    if (at > end) refuse('they are cut short')
  }
  for (const flag of stringsBehindTimestamp) if ((flags & flag) !== 0) at = behindString(buffer, at, end)
  if ((flags & expiration) !== 0) found |= HAS_EXPIRATION
  if ((flags & userId) !== 0) found |= HAS_USER_ID
  return found
}

function behindString(buffer: Buffer, at: number, end: number): number {
  if (at >= end) refuse('they are cut short')
  const next = at + 1 + buffer[at]!
  if (next > end) refuse('they are cut short')
  return next
}

function behindTable(buffer: Buffer, start: number, end: number, depth: number): number {
  let at = start
  const stop = behindLong(buffer, at, end)
  at += 4
  while (at < stop) {
    at += 1 + buffer[at]!
    if (at >= stop) refuse('a header is cut short')
    at = behindValue(buffer, at, stop, depth)
  }
  return stop
}

function behindArray(buffer: Buffer, start: number, end: number, depth: number): number {
  const stop = behindLong(buffer, start, end)
  let at = start + 4
  while (at < stop) at = behindValue(buffer, at, stop, depth)
  return stop
}

/** Behind `[length u32][length bytes]`. */
function behindLong(buffer: Buffer, at: number, end: number): number {
  if (at + 4 > end) refuse('a header is cut short')
  const length = ((buffer[at]! << 24) | (buffer[at + 1]! << 16) | (buffer[at + 2]! << 8) | buffer[at + 3]!) >>> 0
  const next = at + 4 + length
  if (next > end) refuse('a header is longer than what holds it')
  return next
}

function behindValue(buffer: Buffer, tagAt: number, stop: number, depth: number): number {
  const at = tagAt + 1
  const tag = String.fromCharCode(buffer[tagAt]!)
  let next: number
  switch (tag) {
    case 'S':
    case 'x':
      return behindLong(buffer, at, stop)
    case 'F':
    case 'A':
      if (depth >= maxTableDepth) refuse(`headers are nested deeper than ${maxTableDepth} levels`)
      return tag === 'F' ? behindTable(buffer, at, stop, depth + 1) : behindArray(buffer, at, stop, depth + 1)
    case 'V':
      return at
    case 't':
    case 'b':
    case 'B':
      next = at + 1
      break
    case 's':
    case 'u':
      next = at + 2
      break
    case 'I':
    case 'i':
    case 'f':
      next = at + 4
      break
    case 'D':
      next = at + 5
      break
    case 'l':
    case 'L':
    case 'd':
    case 'T':
      next = at + 8
      break
    default:
      return refuse(`no value has the tag 0x${buffer[tagAt]!.toString(16).padStart(2, '0')}`)
  }
  if (next > stop) refuse('a header is cut short')
  return next
}

function refuse(why: string): never {
  throw AmqpError.of('syntax-error', `the properties of a message cannot be read: ${why}`, {
    scope: 'connection',
    classId: BASIC_PUBLISH >>> 16,
    methodId: BASIC_PUBLISH & 0xffff,
  })
}
