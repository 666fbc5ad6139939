/** Which letters are meant. All conditions that are given must hold. */
import { ChasquiError } from '@chasqui/driver'
import { deadLetterFilter } from '../options/dead-letters.ts'
import { checkOptions } from '../options/option.ts'
import type { DeadLetter } from './letter.ts'

export interface DeadLetterFilter {
  /** The error's code, or the name of its class: `handler-timeout`, `TypeError`. */
  readonly error?: string
  /** The message's type. */
  readonly type?: string
  readonly key?: string
  /** Failed for the last time at this moment or later. Letters that tell no moment do not fit. */
  readonly since?: Date
  /** Failed for the last time before this moment. */
  readonly until?: Date
  /** Of these messages. */
  readonly ids?: readonly string[]
  /** Whatever else; called for letters that all the rest holds for. One that throws ends the operation. */
  readonly where?: (letter: DeadLetter) => boolean
}

export type Fits = (letter: DeadLetter) => boolean

/** Checks the filter. Throws `option-invalid`. */
export function fitsOf(filter: DeadLetterFilter, where: string): Fits {
  checkOptions(deadLetterFilter, filter, `${where}: the filter`)
  const { error, type, key, since, until, ids, where: predicate } = filter
  if (since !== undefined && until !== undefined && since >= until) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: nothing lies between \`since\` (${since.toISOString()}) and \`until\` (${until.toISOString()}).`,
    )
  }
  if (ids?.some(id => typeof id !== 'string')) {
    throw new ChasquiError('option-invalid', `${where}: \`ids\` is a list of strings.`)
  }
  const wanted = ids === undefined ? undefined : new Set(ids)
  return letter => {
    if (wanted !== undefined && (letter.id === undefined || !wanted.has(letter.id))) return false
    if (type !== undefined && letter.type !== type) return false
    if (key !== undefined && letter.key !== key) return false
    if (error !== undefined) {
      const { code, type: errorType } = letter.error
      if (code !== error && errorType !== error) return false
    }
    if (since !== undefined || until !== undefined) {
      const at = letter.lastFailedAt
      if (at === undefined || (since !== undefined && at < since) || (until !== undefined && at >= until)) return false
    }
    return predicate === undefined || predicate(letter)
  }
}
