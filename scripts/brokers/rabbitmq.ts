/**
 * A real RabbitMQ node of our own: from the Debian package, as a process of the current user, with its own name,
 * data, Erlang cookie and port mapper (epmd), bound to loopback only. An instance that the system runs is not touched.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { certificates } from './certificates.ts'
import {
  BrokerScriptError,
  freePort,
  freeze,
  identify,
  isRunning,
  poll,
  portIsTaken,
  run,
  type StartedProcess,
  signal,
  speaksAmqp,
  succeeds,
  waitForExit,
} from './process.ts'
import { insideRoot, makeRoot } from './root.ts'

const binDirectory = '/usr/lib/rabbitmq/bin'
const startTimeoutMs = 60_000
const stopTimeoutMs = 30_000
const portFreeTimeoutMs = 3000

export interface RabbitmqOptions {
  /** Everything of this node lives here: data, logs, configuration, certificates, and the record of its processes. */
  readonly directory: string
  /** First part of the Erlang node name. */
  readonly name: string
  /** 0 takes a free one. */
  readonly port: number
  /** TLS; 0 takes a free one. */
  readonly tlsPort: number
  /** The Debian root that the programs are taken from. Default: this machine. */
  readonly root?: string
}

/** What is written to `node.json`, so that another process can stop the node. */
interface NodeRecord {
  readonly port: number
  readonly tlsPort: number
  readonly distributionPort: number
  readonly epmdPort: number
  readonly beam?: StartedProcess
  readonly epmd?: StartedProcess
}

export class RabbitmqNode {
  readonly #directory: string
  readonly #name: string
  readonly #root: string | undefined
  #record: NodeRecord

  private constructor(options: RabbitmqOptions, record: NodeRecord) {
    this.#directory = options.directory
    this.#name = options.name
    this.#root = options.root
    this.#record = record
  }

  /** The node of that directory, running or not; its ports are chosen once and then kept. */
  static async at(options: RabbitmqOptions): Promise<RabbitmqNode> {
    await mkdir(options.directory, { recursive: true, mode: 0o755 })
    const path = join(options.directory, 'node.json')
    if (existsSync(path)) {
      return new RabbitmqNode(options, JSON.parse(await readFile(path, 'utf8')) as NodeRecord)
    }
    return new RabbitmqNode(options, {
      port: options.port || (await freePort()),
      tlsPort: options.tlsPort || (await freePort()),
      distributionPort: await freePort(),
      epmdPort: await freePort(),
    })
  }

  get url(): string {
    return `amqp://127.0.0.1:${this.#record.port}`
  }

  get tlsUrl(): string {
    return `amqps://localhost:${this.#record.tlsPort}`
  }

  get caPath(): string {
    return join(this.#directory, 'certificates', 'ca.pem')
  }

  get pid(): number | undefined {
    return this.#record.beam?.pid
  }

  get running(): boolean {
    return this.#record.beam !== undefined && isRunning(this.#record.beam)
  }

  /** Resolves when the node serves AMQP. Does nothing for one that does. */
  async start(): Promise<void> {
    if (this.running) return await this.#ready()
    await (this.#root === undefined ? install() : makeRoot(this.#root))
    for (const port of [this.#record.port, this.#record.tlsPort]) {
      // The sockets of a killed node outlive its main thread by some milliseconds.
      if (!(await poll(async () => !(await portIsTaken(port)), portFreeTimeoutMs))) {
        throw new BrokerScriptError(
          `Port ${port} on 127.0.0.1 is taken by another program. Stop it, or choose another with --port and --tls-port.`,
        )
      }
    }
    const { certPath, keyPath, caPath } = await certificates(join(this.#directory, 'certificates'))
    await mkdir(join(this.#directory, 'home'), { recursive: true, mode: 0o700 })
    await writeFile(join(this.#directory, 'enabled_plugins'), '[].\n')
    await writeFile(join(this.#directory, 'rabbitmq-env.conf'), '# Nothing: the environment says it all.\n')
    await writeFile(
      join(this.#directory, 'rabbitmq.conf'),
      [
        `listeners.tcp.1 = 127.0.0.1:${this.#record.port}`,
        `listeners.ssl.1 = 127.0.0.1:${this.#record.tlsPort}`,
        `ssl_options.cacertfile = ${caPath}`,
        `ssl_options.certfile = ${certPath}`,
        `ssl_options.keyfile = ${keyPath}`,
        'ssl_options.verify = verify_none',
        'ssl_options.fail_if_no_peer_cert = false',
        '',
      ].join('\n'),
    )
    await this.#startEpmd()
    await this.#startBeam()
  }

  /** Asks the node to stop, waits, and ends its port mapper too. Does nothing for one that is down. */
  async stop(): Promise<void> {
    const { beam, epmd } = this.#record
    if (beam !== undefined && signal(beam, 'SIGTERM')) {
      // A frozen process does not see SIGTERM before it goes on.
      signal(beam, 'SIGCONT')
      if (!(await waitForExit(beam, stopTimeoutMs))) {
        signal(beam, 'SIGKILL')
        await waitForExit(beam, 5000)
      }
    }
    if (epmd !== undefined && signal(epmd, 'SIGTERM')) await waitForExit(epmd, 5000)
    await this.#write({ ...this.#record, beam: undefined, epmd: undefined })
  }

  /** SIGKILL, as a power cut would do to the process; resolves when it is gone. */
  async kill(): Promise<void> {
    const beam = this.#running()
    signal(beam, 'SIGKILL')
    if (!(await waitForExit(beam, 10_000))) throw new BrokerScriptError(`Process ${beam.pid} did not die of SIGKILL.`)
  }

  async restart(): Promise<void> {
    if (this.running) await this.stop()
    await this.start()
  }

  /** SIGSTOP: sockets stay open and nobody answers. */
  async freeze(): Promise<void> {
    await freeze(this.#running().pid)
  }

  thaw(): void {
    signal(this.#running(), 'SIGCONT')
  }

  /** Runs `rabbitmqctl` on this node, for instance `['close_all_connections', 'test']`. */
  async control(args: readonly string[]): Promise<string> {
    const [program, all] = this.#command(join(binDirectory, 'rabbitmqctl'), ['--quiet', ...args])
    const { stdout } = await run(program, all, { env: this.#environment() })
    return stdout
  }

  /** Sets how many bytes of memory raise the alarm that blocks publishers; `undefined` puts the default back. */
  async setMemoryLimit(bytes: number | undefined): Promise<void> {
    await this.control([
      'set_vm_memory_high_watermark',
      ...(bytes === undefined ? ['0.4'] : ['absolute', String(bytes)]),
    ])
  }

  /** Stops the node and deletes its directory. */
  async remove(): Promise<void> {
    await this.stop()
    await rm(this.#directory, { recursive: true, force: true })
  }

  /** The program, or what runs it inside the root. */
  #command(program: string, args: readonly string[]): [string, readonly string[]] {
    return this.#root === undefined ? [program, args] : insideRoot(this.#root, this.#directory, [program, ...args])
  }

  #running(): StartedProcess {
    const { beam } = this.#record
    if (beam === undefined || !isRunning(beam)) {
      throw new BrokerScriptError(`RabbitMQ (${this.#name}) is not running; start it first.`)
    }
    return beam
  }

  async #startEpmd(): Promise<void> {
    if (this.#record.epmd !== undefined && isRunning(this.#record.epmd)) return
    const log = openSync(join(this.#directory, 'epmd.log'), 'a')
    // Without -daemon, so that its id is known and it can be stopped by it.
    const [program, args] = this.#command('epmd', ['-address', '127.0.0.1', '-port', String(this.#record.epmdPort)])
    const child = spawn(program, args, {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ERL_EPMD_ADDRESS: '127.0.0.1' },
    })
    closeSync(log)
    await started(child)
    child.unref()
    await this.#write({ ...this.#record, epmd: identify(child.pid!) })
    if (!(await poll(() => portIsTaken(this.#record.epmdPort), 10_000))) {
      throw new BrokerScriptError(`epmd did not come up on port ${this.#record.epmdPort}; see epmd.log.`)
    }
  }

  async #startBeam(): Promise<void> {
    const log = openSync(join(this.#directory, 'startup.log'), 'a')
    const pidPath = join(this.#directory, 'node.pid')
    await rm(pidPath, { force: true })
    const [program, args] = this.#command(join(binDirectory, 'rabbitmq-server'), [])
    const child = spawn(program, args, {
      cwd: this.#directory,
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...this.#environment(), RABBITMQ_PID_FILE: pidPath },
    })
    closeSync(log)
    await started(child)
    child.unref()
    const deadline = Date.now() + startTimeoutMs
    const shell = identify(child.pid!)
    // The file is there before its content is.
    const readPid = () => (existsSync(pidPath) ? Number.parseInt(readFileSync(pidPath, 'utf8'), 10) : Number.NaN)
    await poll(() => readPid() > 0 || !isRunning(shell), startTimeoutMs)
    const pid = readPid()
    if (!(pid > 0)) throw new BrokerScriptError(`RabbitMQ did not start. ${this.#logs()}`)
    await this.#write({ ...this.#record, beam: identify(pid) })
    await this.#ready(deadline - Date.now())
  }

  async #ready(timeoutMs = startTimeoutMs): Promise<void> {
    const ready = await poll(async () => !this.running || (await speaksAmqp(this.#record.port)), timeoutMs)
    if (!ready || !this.running) throw new BrokerScriptError(`RabbitMQ did not come up. ${this.#logs()}`)
  }

  #logs(): string {
    return `Its logs are in ${this.#directory}.`
  }

  #environment(): NodeJS.ProcessEnv {
    const at = (path: string) => join(this.#directory, path)
    const loopbackOnly = '-kernel inet_dist_use_interface {127,0,0,1}'
    // So long a delayed message is late that became due while the node started; three minutes otherwise.
    const deadLettersAgain = '-rabbit dead_letter_worker_publisher_confirm_timeout 3000'
    return {
      ...process.env,
      HOME: at('home'),
      RABBITMQ_CONF_ENV_FILE: at('rabbitmq-env.conf'),
      RABBITMQ_CONFIG_FILE: at('rabbitmq.conf'),
      RABBITMQ_ADVANCED_CONFIG_FILE: at('advanced.config'),
      RABBITMQ_ENABLED_PLUGINS_FILE: at('enabled_plugins'),
      RABBITMQ_NODENAME: `${this.#name}@localhost`,
      RABBITMQ_MNESIA_BASE: at('data'),
      RABBITMQ_LOG_BASE: at('log'),
      RABBITMQ_GENERATED_CONFIG_DIR: at('config'),
      RABBITMQ_DIST_PORT: String(this.#record.distributionPort),
      ERL_EPMD_ADDRESS: '127.0.0.1',
      ERL_EPMD_PORT: String(this.#record.epmdPort),
      // Idle schedulers sleep at once: the broker shares its cores with the tests.
      RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `${loopbackOnly} ${deadLettersAgain} +sbwt none +sbwtdcpu none +sbwtdio none`,
      RABBITMQ_CTL_ERL_ARGS: loopbackOnly,
      ERL_CRASH_DUMP: '/dev/null',
    }
  }

  async #write(record: NodeRecord): Promise<void> {
    this.#record = record
    await writeFile(join(this.#directory, 'node.json'), `${JSON.stringify(record, null, 2)}\n`)
  }
}

export function rabbitmqIsInstalled(): boolean {
  return existsSync(join(binDirectory, 'rabbitmq-server'))
}

async function install(): Promise<void> {
  if (rabbitmqIsInstalled()) return
  if (!isRoot() || !(await succeeds('apt-get', ['--version']))) {
    throw new BrokerScriptError(
      'RabbitMQ is not installed. Install the package `rabbitmq-server` (as root: apt-get install rabbitmq-server), or start Docker and run this again.',
    )
  }
  // The package would start a node of the system's on all interfaces: policy-rc.d (101: forbidden) keeps it from that,
  // and the address makes an epmd started by its scripts listen on loopback only.
  const policyPath = '/usr/sbin/policy-rc.d'
  const ownPolicy = !existsSync(policyPath)
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', ERL_EPMD_ADDRESS: '127.0.0.1' }
  if (ownPolicy) await writeFile(policyPath, '#!/bin/sh\nexit 101\n', { mode: 0o755 })
  try {
    await run('apt-get', ['update'], { env, timeoutMs: 300_000 })
    await run('apt-get', ['install', '-y', '--no-install-recommends', 'rabbitmq-server', 'openssl'], {
      env,
      timeoutMs: 600_000,
    })
  } finally {
    if (ownPolicy) await rm(policyPath, { force: true })
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

async function started(child: ReturnType<typeof spawn>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', error =>
      reject(new BrokerScriptError(`\`${child.spawnfile}\` cannot be run: ${error.message}.`, { cause: error })),
    )
  })
}
