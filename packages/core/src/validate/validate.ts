/**
 * Runs a contract's schema, of any library that follows Standard Schema, and makes its issues one typed error. The
 * two steps here are the middleware that does it on the way out and on the way in.
 */
import { ChasquiError } from '@chasqui/driver'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { IncomingMiddleware } from '../consume/incoming.ts'
import { isPromise } from '../middleware/chain.ts'
import type { OutgoingMiddleware } from '../send/outgoing.ts'

/** How many of a schema's issues an error lists, and how much of each sentence. */
const maxIssues = 10
const maxIssueCharacters = 200

/**
 * Outgoing: checks the body that was given. With a schema that transforms, the result is dropped: the wire carries the
 * schema's input, because its output would not pass the same schema again at the receiver.
 */
export const validateOutgoing: OutgoingMiddleware = (message, next) => {
  const schema = message.schema
  if (schema === undefined) return next(message)
  const result = schema['~standard'].validate(message.body)
  if (isPromise(result)) {
    return Promise.resolve(result).then(settled => {
      if (settled.issues !== undefined) throw bodyInvalid(message.type, settled.issues)
      return next(message)
    })
  }
  if (result.issues !== undefined) throw bodyInvalid(message.type, result.issues)
  return next(message)
}

/** Incoming: checks the decoded body and hands on the schema's output. */
export const validateIncoming: IncomingMiddleware = (message, next) => {
  const schema = message.schema
  if (schema === undefined) return next(message)
  const result = schema['~standard'].validate(message.body)
  if (isPromise(result)) {
    return Promise.resolve(result).then(settled => {
      if (settled.issues !== undefined) throw bodyInvalid(message.type, settled.issues)
      message.body = settled.value
      return next(message)
    })
  }
  if (result.issues !== undefined) throw bodyInvalid(message.type, result.issues)
  message.body = result.value
  return next(message)
}

export function bodyInvalid(type: string | undefined, issues: readonly StandardSchemaV1.Issue[]): ChasquiError {
  const listed = issues.slice(0, maxIssues).map(issue => ({
    path: (issue.path ?? []).map(part => String(typeof part === 'object' ? part.key : part)).join('.'),
    message: issue.message.slice(0, maxIssueCharacters),
  }))
  const first = listed[0]
  const where = first === undefined || first.path === '' ? '' : ` at \`${first.path.slice(0, maxIssueCharacters)}\``
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''
  return new ChasquiError(
    'body-invalid',
    `The body does not fit the schema of ${type === undefined ? 'its contract' : `"${type}"`}${where}: ${first?.message ?? 'no reason was given'}${more}.`,
    { details: { type, issues: listed } },
  )
}
