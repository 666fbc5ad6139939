/** docs/reference/commands.md: what each command says of itself. */
import { commandLine } from '@chasqui/cli'

type Command = ReturnType<typeof commandLine>

const width = 80

export function commandsPage(): string {
  const program = commandLine(width)
  const lines = [
    '# The command line',
    '',
    'What `chasqui COMMAND --help` prints, by `npm run generate`.',
    '',
    '- Commands that talk to an engine take `--url`, or `CHASQUI_URL`, else the embedded broker in `./.chasqui`.',
    '- `--json` prints one JSON object a line on standard output; a failure is one on standard error, with its code.',
    '- Exit codes: 0 done, 1 failed, 2 wrong use. `plan` has its own.',
    '- SIGINT and SIGTERM end what runs long after it has finished what it has begun; the second one ends it at once.',
    '',
    '| command | |',
    '| --- | --- |',
    ...program.commands.map(
      command => `| [\`${command.name()}\`](#chasqui-${command.name()}) | ${command.description()} |`,
    ),
    ...program.commands.flatMap(command => sections(command, 'chasqui')),
  ]
  return `${lines.join('\n')}\n`
}

function sections(command: Command, path: string): string[] {
  const name = `${path} ${command.name()}`
  const nested = command.commands.flatMap(one => sections(one, name))
  return ['', `## ${name}`, '', '```text', helpOf(command), '```', ...nested]
}

/** With what stands behind the options. */
function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({
    writeOut: part => {
      text += part
    },
    getOutHelpWidth: () => width,
    getOutHasColors: () => false,
  })
  command.outputHelp()
  return text.trim()
}
