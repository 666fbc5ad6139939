import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import config from '../../vitest.config.ts'
import { testGlobs, unfoundTests } from '../tests-found.ts'

const folders: string[] = []

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

function found(path: string, source: string): string[] {
  const root = mkdtempSync(join(tmpdir(), 'chasqui-found-'))
  folders.push(root)
  mkdirSync(dirname(join(root, path)), { recursive: true })
  writeFileSync(join(root, path), source)
  return unfoundTests(root)
}

const runs = "test('a rule', () => {})\n"
// Written in two parts, or this file itself would be found guilty.
const off = (word: string) => `test.${word}('a rule', () => {})\n`

test('a test in its place passes', () => {
  expect(found('packages/core/test/send/sender.test.ts', runs)).toEqual([])
})

test('a test that depends on an engine by name passes', () => {
  const source = `describe.runIf(process.env.CHASQUI_RABBITMQ_URL)('rabbitmq', () => { ${runs} })\n`
  expect(found('packages/amqp/test/a.test.ts', source)).toEqual([])
})

test('a test that depends on an engine by a constant of its fixture passes', () => {
  const source = `export const brokerUrl = process.env.CHASQUI_X_URL ?? ''\ndescribe.runIf(brokerUrl)('x', () => { ${runs} })\n`
  expect(found('packages/amqp/test/a.test.ts', source)).toEqual([])
})

test.for([
  ['outside the globs', 'packages/core/src/sender.test.ts', runs],
  ['with another ending', 'packages/core/test/sender.spec.ts', runs],
  ['without a test', 'packages/core/test/sender.test.ts', '// soon\n'],
  ['skipped', 'packages/core/test/sender.test.ts', off('skip')],
  ['focused', 'packages/core/test/sender.test.ts', off('only')],
  ['left for later', 'packages/core/test/sender.test.ts', off('todo')],
  ['expected to fail', 'packages/core/test/sender.test.ts', off('fails')],
  ['on a condition of its own', 'packages/core/test/sender.test.ts', off('runIf(fast)')],
] as const)('a test %s fails the check', ([, path, source]) => {
  expect(found(path, source)).toHaveLength(1)
})

test('the globs are those that vitest uses', () => {
  expect(config.test?.include).toEqual(testGlobs)
})
