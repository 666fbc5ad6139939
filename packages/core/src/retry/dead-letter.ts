/** What a dead letter looks like: the original's bytes and headers, and beside them bounded headers that say why it is there. */
import type { Headers, HeaderValue, Source, WireMessage } from '@chasqui/driver'
import { headerPrefix, isChasquiError } from '@chasqui/driver'
import { messageOf } from '../observe/message-of.ts'
import { isHistory } from './notes.ts'

/** Why and after what a message is given up. */
export interface Failure {
  /** A code of the error table. */
  readonly code: string
  readonly reason: string
  readonly error: unknown
  readonly attempts: number
  /** Milliseconds since the epoch. */
  readonly firstFailedAt: number
  readonly lastFailedAt: number
}

/** Bounds of the error headers, in characters: together they stay far below what any engine allows for headers. */
const maxSentence = 1000
const maxShort = 100
const maxStack = 4000
const maxWord = 200

/** The name by which logs, headers and queues call a source. */
export function sourceName(source: Source): string {
  return source.kind === 'subscription' ? `${source.topic}.${source.name}` : source.name
}

export function deadLetterName(source: Source): string {
  return `${sourceName(source)}.dead-letter`
}

/** True where messages already are dead letters or faults: those are never moved on a second time. */
export function isLastStop(name: string): boolean {
  return /\.(?:dead-letter|fault)$/.test(name)
}

/**
 * How much a dead letter says of its failure. Less only where its own headers nearly fill what the engine allows: `short` leaves the
 * stack out and cuts the sentences, `nothing` is the original alone, and logs and events know why.
 */
export type Telling = 'all' | 'short' | 'nothing'

const less: Readonly<Record<Telling, Telling>> = { all: 'short', short: 'nothing', nothing: 'nothing' }

/** What is to be told after the engine refused a copy that told so much. */
export function tellingAfter(telling: Telling, error: unknown): Telling {
  return isChasquiError(error) && error.code === 'header-invalid' ? less[telling] : telling
}

/** The copy that goes to the dead-letter queue: same id, body and metadata; it neither expires nor waits any more. */
export function deadLetterCopy(
  original: WireMessage,
  source: Source,
  consumer: string,
  failure: Failure,
  telling: Telling = 'all',
): WireMessage {
  const headers: Record<string, HeaderValue> = withoutHistory(original.headers)
  if (telling !== 'nothing') tell(headers, source, consumer, failure, telling === 'all' ? maxSentence : maxShort)
  if (telling === 'short') delete headers[`${headerPrefix.chasqui}error_stack`]
  return { ...original, headers, expiresAt: undefined, notBefore: undefined, durable: true }
}

function tell(
  headers: Record<string, HeaderValue>,
  source: Source,
  consumer: string,
  failure: Failure,
  longest: number,
): void {
  const { error } = failure
  const { chasqui } = headerPrefix
  headers[`${chasqui}error_code`] = failure.code
  headers[`${chasqui}error_type`] = cut(typeOf(error), maxWord)
  headers[`${chasqui}error_message`] = cut(messageOf(error), longest)
  if (error instanceof Error && typeof error.stack === 'string')
    headers[`${chasqui}error_stack`] = cut(error.stack, maxStack)
  headers[`${chasqui}attempts`] = failure.attempts
  headers[`${chasqui}first_failed_at`] = new Date(failure.firstFailedAt).toISOString()
  headers[`${chasqui}last_failed_at`] = new Date(failure.lastFailedAt).toISOString()
  headers[`${chasqui}original_destination`] = sourceName(source)
  headers[`${chasqui}consumer`] = cut(consumer, maxWord)
  headers[`${chasqui}reason`] = cut(failure.reason, longest)
}

/** The error's name, and where that is the one that every error has, its class. */
function typeOf(error: unknown): string {
  if (!(error instanceof Error)) return typeof error
  const name = String(error.name)
  return name === 'Error' ? String(error.constructor?.name || name) : name
}

/** The intact original for the fault topic. */
export function faultCopy(original: WireMessage): WireMessage {
  return { ...original, headers: withoutHistory(original.headers), expiresAt: undefined, notBefore: undefined }
}

function withoutHistory(headers: Headers): Record<string, HeaderValue> {
  const kept: Record<string, HeaderValue> = {}
  for (const name of Object.keys(headers)) if (!isHistory(name)) kept[name] = headers[name]!
  return kept
}

/** Cuts between characters, and never leaves half a surrogate pair. */
function cut(text: string, maxCharacters: number): string {
  const short = text.length <= maxCharacters ? text : `${text.slice(0, maxCharacters - 1)}…`
  return short.toWellFormed()
}
