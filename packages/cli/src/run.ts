/** The command line: finds the command, runs it, and turns a failure into one sentence and an exit code. */
import { isChasquiError } from '@chasqui/driver'
import { Command, CommanderError } from 'commander'
import { brokerCommand } from './commands/broker.ts'
import { consumeCommand } from './commands/consume.ts'
import { deadLettersCommand } from './commands/dead-letters.ts'
import { planCommand } from './commands/plan.ts'
import { queuesCommand } from './commands/queues.ts'
import { publishCommand, sendCommand } from './commands/send.ts'

/** Exit codes, as scripts see them. */
const exitCode = { ok: 0, failed: 1, usage: 2 } as const
/** Of help: what a terminal has that does not say, and the longest line that reads well. */
const usualWidth = 80
const maxWidth = 100

/**
 * Runs `chasqui` with the words after its name. Resolves with the exit code once the command has ended; prints what
 * went wrong as one sentence (with `--json`: as one JSON line) on standard error and does not reject.
 */
export async function run(words: readonly string[], version: string): Promise<number> {
  let ended: number = exitCode.ok
  const program = commandLine(Math.min(process.stdout.columns ?? usualWidth, maxWidth), code => {
    ended = code
  }).version(version)
  try {
    await program.parseAsync(words, { from: 'user' })
    return ended
  } catch (error) {
    if (error instanceof CommanderError) {
      if (error.exitCode === 0) return exitCode.ok
      // There 2 says that there is something to do.
      return words[0] === 'plan' ? exitCode.failed : exitCode.usage
    }
    report(error, words.includes('--json'))
    return exitCode.failed
  }
}

/**
 * All commands, with help as wide as that. Refusals throw `CommanderError`.
 *
 * @param ended is told the exit code of a command that has one of its own
 */
export function commandLine(helpWidth: number, ended: (exitCode: number) => void = () => {}): Command {
  const program = new Command('chasqui')
    .description('Messages between services, on a broker that comes in the box or on the one you have.')
    .exitOverride()
    .showHelpAfterError('(chasqui --help lists the commands)')
    .configureHelp({ helpWidth })
  const commands = [
    brokerCommand(),
    sendCommand(),
    publishCommand(),
    consumeCommand(),
    queuesCommand(),
    deadLettersCommand(ended),
    planCommand(ended),
  ]
  for (const command of commands) add(program, command, program.name())
  return program
}

/** Adds the command with its own commands, all of which refuse and print as the program does. */
function add(parent: Command, command: Command, path: string): void {
  const name = `${path} ${command.name()}`
  command.copyInheritedSettings(parent).showHelpAfterError(`(${name} --help tells more)`)
  if (!parent.commands.includes(command)) parent.addCommand(command)
  for (const nested of command.commands) add(command, nested, name)
}

function report(error: unknown, json: boolean): void {
  const known = isChasquiError(error)
  const message = error instanceof Error ? error.message : String(error)
  if (json) console.error(JSON.stringify({ error: known ? error.code : 'internal', message }))
  else if (known) console.error(`chasqui: ${message}`)
  // What we did not foresee is ours to mend: the stack goes with it.
  else console.error('chasqui: this should not have happened; please report it.\n', error)
}
