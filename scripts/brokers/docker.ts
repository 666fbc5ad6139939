/** RabbitMQ from Docker, for machines that have it: the service of compose.yaml under a project name of its own. */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { certificates } from './certificates.ts'
import { BrokerScriptError, freePort, poll, run, speaksAmqp, succeeds } from './process.ts'

const composePath = join(import.meta.dirname, '..', '..', 'compose.yaml')
const startTimeoutMs = 180_000

export interface DockerOptions {
  readonly directory: string
  readonly name: string
  readonly port: number
  readonly tlsPort: number
}

interface ContainerRecord {
  readonly port: number
  readonly tlsPort: number
  readonly containerId?: string
  readonly up: boolean
}

export async function dockerRuns(): Promise<boolean> {
  return (await succeeds('docker', ['info'])) && (await succeeds('docker', ['compose', 'version']))
}

export class DockerRabbitmq {
  readonly pid = undefined
  readonly #directory: string
  readonly #project: string
  #record: ContainerRecord

  private constructor(options: DockerOptions, record: ContainerRecord) {
    this.#directory = options.directory
    this.#project = `chasqui-${options.name}`
    this.#record = record
  }

  static async at(options: DockerOptions): Promise<DockerRabbitmq> {
    await mkdir(options.directory, { recursive: true })
    const path = join(options.directory, 'container.json')
    const record = existsSync(path)
      ? (JSON.parse(await readFile(path, 'utf8')) as ContainerRecord)
      : { port: options.port || (await freePort()), tlsPort: options.tlsPort || (await freePort()), up: false }
    return new DockerRabbitmq(options, record)
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

  get running(): boolean {
    return this.#record.up
  }

  async start(): Promise<void> {
    const { keyPath } = await certificates(join(this.#directory, 'certificates'))
    // The container's user is another one. The key is of no use elsewhere: nobody trusts its authority.
    await chmod(keyPath, 0o644)
    await this.#compose('up', '--detach', 'rabbitmq')
    const { stdout } = await this.#compose('ps', '--quiet', 'rabbitmq')
    if (!(await poll(() => speaksAmqp(this.#record.port), startTimeoutMs))) {
      throw new BrokerScriptError(`RabbitMQ did not come up in Docker; see: docker logs ${stdout.trim()}`)
    }
    await this.#write({ ...this.#record, containerId: stdout.trim(), up: true })
  }

  async stop(): Promise<void> {
    await this.#compose('stop', 'rabbitmq')
    await this.#write({ ...this.#record, up: false })
  }

  async kill(): Promise<void> {
    await this.#compose('kill', '--signal', 'SIGKILL', 'rabbitmq')
    await this.#write({ ...this.#record, up: false })
  }

  async restart(): Promise<void> {
    if (this.running) await this.stop()
    await this.start()
  }

  async freeze(): Promise<void> {
    await this.#compose('pause', 'rabbitmq')
  }

  async thaw(): Promise<void> {
    await this.#compose('unpause', 'rabbitmq')
  }

  async control(args: readonly string[]): Promise<string> {
    return (await this.#compose('exec', '--no-TTY', 'rabbitmq', 'rabbitmqctl', '--quiet', ...args)).stdout
  }

  async setMemoryLimit(bytes: number | undefined): Promise<void> {
    await this.control([
      'set_vm_memory_high_watermark',
      ...(bytes === undefined ? ['0.4'] : ['absolute', String(bytes)]),
    ])
  }

  async remove(): Promise<void> {
    await this.#compose('down', '--volumes')
    await rm(this.#directory, { recursive: true, force: true })
  }

  async #compose(...args: readonly string[]) {
    return await run('docker', ['compose', '--file', composePath, '--project-name', this.#project, ...args], {
      timeoutMs: startTimeoutMs,
      env: {
        ...process.env,
        CHASQUI_RABBITMQ_PORT: String(this.#record.port),
        CHASQUI_RABBITMQ_TLS_PORT: String(this.#record.tlsPort),
        CHASQUI_RABBITMQ_CERTIFICATES: join(this.#directory, 'certificates'),
      },
    })
  }

  async #write(record: ContainerRecord): Promise<void> {
    this.#record = record
    await writeFile(join(this.#directory, 'container.json'), `${JSON.stringify(record, null, 2)}\n`)
  }
}
