import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { CommandLine, refusal, scratchDirectory } from '../command-line.ts'
import { openProgram, readyIn } from '../program.ts'

/** A module of a user's, which imports the same core as the command. */
function contracts(text: string): string {
  const file = join(scratchDirectory(), 'contracts.ts')
  const core = fileURLToPath(import.meta.resolve('@chasqui/core'))
  writeFileSync(file, `import { command, event } from ${JSON.stringify(core)}\n${text}\n`)
  return file
}

test('shows what would be made with exit code 2, makes nothing, and after --apply there is nothing to do: 0', async () => {
  const { bus, url } = await openProgram()
  const needs = ['--queue', 'orders:4', '--topic', 'news', '--subscription', 'order.placed/billing', '--url', url]
  const plan = await CommandLine.run(['plan', ...needs])
  expect(plan).toMatchObject({ code: 2, err: '' })
  expect(plan.out).toMatch(/^ACTION {2}KIND +NAME +LANES\n/)
  expect(plan.out).toMatch(/\ncreate {2}queue +orders +4\n/)
  expect(plan.out).toMatch(/\ncreate {2}subscription +order\.placed\/billing\n/)
  expect(plan.out).toMatch(/\n6 to make\.\n$/)
  expect(await readyIn(bus, 'orders')).toBeUndefined()

  const applied = await CommandLine.run(['plan', ...needs, '--apply'])
  expect(applied.code).toBe(0)
  expect(applied.out).toMatch(/\nMade 6\.\n$/)
  const again = await CommandLine.run(['plan', ...needs])
  expect(again.code).toBe(0)
  expect(again.out).toMatch(/\nNothing to do\.\n$/)
})

test('a module stands for the contracts and the lists of needs that it exports', async () => {
  const { url } = await openProgram()
  const file = contracts(`
    export const Charge = command('payments.charge', { lanes: 2 })
    const Placed = event('order.placed')
    export const needs = [{ topic: Placed, subscription: 'billing' }]
    export const other: number = 42`)
  const { code, out } = await CommandLine.run(['plan', file, '--json', '--url', url])
  expect(code).toBe(2)
  const lines = out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(lines).toContainEqual({ action: 'create', kind: 'queue', name: 'payments.charge', durable: true, lanes: 2 })
  expect(lines).toContainEqual({
    action: 'create',
    kind: 'subscription',
    topic: 'order.placed',
    name: 'billing',
    durable: true,
  })
})

test('what is there and differs is told, with exit code 2', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([{ queue: 'orders' }])
  const { code, out } = await CommandLine.run(['plan', '--topic', 'orders', '--url', url])
  expect(code).toBe(2)
  expect(out).toMatch(/\nconflict {2}topic {2}orders\n/)
  expect(out).toMatch(/\norders: 'orders' is asked for as a topic, and the broker has a queue of that name\. .*\n/)
  const applied = await CommandLine.run(['plan', '--topic', 'orders', '--apply', '--url', url])
  expect(applied.code).toBe(1)
})

test.each([
  [[], /name a module, or what to plan/],
  [['--queue', 'orders:many'], /Lanes are a whole number from 1 to 1024/],
  [['--queue', ':4'], /Give it as name or name:lanes/],
  [['--subscription', 'billing'], /Give it as topic\/name/],
])('%j: says what is wrong, exit code 1 as other failures, for 2 is an answer', async (words, sentence) => {
  const { code, err } = await refusal('plan', ...words)
  expect(code).toBe(1)
  expect(err).toMatch(sentence)
})

test.each([
  [['no-such-module.ts'], /^chasqui: The module no-such-module\.ts cannot be loaded/],
  [['--queue', 'a b', '--url', 'memory:'], /^chasqui: .*cannot name a queue/],
])('%j: fails with a sentence', async (words, sentence) => {
  const { code, err } = await CommandLine.run(['plan', ...words])
  expect(code).toBe(1)
  expect(err).toMatch(sentence)
})

test('a module without contracts is a failure that says what it should export', async () => {
  const { code, err } = await CommandLine.run(['plan', contracts('export const number = 1'), '--url', 'memory:'])
  expect(code).toBe(1)
  expect(err).toMatch(/exports no contract/)
})
