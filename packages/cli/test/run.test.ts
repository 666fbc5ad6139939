import { describe, expect, test } from 'vitest'
import { commandLine } from '../src/run.ts'
import { refusal } from './command-line.ts'

type Command = ReturnType<typeof commandLine>

function all(command: Command): Command[] {
  return [command, ...command.commands.flatMap(all)]
}

/** What `--help` prints. */
function helpOf(command: Command): string {
  let text = ''
  command.configureOutput({ writeOut: part => (text += part), getOutHelpWidth: () => 80 })
  command.outputHelp()
  return text
}

describe.each(all(commandLine(80)).map(command => [command.name(), command] as const))('%s --help', (name, command) => {
  test('fits into 80 columns and says what each option and argument is', () => {
    const help = helpOf(command)
    for (const line of help.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80)
    for (const { long, description } of command.options) {
      expect(help).toContain(long)
      expect(description, `${name} ${long}`).not.toBe('')
    }
    for (const { description } of command.registeredArguments) expect(description).not.toBe('')
  })

  test('what talks to an engine takes --url, everything that prints --json', () => {
    const options = command.options.map(({ long }) => long)
    if (command.commands.length > 0) return expect(options).toEqual([])
    expect(options).toContain('--json')
    expect(options.includes('--url')).toBe(name !== 'broker')
    expect(options.includes('--driver')).toBe(name !== 'broker')
  })
})

test('an unknown command names the nearest, exit code 2', async () => {
  const { code, err } = await refusal('queus')
  expect(code).toBe(2)
  expect(err).toMatch(/Did you mean queues\?/)
})

test('a wrong option names the help of its command', async () => {
  const { code, err } = await refusal('send', '--colour')
  expect(code).toBe(2)
  expect(err).toMatch(/\(chasqui send --help tells more\)/)
})
