/**
 * Every test runs: no file that looks like a test lies outside vitest's globs, none is empty, none is skipped, focused or
 * left for later. A test may depend on an engine's presence alone, by `runIf` and a variable CHASQUI_... read in its file or in its
 * fixture; `CHASQUI_ENGINES=all npm test` counts what did not run as failed.
 */
import { globSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'

/** As in vitest.config.ts. */
export const testGlobs = ['packages/*/test/**/*.test.ts', 'examples/**/*.test.ts', 'scripts/**/*.test.ts']

const switchedOff = /\b(?:it|test|describe|suite)(?:\.\w+)*\.(skip|only|todo|fails|skipIf)\b(?!\(\))/
const conditional = /\.runIf\(\s*(\w*)/
/** A name for an engine's presence, as fixtures give it. */
const presence = /^(?:export )?const (\w+) = process\.env\.CHASQUI_/gm
const context = /\b(?:ctx|context|task)\.skip\(/
const registers = /\b(?:test|it|registerConformance)(?:\.\w+(?:\([^)]*\))?)*\(/

export function unfoundTests(root: string): string[] {
  const exclude = (path: string) => /(^|\/)(node_modules|dist|\.brokers)(\/|$)/.test(path)
  const found = new Set(globSync(testGlobs, { cwd: root, exclude }))
  const looksLikeTest = globSync('**/*{.test,.spec,_test,-test,.tests}.{ts,mts,cts,js,mjs,cjs,tsx}', {
    cwd: root,
    exclude,
  })
  const problems = looksLikeTest
    .filter(path => !found.has(path))
    .map(
      path =>
        `${path} is run by nobody: a test is called NAME.test.ts and lies in packages/X/test, examples or scripts`,
    )
  const fixtures = globSync(['packages/*/test/**/*.ts', 'examples/**/*.ts'], { cwd: root, exclude })
  const presences = new Set(
    fixtures.flatMap(path => [...readFileSync(join(root, path), 'utf8').matchAll(presence)].map(match => match[1]!)),
  )
  for (const path of found) {
    const source = readFileSync(join(root, path), 'utf8')
    const knowsEngines = source.includes('process.env.CHASQUI_')
    if (!registers.test(source)) problems.push(`${path} holds no test`)
    for (const [index, line] of source.split('\n').entries()) {
      if (/^\s*(\/\/|\*|\/\*)/.test(line)) continue
      const off = switchedOff.exec(line)
      if (off !== null) problems.push(`${path}:${index + 1} uses .${off[1]}: a test runs or goes`)
      if (context.test(line)) problems.push(`${path}:${index + 1} skips itself: a test runs or goes`)
      const condition = conditional.exec(line)
      if (condition !== null && !knowsEngines && !presences.has(condition[1]!)) {
        problems.push(`${path}:${index + 1} runs on a condition that is no engine's presence (process.env.CHASQUI_...)`)
      }
    }
  }
  return problems.sort()
}

if (import.meta.main) {
  const problems = unfoundTests(resolve(process.argv[2] ?? join(import.meta.dirname, '..')))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log('every test is found')
}
