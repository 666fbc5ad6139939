/**
 * Which package may import which, as DESIGN's layers say, and three rules beside it: what belongs to another package is
 * imported by that package's name (no deep imports), files do not import each other in a circle, and only the folders that
 * may touch sockets, timers or upper layers inside a package do.
 *
 * `npm run check` runs it; `node scripts/layers.ts [ROOT]` alone prints what it finds.
 */
import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

interface Layer {
  /** The workspace packages that the sources may import. */
  readonly packages: readonly string[]
  /** The packages of others; absent: whatever package.json lists. */
  readonly others?: readonly string[]
  /** Nothing of Node either. */
  readonly pure?: true
}

/** What an application may use: public faces only, and no engine but the one in the box. */
const applicationPackages = [
  '@chasqui/driver',
  '@chasqui/core',
  '@chasqui/amqp',
  '@chasqui/broker',
  '@chasqui/embedded',
]

/** From the bottom up. A package that is not here fails the check: its place has to be decided. */
const layers: Readonly<Record<string, Layer>> = {
  '@chasqui/driver': { packages: [], others: [], pure: true },
  '@chasqui/amqp': { packages: [], others: [] },
  '@chasqui/broker': { packages: ['@chasqui/amqp'], others: [] },
  '@chasqui/core': { packages: ['@chasqui/driver'] },
  '@chasqui/driver-amqp': { packages: ['@chasqui/driver', '@chasqui/amqp'] },
  '@chasqui/rabbitmq': { packages: ['@chasqui/driver', '@chasqui/driver-amqp', '@chasqui/amqp'] },
  '@chasqui/embedded': { packages: ['@chasqui/driver', '@chasqui/driver-amqp', '@chasqui/broker', '@chasqui/amqp'] },
  '@chasqui/conformance': { packages: ['@chasqui/driver', '@chasqui/core'] },
  '@chasqui/cli': { packages: applicationPackages },
  chasqui: { packages: ['@chasqui/core', '@chasqui/embedded', '@chasqui/cli'] },
}

interface FolderRule {
  readonly package: string
  /** For the sources in this folder of src; with a leading `!`, for those outside it. */
  readonly folder: string
  /** What they must not import: a package, or a path relative to src. */
  readonly forbids: RegExp
  readonly reason: string
}

const folderRules: readonly FolderRule[] = [
  {
    package: '@chasqui/amqp',
    folder: '!client/',
    forbids: /^node:(net|tls|timers|dns)/,
    reason: 'only src/client touches a socket or a timer',
  },
  {
    package: '@chasqui/broker',
    folder: 'store/',
    forbids: /^(server|router|queue|vhost)\//,
    reason: 'the store stands below router, queues and server',
  },
  {
    package: '@chasqui/broker',
    folder: 'router/',
    forbids: /^server\//,
    reason: 'the server stands above router and queues',
  },
  {
    package: '@chasqui/broker',
    folder: 'queue/',
    forbids: /^server\//,
    reason: 'the server stands above router and queues',
  },
]

export interface Import {
  readonly specifier: string
  readonly line: number
  /** `import type` or `export type`: gone when the program runs. */
  readonly typeOnly: boolean
}

/** The imports and re-exports of a formatted source: statements start in the first column. */
export function importsOf(source: string): Import[] {
  const found: Import[] = []
  const add = (specifier: string, index: number, typeOnly: boolean) =>
    found.push({ specifier, line: source.slice(0, index).split('\n').length, typeOnly })
  const statement = /^(?:import|export)\s+(type\s+)?(?:[^'"`;=()]*?\sfrom\s+)?['"]([^'"\n]+)['"]/gm
  for (const match of source.matchAll(statement)) add(match[2]!, match.index, match[1] !== undefined)
  const call = /\bimport\(\s*['"]([^'"\n]+)['"]\s*\)/g
  for (const match of source.matchAll(call)) add(match[1]!, match.index, false)
  return found
}

interface PackageFolder {
  readonly name: string
  readonly directory: string
  readonly exports: readonly string[]
}

/** What breaks the layers below `root`, one sentence each. */
export function brokenLayers(root: string): string[] {
  const packages = globSync('packages/*/package.json', { cwd: root })
    .map((path): PackageFolder => {
      const manifest = JSON.parse(readFileSync(join(root, path), 'utf8')) as { name: string; exports?: object }
      return { name: manifest.name, directory: dirname(join(root, path)), exports: Object.keys(manifest.exports ?? {}) }
    })
    .sort((a, b) => a.name.localeCompare(b.name))
  const problems: string[] = []
  for (const { name } of packages) {
    if (!(name in layers)) problems.push(`${name} has no place in the layers: add it to scripts/layers.ts`)
  }
  const files = globSync('{packages/*/{src,test,bench,generate},examples,benches,scripts}/**/*.ts', {
    cwd: root,
    exclude: path => path.includes('node_modules') || path.includes('dist'),
  }).sort()
  const graph = new Map<string, string[]>()
  for (const path of files) {
    const file = join(root, path)
    const owner = packages.find(candidate => file.startsWith(`${candidate.directory}/`))
    const edges: string[] = []
    for (const found of importsOf(readFileSync(file, 'utf8'))) {
      const where = `${path}:${found.line}`
      const { specifier } = found
      if (specifier.startsWith('.')) {
        const target = resolve(dirname(file), specifier)
        const targetOwner = packages.find(candidate => target.startsWith(`${candidate.directory}/`))
        if (targetOwner !== undefined && targetOwner !== owner) {
          problems.push(`${where} reaches into ${targetOwner.name} by path; import "${targetOwner.name}" by name`)
        } else if (existsSync(target) && !found.typeOnly) {
          edges.push(target)
        }
        if (owner !== undefined)
          problems.push(...brokenFolderRules(owner, file, relativeToSource(owner, target), where))
        continue
      }
      const target = packages.find(({ name }) => specifier === name || specifier.startsWith(`${name}/`))
      if (target !== undefined) {
        const entry = specifier === target.name ? '.' : `.${specifier.slice(target.name.length)}`
        if (!target.exports.includes(entry)) {
          problems.push(`${where} imports "${specifier}", which is no entry of ${target.name}`)
        }
      }
      if (owner === undefined || !file.startsWith(join(owner.directory, 'src/'))) continue
      problems.push(...brokenFolderRules(owner, file, specifier, where))
      const layer = layers[owner.name]
      if (layer === undefined) continue
      const isNode = specifier.startsWith('node:')
      const allowed =
        target !== undefined
          ? target === owner || layer.packages.includes(target.name)
          : isNode
            ? layer.pure !== true
            : (layer.others ?? [packageNameOf(specifier)]).includes(packageNameOf(specifier))
      if (!allowed) problems.push(`${where} imports "${specifier}", which ${owner.name} must not know of`)
    }
    graph.set(file, edges)
  }
  for (const circle of circles(graph)) {
    problems.push(`a circle of imports: ${circle.map(file => relative(root, file)).join(' -> ')}`)
  }
  return problems
}

function brokenFolderRules(owner: PackageFolder, file: string, target: string, where: string): string[] {
  const path = relativeToSource(owner, file)
  if (path.startsWith('..')) return []
  return folderRules
    .filter(rule => {
      if (rule.package !== owner.name || !rule.forbids.test(target)) return false
      return rule.folder.startsWith('!') ? !path.startsWith(rule.folder.slice(1)) : path.startsWith(rule.folder)
    })
    .map(rule => `${where} imports ${target}: ${rule.reason}`)
}

function relativeToSource(owner: PackageFolder, file: string): string {
  return relative(join(owner.directory, 'src'), file)
}

function packageNameOf(specifier: string): string {
  const parts = specifier.split('/')
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!
}

/** One circle for each file that closes one, found depth first. */
function circles(graph: ReadonlyMap<string, readonly string[]>): string[][] {
  const found: string[][] = []
  const done = new Set<string>()
  const path: string[] = []
  const visit = (file: string): void => {
    const start = path.indexOf(file)
    if (start >= 0) {
      found.push([...path.slice(start), file])
      return
    }
    if (done.has(file)) return
    path.push(file)
    for (const next of graph.get(file) ?? []) visit(next)
    path.pop()
    done.add(file)
  }
  for (const file of graph.keys()) visit(file)
  return found
}

if (import.meta.main) {
  const problems = brokenLayers(resolve(process.argv[2] ?? join(import.meta.dirname, '..')))
  for (const problem of problems) console.error(problem)
  if (problems.length > 0) process.exitCode = 1
  else console.log('the layers hold')
}
