import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { brokenLayers, importsOf } from '../layers.ts'

const folders: string[] = []

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** A project with three packages and the given sources. */
function project(sources: Readonly<Record<string, string>>): string {
  const root = mkdtempSync(join(tmpdir(), 'chasqui-layers-'))
  folders.push(root)
  const manifests = Object.fromEntries(
    [
      ['driver', '@chasqui/driver'],
      ['core', '@chasqui/core'],
      ['amqp', '@chasqui/amqp'],
      ['broker', '@chasqui/broker'],
    ].map(([folder, name]) => [
      `packages/${folder}/package.json`,
      JSON.stringify({ name, exports: { '.': {}, ...(folder === 'amqp' ? { './client': {} } : {}) } }),
    ]),
  )
  for (const [path, content] of Object.entries({ ...manifests, ...sources })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
  }
  return root
}

test('allowed imports pass', () => {
  const root = project({
    'packages/driver/src/index.ts': "export { x } from './x.ts'\n",
    'packages/driver/src/x.ts': 'export const x = 1\n',
    'packages/core/src/index.ts': "import { x } from '@chasqui/driver'\nimport pino from 'pino'\nexport { x, pino }\n",
    'packages/core/test/index.test.ts': "import { x } from '../src/index.ts'\nimport '@chasqui/amqp/client'\nx\n",
    'packages/amqp/src/client/index.ts': "import { connect } from 'node:net'\nexport { connect }\n",
  })
  expect(brokenLayers(root)).toEqual([])
})

test.for([
  ['the core imports an engine', 'packages/core/src/a.ts', "import { Broker } from '@chasqui/broker'"],
  ['an engine imports the core, types only', 'packages/broker/src/a.ts', "import type { Bus } from '@chasqui/core'"],
  ['a re-export reaches upward', 'packages/driver/src/a.ts', "export { connect } from '@chasqui/core'"],
  ['a dynamic import reaches upward', 'packages/broker/src/a.ts', "export const core = await import('@chasqui/core')"],
  ['the contract imports Node', 'packages/driver/src/a.ts', "import { join } from 'node:path'"],
  ['the broker imports a package from outside', 'packages/broker/src/a.ts', "import pino from 'pino'"],
  ['a path goes into another package', 'packages/core/src/a.ts', "import { x } from '../../driver/src/x.ts'"],
  ['a test goes into another package by path', 'packages/core/test/a.test.ts', "import '../../driver/src/x.ts'"],
  ['a name goes past the entries', 'packages/core/src/a.ts', "import { x } from '@chasqui/driver/src/x.ts'"],
  ['the codec touches a socket', 'packages/amqp/src/a.ts', "import { connect } from 'node:net'"],
  ['the store imports the server', 'packages/broker/src/store/a.ts', "import { x } from '../server/x.ts'"],
  ['an import over several lines', 'packages/core/src/a.ts', "import {\n  a,\n  b,\n} from '@chasqui/broker'"],
] as const)('a forbidden import fails: %s', ([, path, source]) => {
  expect(brokenLayers(project({ [path]: `${source}\n` }))).toHaveLength(1)
})

test('a circle of files fails and is shown', () => {
  const root = project({
    'packages/core/src/a.ts': "import './b.ts'\n",
    'packages/core/src/b.ts': "export * from './c.ts'\n",
    'packages/core/src/c.ts': "import { a } from './a.ts'\na\n",
  })
  expect(brokenLayers(root)).toEqual([
    'a circle of imports: packages/core/src/a.ts -> packages/core/src/b.ts -> packages/core/src/c.ts -> packages/core/src/a.ts',
  ])
})

test('a package without a place in the layers fails', () => {
  const root = project({ 'packages/new/package.json': JSON.stringify({ name: '@chasqui/new' }) })
  expect(brokenLayers(root)).toEqual(['@chasqui/new has no place in the layers: add it to scripts/layers.ts'])
})

test('words that only look like imports are none', () => {
  const source = "// import { a } from 'a'\nconst text = \"import { b } from 'b'\"\nexport const from = 'c'\n"
  expect(importsOf(source)).toEqual([])
})
