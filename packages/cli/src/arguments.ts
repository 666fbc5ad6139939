/** What stands on the command line, read into what it means. What cannot be read is a usage error that says what can. */
import { InvalidArgumentError } from 'commander'

export function seconds(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && number >= 0.1 && number <= 86_400) return number
  throw new InvalidArgumentError('Give a number of seconds from 0.1 to 86400.')
}

const msOf = { ms: 1, s: 1000, m: 60_000, min: 60_000, h: 3_600_000, d: 86_400_000 } as const

/** `500ms`, `10s`, `5m`, `2h`, `1d`, in milliseconds. */
export function durationMs(text: string): number {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(ms|s|m|min|h|d)$/.exec(text) ?? []
  if (number !== undefined) return Math.round(Number(number) * msOf[unit as keyof typeof msOf])
  throw new InvalidArgumentError('Give a length of time with its unit: 500ms, 10s, 5m, 2h, 1d.')
}

/** A moment as ISO 8601 writes it. Without a zone it is that of this machine. */
export function moment(text: string): Date {
  const date = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : undefined
  if (date !== undefined && !Number.isNaN(date.getTime())) return date
  throw new InvalidArgumentError('Give a moment as 2026-11-24T18:30:00Z.')
}

export function port(text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number <= 65_535) return number
  throw new InvalidArgumentError('A port is a number from 0 to 65535.')
}

/** A whole number from 1. */
export function limit(text: string): number {
  const number = Number(text)
  if (/^\d+$/.test(text) && number >= 1 && Number.isSafeInteger(number)) return number
  throw new InvalidArgumentError('Give a whole number from 1.')
}

/** One more `name=value` to those before. */
export function pair(text: string, before: Readonly<Record<string, string>> = {}): Readonly<Record<string, string>> {
  const equals = text.indexOf('=')
  if (equals < 1) throw new InvalidArgumentError('Give it as name=value.')
  return { ...before, [text.slice(0, equals)]: text.slice(equals + 1) }
}

/** One more to those before. */
export function repeated(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text]
}

/** A moment, or how long ago it was: `2026-11-24T18:30:00Z`, `10m`. */
export function pastMoment(text: string): Date {
  if (/^\d+(?:\.\d+)?(?:ms|s|m|min|h|d)$/.test(text)) return new Date(Date.now() - durationMs(text))
  if (/^\d{4}-\d\d-\d\d/.test(text)) return moment(text)
  throw new InvalidArgumentError('Give a moment as 2026-11-24T18:30:00Z, or how long ago it was as 10m, 2h, 1d.')
}

/** How many a second, above 0. */
export function perSecond(text: string): number {
  const number = Number(text)
  if (text.trim() !== '' && number >= 0.01 && number <= 1_000_000) return number
  throw new InvalidArgumentError('Give a number a second from 0.01 to 1000000.')
}
