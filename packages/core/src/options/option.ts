/** What an option may be, and the check of what was given against a table of them. */
import { ChasquiError } from '@chasqui/driver'

export interface OptionInfo {
  readonly type:
    | 'integer'
    | 'number'
    | 'string'
    | 'boolean'
    | 'function'
    | 'object'
    | 'list'
    | 'signal'
    | 'date'
    | 'logger'
    | 'moment'
    | 'delays'
    | 'error'
    | 'url'
    | 'audit'
    | 'any'
  /** Instead of the number, an object with options of its own. */
  readonly orObject?: true
  /** Instead of the object, `true` for its defaults. */
  readonly orTrue?: true
  readonly unit?: string
  /** What holds when the option is absent. A string for people where it is worked out at run time (`defaultText`). */
  readonly default?: number | string | boolean
  readonly defaultText?: string
  /** Bounds of a number, both included. */
  readonly minimum?: number
  readonly maximum?: number
  readonly choices?: readonly string[]
  readonly meaning: string
}
export type OptionTable = Readonly<Record<string, OptionInfo>>

/** The longest time that a Node timer can wait, and so the longest delay of a retry. */
export const maxTimerMs = 2_147_483_647

/** Checks names, types and bounds of what was given; `where` begins the sentence. Throws `option-invalid`. */
export function checkOptions(table: OptionTable, given: object, where: string): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ChasquiError('option-invalid', `${where} takes an object of options, not ${describe(given)}.`)
  }
  for (const name in given) {
    const value = (given as Record<string, unknown>)[name]
    const info = Object.hasOwn(table, name) ? table[name] : undefined
    if (info === undefined) throw unknownOption(table, name, where)
    if (value !== undefined) checkValue(name, value, info, where)
  }
}

/** The known word that looks most like the one given, if any is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 2))
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance || (distance === bestDistance && best === undefined)) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function unknownOption(table: OptionTable, name: string, where: string): ChasquiError {
  const known = Object.keys(table)
  const near = nearest(name, known)
  const hint = near === undefined ? `Known are ${known.join(', ')}.` : `Did you mean \`${near}\`?`
  return new ChasquiError('option-invalid', `${where} has no option \`${name.slice(0, 60)}\`. ${hint}`, {
    details: { option: name, ...(near === undefined ? {} : { nearest: near }) },
  })
}

function checkValue(name: string, value: unknown, info: OptionInfo, where: string): void {
  const expected = mismatch(value, info)
  if (expected === undefined) return
  throw new ChasquiError('option-invalid', `${where}: \`${name}\` must be ${expected}, not ${describe(value)}.`, {
    details: { option: name },
  })
}

/** What should have been there instead of the value; `undefined` when it is right. */
function mismatch(value: unknown, info: OptionInfo): string | undefined {
  switch (info.type) {
    case 'integer': {
      if (info.orObject && typeof value === 'object' && value !== null) return undefined
      const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = info
      if (Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum) return undefined
      return `a whole number${info.unit === undefined ? '' : ` of ${info.unit}`} from ${minimum} to ${maximum}`
    }
    case 'number': {
      const { minimum = 0, maximum = Number.MAX_VALUE } = info
      if (typeof value === 'number' && value >= minimum && value <= maximum) return undefined
      return `a number${info.unit === undefined ? '' : ` of ${info.unit}`} from ${minimum} to ${maximum}`
    }
    case 'string':
      if (info.choices !== undefined) {
        return info.choices.includes(value as string)
          ? undefined
          : `one of ${info.choices.map(c => `'${c}'`).join(', ')}`
      }
      return typeof value === 'string' ? undefined : 'a string'
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'function':
      return typeof value === 'function' ? undefined : 'a function'
    case 'list':
      return Array.isArray(value) ? undefined : 'a list'
    case 'signal':
      return value instanceof AbortSignal ? undefined : 'an AbortSignal'
    case 'date':
      return value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'a valid Date'
    case 'moment':
      if (value === 'earliest' || (value instanceof Date && !Number.isNaN(value.getTime()))) return undefined
      return "'earliest' or a valid Date"
    case 'logger':
      return value === false || isLogger(value) ? undefined : 'a logger (debug, info, warn, error) or false'
    case 'url':
      return value instanceof URL ? undefined : "a URL, as in new URL('./resize.ts', import.meta.url)"
    case 'error':
      return typeof value === 'function' || typeof value === 'string'
        ? undefined
        : 'an error class, a code, or a function'
    case 'any':
      return undefined
    case 'audit':
      return typeof value === 'function' || (typeof value === 'string' && value !== '')
        ? undefined
        : 'the path of a file, or a function'
    case 'delays':
      if (Array.isArray(value)) return value.every(isDelay) ? undefined : `whole numbers of ms from 0 to ${maxTimerMs}`
      return typeof value === 'object' && value !== null ? undefined : 'a list of ms, or a backoff'
    case 'object':
      if (info.orTrue && value === true) return undefined
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'an object'
  }
}

function isDelay(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxTimerMs
}

function isLogger(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const methods = value as Record<string, unknown>
  return ['debug', 'info', 'warn', 'error'].every(level => typeof methods[level] === 'function')
}

/** Names a wrong value without printing more of it than a number: options may hold secrets. */
function describe(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value === null || value === undefined) return String(value)
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
}

/** Levenshtein's distance by one row of the table. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, substitution))
    }
    row = next
  }
  return row[b.length]!
}
