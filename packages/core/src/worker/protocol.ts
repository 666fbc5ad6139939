/**
 * What the main thread and a handler's thread say to each other. Everything here can be cloned. A thread has one message at a time:
 *
 *     main                         thread
 *                    <- ready | unusable
 *     message        ->
 *                    <- call, cancel, log ...      while its handler runs, and shortly after
 *     answer         ->                            to each call
 *     abort          ->                            the attempt is over, the thread soon too
 *                    <- returned | threw
 */
import type { ErrorCode } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { MessageInfo } from '../consume/incoming.ts'
import type { AnyContract } from '../contract/contract.ts'
import type { LogLevel } from '../observe/logging.ts'

export type ToThread =
  | { readonly kind: 'message'; readonly body: unknown; readonly bytes: boolean; readonly info: MessageInfo }
  | { readonly kind: 'abort'; readonly reason: Thrown }
  | { readonly kind: 'answer'; readonly call: number; readonly outcome: Outcome }

export type FromThread =
  | { readonly kind: 'ready' }
  | { readonly kind: 'unusable'; readonly error: Thrown }
  | { readonly kind: 'returned'; readonly value: unknown }
  | { readonly kind: 'threw'; readonly error: Thrown }
  | ThreadCall
  | { readonly kind: 'cancel'; readonly call: number }
  | { readonly kind: 'log'; readonly level: LogLevel; readonly fields: object; readonly message: string | undefined }

export type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: Thrown }

/** A send that a handler asks the main thread for. Its body has been checked, and its key made, in the thread. */
export interface ThreadCall {
  readonly kind: 'call'
  readonly call: number
  readonly method: 'send' | 'publish' | 'request'
  readonly to: string | ContractFacts
  readonly body: unknown
  readonly options: object | undefined
  /** It may be cancelled. */
  readonly signalled: boolean
}

/** What of a contract can be cloned. */
export type ContractFacts = Pick<AnyContract, 'kind' | 'type' | 'destination' | 'format' | 'lanes' | 'version'>

/** Something thrown: an error of ours, another error, or any value. */
export type Thrown =
  | {
      readonly is: 'error'
      readonly name: string
      readonly message: string
      readonly stack: string | undefined
      /** The code of an error of ours. */
      readonly ours: ErrorCode | undefined
      /** What else it bears that can be cloned: `code`, `details`, `retryAfterMs`, the user's own. */
      readonly fields: Readonly<Record<string, unknown>>
    }
  | { readonly is: 'value'; readonly value: unknown }

export function thrownOf(thrown: unknown): Thrown {
  if (!(thrown instanceof Error)) return { is: 'value', value: isCloneable(thrown) ? thrown : `a ${typeof thrown}` }
  const fields: Record<string, unknown> = {}
  for (const name of [...Object.keys(thrown), 'cause', 'details']) {
    if (name === 'name' || name === 'message' || name === 'stack' || !(name in thrown)) continue
    const value: unknown = (thrown as unknown as Record<string, unknown>)[name]
    if (isCloneable(value)) fields[name] = value
  }
  const ours = isChasquiError(thrown) ? thrown.code : undefined
  return { is: 'error', name: thrown.name, message: String(thrown.message), stack: thrown.stack, ours, fields }
}

export function errorOf(thrown: Thrown): unknown {
  if (thrown.is === 'value') return thrown.value
  const { name, message, stack, ours, fields } = thrown
  if (ours !== undefined) {
    const details = (fields.details ?? {}) as Readonly<Record<string, unknown>>
    const error = new ChasquiError(ours, message, { cause: fields.cause, details })
    if (stack !== undefined) error.stack = stack
    return error
  }
  const error = Object.assign(new Error(message), fields)
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true })
  if (stack !== undefined) error.stack = stack
  return error
}

function isCloneable(value: unknown): boolean {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol'))
    return true
  try {
    structuredClone(value)
    return true
  } catch {
    return false
  }
}

/** What cannot be cloned cannot go to a thread or come from one. */
export function notCloneable(what: string, cause: unknown): ChasquiError {
  return new ChasquiError(
    'body-not-encodable',
    `${what} cannot be copied between threads: it holds a function, a symbol, or another thing that structuredClone() refuses. Send plain data.`,
    { cause },
  )
}
