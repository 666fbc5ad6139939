/**
 * Files that no hand writes: the AMQP codec and the tables of docs/reference. `npm run generate` writes them;
 * without `--write` this compares, and a difference is a failure.
 */
import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { commandsPage } from './reference/commands.ts'
import { conformanceGaps, conformancePage } from './reference/conformance.ts'
import { errorCodesPage } from './reference/error-codes.ts'
import { metricsPage } from './reference/metrics.ts'
import { optionsPage } from './reference/options.ts'

const root = join(import.meta.dirname, '..')

/** Path from the project's root, and what the file should hold. */
const pages: readonly { readonly path: string; content(): string | Promise<string> }[] = [
  { path: 'docs/reference/error-codes.md', content: errorCodesPage },
  { path: 'docs/reference/commands.md', content: commandsPage },
  { path: 'docs/reference/options.md', content: optionsPage },
  { path: 'docs/reference/metrics.md', content: metricsPage },
  { path: 'docs/reference/conformance.md', content: conformancePage },
]

/** Programs that write, or with `--check` compare, files of their own. */
const generators = ['packages/amqp/generate/main.ts']

async function main(write: boolean): Promise<string[]> {
  const problems: string[] = []
  for (const { path, content } of pages) {
    const file = join(root, path)
    const wanted = await content()
    if (existsSync(file) && readFileSync(file, 'utf8') === wanted) continue
    if (!write) {
      problems.push(`${path} is not what its source says; run: npm run generate`)
      continue
    }
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, wanted)
    console.log(`wrote ${path}`)
  }
  for (const path of generators) {
    if (!existsSync(join(root, path))) {
      problems.push(`${path} is missing`)
      continue
    }
    const args = ['--conditions=@chasqui/source', path, ...(write ? [] : ['--check'])]
    await promisify(execFile)(process.execPath, args, { cwd: root }).catch(
      (error: { stdout: string; stderr: string }) =>
        problems.push(`${path} ${write ? 'failed' : '--check says'}: ${error.stdout}${error.stderr}`.trim()),
    )
  }
  return problems
}

const problems = [...(await main(process.argv.includes('--write'))), ...conformanceGaps()]
for (const problem of problems) console.error(problem)
if (problems.length > 0) process.exitCode = 1
