/**
 * The packages as a stranger gets them: each is compiled, packed, installed from its tarball in an empty folder,
 * imported there entry by entry, and its declarations are type-checked from there; publint reads each tarball's manifest.
 */
import { execFile } from 'node:child_process'
import { globSync, readFileSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'

const root = join(import.meta.dirname, '..')
const bin = (name: string) => join(root, 'node_modules', '.bin', name)
const execute = promisify(execFile)

interface Manifest {
  readonly name: string
  readonly private?: boolean
  readonly dependencies?: Readonly<Record<string, string>>
  readonly exports?: Readonly<Record<string, unknown>>
  readonly bin?: Readonly<Record<string, string>>
}

interface Package {
  readonly directory: string
  readonly manifest: Manifest
}

/** What is wrong with the packed packages, one paragraph each. */
export async function packedProblems(report: (line: string) => void): Promise<string[]> {
  const problems: string[] = []
  const packages = inBuildOrder(
    globSync('packages/*/package.json', { cwd: root }).map(path => ({
      directory: dirname(join(root, path)),
      manifest: JSON.parse(readFileSync(join(root, path), 'utf8')) as Manifest,
    })),
  ).filter(({ manifest }) => manifest.private !== true)
  for (const { directory, manifest } of packages) {
    await rm(join(directory, 'dist'), { recursive: true, force: true })
    const failure = await failureOf(bin('tsc'), ['-p', 'tsconfig.build.json'], directory)
    if (failure !== undefined) return [`${manifest.name} does not compile:\n${failure}`]
  }
  report(`${packages.length} packages compiled`)

  const folder = await mkdtemp(join(tmpdir(), 'chasqui-packed-'))
  try {
    const tarballs: string[] = []
    for (const { directory, manifest } of packages) {
      const { stdout } = await execute('npm', ['pack', '--json', '--pack-destination', folder], { cwd: directory })
      const [packed] = JSON.parse(stdout) as [{ filename: string; files: { path: string }[] }]
      tarballs.push(join(folder, packed.filename))
      const stray = packed.files
        .map(({ path }) => path)
        .filter(path => !/^(dist\/|package\.json$|README|LICENSE)/.test(path))
      if (stray.length > 0) problems.push(`${manifest.name} packs what it should not: ${stray.join(', ')}`)
      const { messages, pkg } = await publint({ pkgDir: directory, pack: 'npm', strict: true })
      for (const message of messages.filter(({ type }) => type !== 'suggestion')) {
        problems.push(`${manifest.name}: ${formatMessage(message, pkg) ?? message.code}`)
      }
    }
    const app = join(folder, 'app')
    await execute('mkdir', [app])
    await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'stranger', private: true, type: 'module' }))
    const nodeTypes = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).devDependencies['@types/node']
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--omit=dev']
    await execute('npm', [...install, ...tarballs, `@types/node@${nodeTypes}`], { cwd: app, timeout: 300_000 })
    report('installed in an empty folder')

    const entries = packages.flatMap(({ manifest }) =>
      Object.keys(manifest.exports ?? {})
        .filter(entry => entry !== './package.json')
        .map(entry => manifest.name + entry.slice(1)),
    )
    for (const entry of entries) {
      const program = `const entry = await import('${entry}'); if (Object.keys(entry).length === 0) throw new Error('exports nothing')`
      const failure = await failureOf(bin('node'), ['--input-type=module', '--eval', program], app)
      if (failure !== undefined) problems.push(`import('${entry}') fails:\n${failure}`)
    }
    await writeFile(join(app, 'double.js'), 'export default ({ n }) => n * 2\n')
    await writeFile(join(app, 'threads.js'), threads)
    const crash = await failureOf(bin('node'), ['threads.js'], app)
    if (crash !== undefined) problems.push(`a handler in worker threads fails:\n${crash}`)
    for (const { manifest } of packages) {
      for (const command of Object.keys(manifest.bin ?? {})) {
        const failure = await failureOf(join(app, 'node_modules', '.bin', command), ['--help'], app)
        if (failure !== undefined) problems.push(`the command \`${command} --help\` fails:\n${failure}`)
      }
    }
    const uses = entries.map((entry, index) => `import * as entry${index} from '${entry}'\nvoid entry${index}\n`)
    await writeFile(join(app, 'entries.ts'), uses.join(''))
    await writeFile(
      join(app, 'tsconfig.json'),
      JSON.stringify({
        compilerOptions: {
          strict: true,
          noEmit: true,
          module: 'nodenext',
          target: 'es2024',
          types: ['node'],
          lib: ['es2024', 'esnext.disposable'],
        },
        files: ['entries.ts'],
      }),
    )
    const failure = await failureOf(bin('tsc'), ['-p', '.'], app)
    if (failure !== undefined) problems.push(`the declarations do not type-check:\n${failure}`)
    report(`${entries.length} entries imported and type-checked`)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
  return problems
}

/** Threads are started from a file that nothing imports, so that imports alone do not show that it is there. */
const threads = `
import { connect } from 'chasqui'
const bus = await connect('memory:')
await bus.handle('double', { worker: new URL('./double.js', import.meta.url), threads: 1 })
const reply = await bus.request('double', { n: 21 })
await bus.close()
if (reply !== 42) throw new Error('the worker answered ' + reply)
`

/** What is depended on comes first. */
function inBuildOrder(packages: readonly Package[]): Package[] {
  const ordered: Package[] = []
  const add = (item: Package) => {
    if (ordered.includes(item)) return
    for (const name of Object.keys(item.manifest.dependencies ?? {})) {
      const dependency = packages.find(({ manifest }) => manifest.name === name)
      if (dependency !== undefined) add(dependency)
    }
    ordered.push(item)
  }
  for (const item of packages) add(item)
  return ordered
}

/** The pinned Node comes first on the path, for the commands of packages. */
async function failureOf(program: string, args: readonly string[], cwd: string): Promise<string | undefined> {
  const env = { ...process.env, PATH: `${join(root, 'node_modules', '.bin')}:${process.env.PATH ?? ''}` }
  try {
    await execute(program, [...args], { cwd, env, timeout: 300_000, maxBuffer: 1 << 24 })
    return undefined
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { stdout?: string; stderr?: string }
    return `${stdout}${stderr}`.trim().slice(0, 4000) || String(error)
  }
}

if (import.meta.main) {
  const problems = await packedProblems(line => console.log(line))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
}
