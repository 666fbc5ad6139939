/** `chasqui dead-letters list` and `show`. */
import type { Bus, DeadLetter, DeadLetterFilter, DeadLetters } from '@chasqui/core'
import { ChasquiError } from '@chasqui/core'
import type { Output } from '../output.ts'
import { bodyFields, shownBody } from '../raw-body.ts'
import type { Session, SessionOptions } from '../session.ts'
import { withSession } from '../session.ts'
import type { Column } from '../table.ts'
import { count, plain } from '../table.ts'

export interface FilterOptions extends SessionOptions {
  readonly subscription?: string
  readonly error?: string
  readonly type?: string
  readonly key?: string
  readonly since?: Date
  readonly until?: Date
  readonly id?: readonly string[]
  readonly limit?: number
}

/** How many stand in a table unless somebody says how many. */
const usualLimit = 100

const columns: readonly Column<DeadLetter>[] = [
  { title: 'LAST FAILED', cell: letter => letter.lastFailedAt?.toISOString().slice(0, 19) ?? '' },
  { title: 'ID', cell: letter => letter.id ?? '', shrinks: true },
  { title: 'TYPE', cell: letter => letter.type ?? '', shrinks: true },
  { title: 'ERROR', cell: letter => letter.error.code ?? letter.reason ?? '', shrinks: true },
  { title: 'MESSAGE', cell: letter => letter.error.message ?? '', shrinks: true },
  { title: 'TRIED', cell: letter => (letter.attempts === undefined ? '' : count(letter.attempts)), align: 'right' },
]

export function lettersOf(bus: Bus, name: string, { subscription }: FilterOptions): DeadLetters {
  return bus.deadLetters(subscription === undefined ? name : { topic: name, subscription })
}

export function filterOf({ error, type, key, since, until, id }: FilterOptions): DeadLetterFilter {
  return { error, type, key, since, until, ids: id }
}

export async function listLetters(name: string, options: FilterOptions): Promise<void> {
  await withSession(options, { looks: true }, async ({ bus, signal, output }) => {
    const letters = lettersOf(bus, name, options)
    const filter = filterOf(options)
    if (output.json) {
      for await (const letter of letters.list(filter, { limit: options.limit, signal })) {
        if (!(await output.value(fields(letter)))) return
      }
      return
    }
    const most = options.limit ?? usualLimit
    const rows: DeadLetter[] = []
    // One more tells whether there are more.
    for await (const letter of letters.list(filter, { limit: most + 1, signal })) rows.push(letter)
    const shown = rows.slice(0, most)
    await output.rows(shown, columns, `There are no such dead letters in ${letters.queue}.`)
    if (rows.length > most) await output.line(`\nThere are more than these ${count(most)}; --limit shows more.`)
  })
}

export async function showLetter(name: string, id: string, options: FilterOptions): Promise<void> {
  await withSession(options, { looks: true }, async session => {
    const letter = await found(session, name, id, options)
    await print(session.output, letter)
  })
}

export async function found({ bus }: Session, name: string, id: string, options: FilterOptions): Promise<DeadLetter> {
  const letters = lettersOf(bus, name, options)
  const letter = await letters.show(id)
  if (letter !== undefined) return letter
  throw new ChasquiError('dead-letter-missing', `There is no dead letter "${id}" in ${letters.queue}.`)
}

async function print(output: Output, letter: DeadLetter): Promise<void> {
  if (output.json) {
    await output.value(fields(letter))
    return
  }
  const { error } = letter
  const facts: readonly (readonly [string, string | undefined])[] = [
    ['id', letter.id],
    ['type', letter.type],
    ['key', letter.key],
    ['sent', letter.time?.toISOString()],
    ['failed at', letter.originalDestination],
    ['consumer', letter.consumer],
    ['attempts', letter.attempts?.toString()],
    ['first failed', letter.firstFailedAt?.toISOString()],
    ['last failed', letter.lastFailedAt?.toISOString()],
    ['reason', letter.reason],
    ['error', [error.code, error.type, error.message].filter(part => part !== undefined).join(', ')],
    ...Object.entries(letter.headers).map(([name, value]) => [`header ${name}`, String(value)] as const),
    ['content type', letter.contentType],
  ]
  for (const [name, value] of facts) {
    if (value !== undefined && value !== '') await output.line(`${plain(name).padEnd(13)} ${plain(value)}`)
  }
  if (error.stack !== undefined) await output.line(`\n${lines(error.stack)}`)
  await output.line(`\n${lines(shownBody(letter.body, letter.contentType))}`)
}

function lines(text: string): string {
  return text.split('\n').map(plain).join('\n')
}

function fields(letter: DeadLetter): object {
  const { id, type, key, originalDestination, error, reason, attempts, consumer, contentType, headers } = letter
  const { firstFailedAt, lastFailedAt, time } = letter
  const about = { id, type, key, originalDestination, error, reason, attempts, firstFailedAt, lastFailedAt, consumer }
  return { ...about, time, contentType, headers, ...bodyFields(letter.body, contentType) }
}
