/**
 * Writes src/generated/ from the published protocol definition (see ORIGIN.md there).
 *
 *   node packages/amqp/generate/main.ts           writes the files
 *   node packages/amqp/generate/main.ts --check   exits 1 if they are not what it would write
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constantsSource } from './constants.ts'
import { type Definition, parseDefinition } from './definition.ts'
import { methodsSource } from './methods.ts'
import { propertiesSource } from './properties.ts'

const definitionPath = 'bramqp/specification/rabbitmq/full/amqp0-9-1.stripped.extended.xml'

/** The published definition, as data. */
export function readProtocolDefinition(): Definition {
  const packageJson = createRequire(import.meta.url).resolve('bramqp/package.json')
  return parseDefinition(readFileSync(packageJson.replace(/bramqp[\\/]package\.json$/, definitionPath), 'utf8'))
}

/** What each generated file has to hold, by its name. */
export function generate(): ReadonlyMap<string, string> {
  const definition = readProtocolDefinition()
  return new Map([
    ['constants.ts', constantsSource(definition)],
    ['methods.ts', methodsSource(definition)],
    ['properties.ts', propertiesSource(definition)],
  ])
}

/** Where a generated file lies. */
export function generatedFile(name: string): URL {
  return new URL(`../src/generated/${name}`, import.meta.url)
}

if (import.meta.main) {
  const check = process.argv.includes('--check')
  for (const [name, source] of generate()) {
    if (!check) {
      writeFileSync(generatedFile(name), source)
    } else if (readFileSync(generatedFile(name), 'utf8') !== source) {
      console.error(`src/generated/${name} differs. Run: node packages/amqp/generate/main.ts`)
      process.exitCode = 1
    }
  }
}
