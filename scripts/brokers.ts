/**
 * Real brokers for tests and benches: `npm run brokers -- start rabbitmq` (or `rabbitmq4`), `stop`, `status`, `urls`, `kill`, `restart`,
 * `freeze`, `thaw`, `memory-limit`. From the Debian package where it is installed, else from Docker (compose.yaml) where
 * that runs, else the package is installed when we are root. RabbitMQ 4 from a newer Debian in a directory of its own.
 */
import { globSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { parseArgs } from 'node:util'
import { DockerRabbitmq, dockerRuns } from './brokers/docker.ts'
import { BrokerScriptError } from './brokers/process.ts'
import { RabbitmqNode, rabbitmqIsInstalled } from './brokers/rabbitmq.ts'

const usage = `Usage: npm run brokers -- COMMAND [rabbitmq | rabbitmq4] [--port N] [--tls-port N] [--docker] [--json] [--all]
  start      brings the broker up; does nothing if it is
  stop       stops it by its process id;  --all also those that interrupted test runs left, and deletes these
  restart    stops and starts it
  kill       ends it with SIGKILL
  freeze     stops it from answering (SIGSTOP);  thaw lets it go on
  memory-limit BYTES   raises the memory alarm at that many bytes;  memory-limit default  puts the default back
  status     says what runs, of all brokers unless one is named; exit code 1 if nothing does
  urls       prints the variables that the tests read, of all that run unless one is named; exit code 1 if none does`

/** What the conformance suite and this command line may do to a broker. */
export interface BrokerControl {
  readonly url: string
  readonly tlsUrl: string
  /** PEM of the authority that signed the TLS listener's certificate. */
  readonly caPath: string
  readonly pid: number | undefined
  readonly running: boolean
  start(): Promise<void>
  stop(): Promise<void>
  kill(): Promise<void>
  restart(): Promise<void>
  freeze(): void | Promise<void>
  thaw(): void | Promise<void>
  control(args: readonly string[]): Promise<string>
  setMemoryLimit(bytes: number | undefined): Promise<void>
  remove(): Promise<void>
}

export interface BrokerOptions {
  /** Tells instances apart; each has its own data and ports. */
  readonly name: string
  /** Where its data lives. Default: .brokers/NAME in the project. */
  readonly directory?: string
  /** 0 takes free ports. */
  readonly port: number
  readonly tlsPort: number
  readonly docker?: boolean
  /** 4: RabbitMQ 4.0 from Debian trixie, as root only. Default: what Debian bookworm has, 3.10. */
  readonly major?: 4
}

const brokersDirectory = join(import.meta.dirname, '..', '.brokers')

export const defaultRabbitmq: BrokerOptions = { name: 'rabbitmq', port: 5672, tlsPort: 5671 }
export const defaultRabbitmq4: BrokerOptions = { name: 'rabbitmq4', port: 5682, tlsPort: 5681, major: 4 }

export async function rabbitmq(options: BrokerOptions = defaultRabbitmq): Promise<BrokerControl> {
  const directory = options.directory ?? join(brokersDirectory, options.name)
  if (options.major === 4) {
    const root = join(brokersDirectory, 'roots', 'trixie')
    return await RabbitmqNode.at({ ...options, directory, name: `chasqui-${options.name}`, root })
  }
  const useDocker = options.docker ?? (!rabbitmqIsInstalled() && (await dockerRuns()))
  return useDocker
    ? await DockerRabbitmq.at({ ...options, directory })
    : await RabbitmqNode.at({ ...options, directory, name: `chasqui-${options.name}` })
}

async function main(args: readonly string[]): Promise<number> {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      port: { type: 'string' },
      'tls-port': { type: 'string' },
      all: { type: 'boolean' },
      docker: { type: 'boolean' },
      json: { type: 'boolean' },
      help: { type: 'boolean' },
    },
  })
  const [command = 'help', ...rest] = positionals
  if (values.help || command === 'help') {
    console.log(usage)
    return values.help ? 0 : 2
  }
  if (command === 'status' || command === 'urls') {
    return await tellOf(command, rest.length === 0 ? [...defaults.keys()] : rest, values.json === true)
  }
  const named = rest.find(word => defaults.has(word)) ?? (command === 'memory-limit' ? 'rabbitmq' : rest[0])
  const engine = named ?? 'rabbitmq'
  const usual = usualOptions(engine)
  const broker = await rabbitmq({
    ...usual,
    port: portOption('--port', values.port, usual.port),
    tlsPort: portOption('--tls-port', values['tls-port'], usual.tlsPort),
    ...(values.docker ? { docker: true } : {}),
  })
  const describe = () => statusOf(engine, broker, values.json === true)
  switch (command) {
    case 'start':
    case 'stop':
    case 'restart':
    case 'kill':
    case 'freeze':
    case 'thaw':
      await broker[command]()
      if (command === 'stop' && values.all) await removeLeftovers()
      console.log(command === 'freeze' ? `${engine} is frozen` : describe())
      return 0
    case 'memory-limit': {
      const text = rest.find(word => word !== engine)
      const bytes = text === 'default' ? undefined : Number(text)
      if (bytes !== undefined && !(Number.isInteger(bytes) && bytes >= 0)) {
        throw new BrokerScriptError('memory-limit takes a number of bytes, or `default`.')
      }
      await broker.setMemoryLimit(bytes)
      console.log(`${engine}'s memory limit: ${bytes === undefined ? 'default' : `${bytes} bytes`}`)
      return 0
    }
    default:
      throw new BrokerScriptError(`There is no command "${command}".\n${usage}`)
  }
}

/** Prints what the tests read, or what runs, of each; resolves with the exit code. */
async function tellOf(command: 'status' | 'urls', engines: readonly string[], json: boolean): Promise<number> {
  let running = 0
  const variables: Record<string, string> = {}
  for (const engine of engines) {
    const usual = usualOptions(engine)
    const broker = await rabbitmq(usual)
    if (broker.running) {
      running++
      Object.assign(variables, environmentOf(broker, usual.major))
    }
    if (command === 'status') console.log(statusOf(engine, broker, json))
  }
  if (command === 'urls' && json) console.log(JSON.stringify(variables))
  if (command === 'urls' && !json)
    for (const [name, value] of Object.entries(variables)) console.log(`${name}=${value}`)
  return running > 0 ? 0 : 1
}

function statusOf(engine: string, { url, tlsUrl, caPath, pid, running }: BrokerControl, json: boolean): string {
  if (json) return JSON.stringify({ engine, running, url, tlsUrl, caPath, pid })
  return running ? `${engine} is up: ${url} and ${tlsUrl} (CA ${caPath}), process ${pid}` : `${engine} is down`
}

function usualOptions(engine: string): BrokerOptions {
  const usual = defaults.get(engine)
  if (usual !== undefined) return usual
  throw new BrokerScriptError(`There is no broker "${engine}"; there are: ${[...defaults.keys()].join(', ')}.`)
}

const defaults: ReadonlyMap<string, BrokerOptions> = new Map([
  ['rabbitmq', defaultRabbitmq],
  ['rabbitmq4', defaultRabbitmq4],
])

/** Stops and deletes every instance in .brokers but the default ones. */
async function removeLeftovers(): Promise<void> {
  for (const path of globSync('*/{node,container}.json', { cwd: brokersDirectory })) {
    const name = dirname(path)
    if (defaults.has(name)) continue
    const docker = basename(path) === 'container.json'
    await (await rabbitmq({ name, port: 0, tlsPort: 0, docker })).remove()
    console.log(`removed ${name}`)
  }
}

/** The variables by which tests and benches find a running broker. */
export function environmentOf(broker: BrokerControl, major?: 4): Record<string, string> {
  if (major === 4) return { CHASQUI_RABBITMQ4_URL: broker.url }
  return {
    CHASQUI_RABBITMQ_URL: broker.url,
    CHASQUI_RABBITMQ_TLS_URL: broker.tlsUrl,
    CHASQUI_RABBITMQ_CA: broker.caPath,
  }
}

function portOption(name: string, text: string | undefined, fallback: number): number {
  if (text === undefined) return fallback
  const port = Number(text)
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new BrokerScriptError(`${name} takes a port from 0 to 65535, not "${text}".`)
  }
  return port
}

if (import.meta.main) {
  try {
    process.exitCode = await main(process.argv.slice(2))
  } catch (error) {
    const isUsage = error instanceof Error && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS')
    if (!(error instanceof BrokerScriptError) && !isUsage) throw error
    console.error((error as Error).message)
    process.exitCode = 1
  }
}
