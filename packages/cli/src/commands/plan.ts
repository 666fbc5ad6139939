/** `chasqui plan`: what would be made on the engine for these contracts, queues, topics and subscriptions. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Change, Need } from '@chasqui/core'
import { ChasquiError, isChasquiError, isContract } from '@chasqui/core'
import { Command, InvalidArgumentError } from 'commander'
import type { Session, SessionOptions } from '../session.ts'
import { addSessionOptions, withSession } from '../session.ts'
import type { Column } from '../table.ts'
import { count } from '../table.ts'

interface Options extends SessionOptions {
  readonly queue?: readonly Need[]
  readonly topic?: readonly Need[]
  readonly subscription?: readonly Need[]
  readonly apply?: true
}

/** What scripts read: nothing to do, something to do. Failures are 1, a wrong use of the command too. */
const planExit = { nothing: 0, changes: 2 } as const

const examples = `
A module is a file of yours that exports contracts (event, command, request), or
lists of what \`bus.declare\` takes. \`create\` is absent and would be made,
\`none\` is there as wanted, \`conflict\` is there and differs.

Exit code 0: nothing to do. 2: there is. 1: it failed. With --apply 0: it is all
there now.

Examples:
  chasqui plan ./contracts.ts --url amqp://localhost
  chasqui plan --queue orders:8 --subscription order.placed/billing --apply
`

/** @param ended is told the exit code where it is not that of success */
export function planCommand(ended: (exitCode: number) => void): Command {
  const command = new Command('plan')
    .description('Show what would be made on the engine, without making it.')
    .argument('[modules...]', 'files that export contracts')
    .option('--queue <name[:lanes]>', 'a queue; may be given more than once', queue)
    .option('--topic <name[:lanes]>', 'a topic; may be given more than once', topic)
    .option('--subscription <topic/name>', 'a subscription; may be given more than once', subscription)
    .option('--apply', 'make what is absent')
    .addHelpText('after', examples)
    .action(async (modules: string[], options: Options, self: Command) => {
      const named = [...(options.queue ?? []), ...(options.topic ?? []), ...(options.subscription ?? [])]
      if (modules.length === 0 && named.length === 0) {
        self.error('error: name a module, or what to plan: --queue, --topic, --subscription')
      }
      const needs = [...(await Promise.all(modules.map(needsOf))).flat(), ...named]
      const isApplied = options.apply === true
      ended(await withSession(options, { looks: !isApplied }, session => run(session, needs, isApplied)))
    })
  return addSessionOptions(command)
}

const columns: readonly Column<Change>[] = [
  { title: 'ACTION', cell: ({ action }) => action },
  { title: 'KIND', cell: ({ destination }) => destination.kind },
  { title: 'NAME', cell: ({ destination }) => nameOf(destination), shrinks: true },
  { title: 'LANES', cell: ({ destination }) => String(destination.lanes ?? ''), align: 'right', optional: true },
]

async function run({ bus, output }: Session, needs: readonly Need[], isApplied: boolean): Promise<number> {
  const changes = await bus.plan(needs)
  if (output.json) for (const change of changes) await output.value(fieldsOf(change))
  else await output.rows(changes, columns, '')
  for (const { destination, difference } of changes) {
    if (difference !== undefined && !output.json) await output.line(`\n${nameOf(destination)}: ${difference}`)
  }
  const todo = changes.filter(({ action }) => action !== 'none')
  if (!isApplied) {
    if (!output.json) await output.line(todo.length === 0 ? '\nNothing to do.' : `\n${summary(todo)}`)
    return todo.length === 0 ? planExit.nothing : planExit.changes
  }
  await bus.declare(needs)
  const made = todo.filter(({ action }) => action === 'create').length
  if (!output.json) await output.line(made === 0 ? '\nNothing was absent.' : `\nMade ${count(made)}.`)
  return planExit.nothing
}

function summary(todo: readonly Change[]): string {
  const created = todo.filter(({ action }) => action === 'create').length
  const conflicts = todo.length - created
  const parts = [
    ...(created > 0 ? [`${count(created)} to make`] : []),
    ...(conflicts > 0 ? [`${count(conflicts)} that differ and would stay as they are`] : []),
  ]
  return `${parts.join(', ')}.`
}

function nameOf(destination: Change['destination']): string {
  return destination.kind === 'subscription' ? `${destination.topic}/${destination.name}` : destination.name
}

function fieldsOf({ action, destination, difference }: Change): object {
  const { kind, name, durable, lanes } = destination
  return {
    action,
    kind,
    ...('topic' in destination ? { topic: destination.topic } : {}),
    name,
    durable,
    lanes,
    difference,
  }
}

/** What the module exports of contracts and lists of needs. */
async function needsOf(file: string): Promise<readonly Need[]> {
  let exported: Record<string, unknown>
  try {
    exported = await import(pathToFileURL(resolve(file)).href)
  } catch (cause) {
    if (isChasquiError(cause)) throw cause
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new ChasquiError('option-invalid', `The module ${file} cannot be loaded: ${reason}`, { cause })
  }
  const needs = Object.values(exported).flatMap(value =>
    isContract(value) ? [value] : Array.isArray(value) ? value : [],
  )
  if (needs.length > 0) return needs
  throw new ChasquiError(
    'option-invalid',
    `The module ${file} exports no contract and no list of needs. Contracts must come from the Chasqui that this command belongs to: run it with npx where they are.`,
  )
}

function queue(text: string, before: readonly Need[] = []): readonly Need[] {
  const { name, lanes } = withLanes(text)
  return [...before, { queue: name, ...lanes }]
}

function topic(text: string, before: readonly Need[] = []): readonly Need[] {
  const { name, lanes } = withLanes(text)
  return [...before, { topic: name, ...lanes }]
}

function subscription(text: string, before: readonly Need[] = []): readonly Need[] {
  const [of, name, ...rest] = text.split('/')
  if (of && name && rest.length === 0) return [...before, { topic: of, subscription: name }]
  throw new InvalidArgumentError('Give it as topic/name.')
}

function withLanes(text: string): { name: string; lanes: { lanes?: number } } {
  const [name, lanes, ...rest] = text.split(':')
  if (!name || rest.length > 0) throw new InvalidArgumentError('Give it as name or name:lanes.')
  if (lanes === undefined) return { name, lanes: {} }
  const number = Number(lanes)
  if (/^\d+$/.test(lanes) && number >= 1 && number <= 1024) return { name, lanes: { lanes: number } }
  throw new InvalidArgumentError('Lanes are a whole number from 1 to 1024.')
}
