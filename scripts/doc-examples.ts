/**
 * Type-checks every `ts` block of README.md and docs/: an example that does not compile teaches something wrong. A block
 * that imports begins a module; one that does not goes on with the module before it. Names that a page leaves to the
 * reader's imagination are declared in doc-examples.d.ts.
 */
import { execFile } from 'node:child_process'
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
/** Inside the project, so that packages resolve as they do for its own sources. */
const work = join(root, '.doc-examples')

/** The modules of one page. */
export function modulesOf(page: string): string[] {
  const modules: string[] = []
  for (const [, block] of page.matchAll(/^```ts\n([\s\S]*?)^```$/gm)) {
    if (modules.length === 0 || /^import /m.test(block!)) modules.push(block!)
    else modules[modules.length - 1] += `\n${block}`
  }
  return modules
}

async function main(): Promise<number> {
  rmSync(work, { recursive: true, force: true })
  mkdirSync(work)
  try {
    const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root })].sort()
    const files = ['names.d.ts']
    for (const page of pages) {
      for (const [index, module] of modulesOf(readFileSync(join(root, page), 'utf8')).entries()) {
        const name = `${page.replaceAll(/[^A-Za-z0-9]+/g, '-')}-${index + 1}.ts`
        writeFileSync(join(work, name), `${module}\nexport {}\n`)
        files.push(name)
      }
    }
    writeFileSync(join(work, 'names.d.ts'), readFileSync(join(root, 'scripts', 'doc-examples.d.ts')))
    const options = { noEmit: true, customConditions: ['@chasqui/source'], noUnusedLocals: false }
    writeFileSync(
      join(work, 'tsconfig.json'),
      JSON.stringify({ extends: '../tsconfig.base.json', compilerOptions: options, files }),
    )
    const output = await new Promise<string | undefined>(resolve => {
      execFile(join(root, 'node_modules', '.bin', 'tsc'), ['-p', work], { cwd: root }, (error, stdout) =>
        resolve(error === null ? undefined : stdout || error.message),
      )
    })
    if (output !== undefined) {
      console.error(output.trim())
      return 1
    }
    console.log(`${files.length - 1} examples of ${pages.length} pages compile`)
    return 0
  } finally {
    rmSync(work, { recursive: true, force: true })
  }
}

if (import.meta.main) process.exitCode = await main()
