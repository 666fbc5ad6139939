/** `chasqui dead-letters`: looks at what was given up, sends it back, changes it, deletes it. */
import { userInfo } from 'node:os'
import { Command, Option } from 'commander'
import { limit, pair, pastMoment, perSecond, repeated } from '../arguments.ts'
import { addSessionOptions } from '../session.ts'
import { editLetter, moveLetters } from './dead-letters-move.ts'
import type { FilterOptions } from './dead-letters-show.ts'
import { listLetters, showLetter } from './dead-letters-show.ts'

const about = `
NAME is a queue, or a topic with --subscription. Its dead letters lie in the
queue NAME.dead-letter or TOPIC.SUBSCRIPTION.dead-letter. While a command runs,
they are in its hands; what it does not move is back in its place afterwards.

Examples:
  chasqui dead-letters list orders --error handler-timeout --since 2h
  chasqui dead-letters show orders 5f0c1f0e-...
  chasqui dead-letters redrive orders --error handler-timeout --dry-run
  chasqui dead-letters redrive order.placed --subscription billing --yes
  chasqui dead-letters edit orders 5f0c1f0e-... --body '{"amount":10}'
  chasqui dead-letters discard orders --type test --by ana --audit audit.jsonl
`

/** @param ended is told the exit code where it is not 0 though nothing threw */
export function deadLettersCommand(ended: (exitCode: number) => void): Command {
  return new Command('dead-letters')
    .description('Look at dead letters, send them back, change them, delete them.')
    .addHelpText('after', about)
    .addCommand(listCommand())
    .addCommand(showCommand())
    .addCommand(redriveCommand(ended))
    .addCommand(editCommand())
    .addCommand(discardCommand(ended))
}

function listCommand(): Command {
  return addSessionOptions(filtering(named('list', 'List dead letters, the oldest first.')))
    .option('--limit <number>', 'at most so many (default: 100 in a table, all with --json)', limit)
    .action((name: string, options: FilterOptions) => listLetters(name, options))
}

function showCommand(): Command {
  return addSessionOptions(
    named('show', 'Show one dead letter: why it failed, its headers, its body.').argument('<id>', 'of the message'),
  ).action((name: string, id: string, options: FilterOptions) => showLetter(name, id, options))
}

function redriveCommand(ended: (exitCode: number) => void): Command {
  const notes = `
Letters go back as they were sent, in their order, and their attempts count from
one. One that cannot be sent stays; the exit code is 1 then. Run it again after
an interruption: it goes on where it ended.
`
  return addSessionOptions(moving(filtering(named('redrive', 'Send dead letters back to where they failed.'))))
    .addHelpText('after', notes)
    .action((name: string, options: FilterOptions, self: Command) =>
      moveLetters('redrive', name, options, text => self.error(text), ended),
    )
}

function editCommand(): Command {
  return addSessionOptions(
    recording(named('edit', 'Send one dead letter back with changes.').argument('<id>', 'of the message')),
  )
    .option('--body <text>', 'the new body')
    .addOption(new Option('--body-file <path>', 'the new body, byte for byte').conflicts('body'))
    .option('--header <name=value>', 'set a header; more than once for more', pair)
    .option('--remove-header <name>', 'take a header off; more than once for more', repeated)
    .option('--key <key>', 'another key')
    .option('--dry-run', 'check the change and send nothing')
    .action((name: string, id: string, options: FilterOptions) => editLetter(name, id, options))
}

function discardCommand(ended: (exitCode: number) => void): Command {
  return addSessionOptions(moving(filtering(named('discard', 'Delete dead letters, for good.'))))
    .addHelpText('after', '\nIt asks first; where nobody can answer, --yes must say so.\n')
    .action((name: string, options: FilterOptions, self: Command) =>
      moveLetters('discard', name, options, text => self.error(text), ended),
    )
}

function named(command: string, description: string): Command {
  return new Command(command)
    .description(description)
    .argument('<name>', 'the queue or the topic')
    .option('--subscription <name>', 'of the topic')
}

function filtering(command: Command): Command {
  return command
    .option('--error <name>', "the error's code, or the name of its class")
    .option('--type <type>', "the message's type")
    .option('--key <key>', "the message's key")
    .option(
      '--since <moment>',
      'last failed then or later: 2026-11-24T18:30:00Z, or 10m for ten minutes ago',
      pastMoment,
    )
    .option('--until <moment>', 'last failed before then', pastMoment)
    .option('--id <id>', 'this message; more than once for more', repeated)
}

function moving(command: Command): Command {
  return recording(command)
    .option('--limit <number>', 'at most so many', limit)
    .option('--rate <number>', 'at most so many a second', perSecond)
    .option('--dry-run', 'only count')
    .option('--yes', 'do not ask')
}

function recording(command: Command): Command {
  return command
    .addOption(new Option('--by <who>', 'who does it, for the record').default(user(), 'who runs the command'))
    .option('--audit <file>', 'append a JSON line for each letter: who did what, when')
}

/** A container may run as a user that has no name. */
function user(): string {
  try {
    return userInfo().username
  } catch {
    return 'chasqui-cli'
  }
}
