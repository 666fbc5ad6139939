/** `chasqui dead-letters redrive`, `discard` and `edit`. */
import { readFile } from 'node:fs/promises'
import type { DeadLetterFilter, DeadLetterResult, DeadLetters } from '@chasqui/core'
import { ChasquiError } from '@chasqui/core'
import { confirmed } from '../confirm.ts'
import { ProgressBar } from '../progress.ts'
import { rawBody } from '../raw-body.ts'
import type { Session } from '../session.ts'
import { withSession } from '../session.ts'
import { count } from '../table.ts'
import type { FilterOptions } from './dead-letters-show.ts'
import { filterOf, found, lettersOf } from './dead-letters-show.ts'

interface MoveOptions extends FilterOptions {
  readonly rate?: number
  readonly dryRun?: true
  readonly yes?: true
  readonly by?: string
  readonly audit?: string
}

interface EditOptions extends MoveOptions {
  readonly body?: string
  readonly bodyFile?: string
  readonly header?: Readonly<Record<string, string>>
  readonly removeHeader?: readonly string[]
}

type Action = 'redrive' | 'discard'

const words = {
  redrive: { ask: 'Send back', did: 'sent back', would: 'would be sent back' },
  discard: { ask: 'Delete', did: 'deleted', would: 'would be deleted' },
} as const

/** How many failures are told one by one. */
const toldFailures = 10

export async function moveLetters(
  action: Action,
  name: string,
  options: MoveOptions,
  refuse: (text: string) => never,
  ended: (exitCode: number) => void,
): Promise<void> {
  const canAsk = process.stdin.isTTY === true && process.stdout.isTTY === true && !options.json
  if (action === 'discard' && !options.yes && !options.dryRun && !canAsk) {
    refuse('error: nobody can be asked here; say --yes, or look first with --dry-run')
  }
  await withSession(options, { looks: true }, async session => {
    const letters = lettersOf(session.bus, name, options)
    const filter = filterOf(options)
    const asks = canAsk && !options.yes && !options.dryRun && (action === 'discard' || isAll(filter))
    if (asks && !(await agreed(session, letters, action, filter, options))) return
    const result = await run(session, letters, action, filter, options)
    await tell(session, result, action, options)
    if (result.failed > 0) ended(1)
  })
}

export async function editLetter(name: string, id: string, options: EditOptions): Promise<void> {
  await withSession(options, { looks: true }, async session => {
    const { bus, output, signal } = session
    const { header, removeHeader = [], key, dryRun, by, audit } = options
    const bytes = await newBody(options)
    // The bytes must be what the letter says that they are.
    if (bytes !== undefined) rawBody(bytes, (await found(session, name, id, options)).contentType)
    const headers = { ...header, ...Object.fromEntries(removeHeader.map(removed => [removed, undefined])) }
    const hasHeaders = Object.keys(headers).length > 0
    const change = { body: bytes, key, ...(hasHeaders ? { headers } : {}) }
    const result = await lettersOf(bus, name, options).edit(id, change, { dryRun, by, audit, signal })
    if (output.json) await output.value(result)
    else await output.line(dryRun ? `${id} would be sent back with these changes.` : `${id} sent back.`)
  })
}

async function newBody({ body, bodyFile }: EditOptions): Promise<Uint8Array | undefined> {
  if (body !== undefined) return Buffer.from(body)
  if (bodyFile === undefined) return undefined
  try {
    return await readFile(bodyFile)
  } catch (cause) {
    throw new ChasquiError('option-invalid', `The file ${bodyFile} cannot be read: ${(cause as Error).message}`, {
      cause,
    })
  }
}

function isAll(filter: DeadLetterFilter): boolean {
  return Object.values(filter).every(value => value === undefined)
}

async function agreed(
  { signal, output }: Session,
  letters: DeadLetters,
  action: Action,
  filter: DeadLetterFilter,
  { limit }: MoveOptions,
): Promise<boolean> {
  const { matched } = await letters.redrive(filter, { dryRun: true, limit, signal })
  if (matched === 0) return true
  const what = `${words[action].ask} ${count(matched)} dead ${matched === 1 ? 'letter' : 'letters'} of ${letters.queue}?`
  if (await confirmed(what, process.stdin, process.stderr, signal)) return true
  await output.line('Nothing was done.')
  return false
}

async function run(
  { signal }: Session,
  letters: DeadLetters,
  action: Action,
  filter: DeadLetterFilter,
  { limit, rate, dryRun, by, audit, json }: MoveOptions,
): Promise<DeadLetterResult> {
  const bar = json ? undefined : new ProgressBar(process.stderr, words[action].did)
  try {
    return await letters[action](filter, {
      limit,
      dryRun,
      by,
      audit,
      signal,
      ratePerSecond: rate,
      onProgress: progress => bar?.show(progress),
    })
  } finally {
    bar?.clear()
  }
}

async function tell(
  { output }: Session,
  result: DeadLetterResult,
  action: Action,
  { dryRun }: MoveOptions,
): Promise<void> {
  const { total, seen, matched, done, failed } = result
  const failures = result.failures.map(({ id, error }) => ({ id, error: error.code, message: error.message }))
  if (output.json) {
    await output.value({ action, dryRun: dryRun === true, total, seen, matched, done, failed, failures })
    return
  }
  const which = `of ${count(total)} dead ${total === 1 ? 'letter' : 'letters'}`
  if (dryRun) await output.line(`${count(matched)} ${which} ${words[action].would}.`)
  else
    await output.line(
      `${count(done)} ${which} ${words[action].did}${failed > 0 ? `, ${count(failed)} could not be` : ''}.`,
    )
  for (const { id, message } of failures.slice(0, toldFailures)) console.error(`chasqui: ${id ?? 'no id'}: ${message}`)
  if (failed > toldFailures) console.error(`chasqui: and ${count(failed - toldFailures)} more stay for such reasons.`)
}
