/** `npm run check`: everything that can be said of the sources without running the tests; one line per check. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'

const root = join(import.meta.dirname, '..')
const bin = (name: string) => join(root, 'node_modules', '.bin', name)
const script = (name: string) => [process.execPath, '--conditions=@chasqui/source', join('scripts', name)]

const checks: readonly { readonly name: string; readonly command: readonly string[] }[] = [
  { name: 'types', command: [bin('tsc'), '-p', '.'] },
  { name: 'lint and format', command: [bin('biome'), 'check', '--error-on-warnings', '.'] },
  { name: 'unused code', command: [bin('knip'), '--no-progress'] },
  { name: 'layers', command: script('layers.ts') },
  { name: 'tests found', command: script('tests-found.ts') },
  { name: 'generated files', command: script('generated.ts') },
  { name: 'examples in the docs', command: script('doc-examples.ts') },
  { name: 'packed packages', command: script('packed.ts') },
]

let failures = 0
for (const { name, command } of checks) {
  const [program, ...args] = command
  const start = performance.now()
  const output = await new Promise<string | undefined>(resolve => {
    execFile(program!, args, { cwd: root, maxBuffer: 1 << 26 }, (error, stdout, stderr) =>
      resolve(error === null ? undefined : `${stdout}${stderr}`.trim() || error.message),
    )
  })
  const seconds = ((performance.now() - start) / 1000).toFixed(1)
  console.log(`${output === undefined ? 'ok    ' : 'FAILED'}  ${name}  (${seconds} s)`)
  if (output === undefined) continue
  failures += 1
  console.log(output.replace(/^/gm, '    '))
}
if (failures > 0) {
  console.log(`${failures} of ${checks.length} checks failed`)
  process.exitCode = 1
}
