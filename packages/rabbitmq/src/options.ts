/** What a user may set for RabbitMQ: the URL's parts, the options of `connect`, and those of this engine alone. */
import type { ConnectionOptions } from '@chasqui/amqp/client'
import { ChasquiError, type OpenOptions, type TlsOptions } from '@chasqui/driver'
import type { ManagementAccess } from './inspect.ts'
import { type ParsedUrl, parseUrl } from './url.ts'

/** The options of this engine alone: `connect(url, { engine: { ... } })`. */
export interface RabbitmqOptions {
  /** Silence after which the connection counts as lost is twice this, in seconds. 0 turns heartbeats off. Default 30, 0 to 65,535. */
  readonly heartbeatSeconds?: number
  /** The type of the queues that Chasqui creates. `classic` ones live on one node. Default `quorum`. */
  readonly queueType?: 'quorum' | 'classic'
  /**
   * How often a message may come back to a quorum queue (its consumer died, or gave it back) before RabbitMQ itself
   * moves it to the dead-letter queue. Default 20, 1 to 1,000,000.
   */
  readonly deliveryLimit?: number
  /** How many messages may be on their way without a confirm. Further ones wait. Default 4,096, 1 to 65,535. */
  readonly maxUnconfirmed?: number
  /** `EXTERNAL` signs in with the client's certificate (`tls.cert` and `tls.key`). Default `PLAIN`. */
  readonly mechanism?: 'PLAIN' | 'EXTERNAL'
  /**
   * RabbitMQ's management interface, `http://host:15672` or behind `https://`, for the list of all queues. It is asked
   * as the user of the connection, and with its `tls`. Default: port 15672 of the first host is tried, 15671 with TLS for
   * `amqps://`; where nothing answers, the queues that this connection uses are all that is listed.
   */
  readonly managementUrl?: string
}

/** Each option once: default and bounds, or the choices. */
export const engineOptions = {
  heartbeatSeconds: { default: 30, min: 0, max: 65_535, unit: 'seconds' },
  queueType: { default: 'quorum', choices: ['quorum', 'classic'] },
  deliveryLimit: { default: 20, min: 1, max: 1_000_000, unit: 'returns' },
  maxUnconfirmed: { default: 4096, min: 1, max: 65_535, unit: 'messages' },
  mechanism: { default: 'PLAIN', choices: ['PLAIN', 'EXTERNAL'] },
  managementUrl: {
    defaultText: 'port 15672 of the first host (15671 with TLS for `amqps://`), if something answers there',
    bounds: 'an http or https URL',
  },
} as const satisfies Record<keyof RabbitmqOptions, OptionInfo>

type OptionInfo =
  | { readonly default: number; readonly min: number; readonly max: number; readonly unit: string }
  | { readonly default: string; readonly choices: readonly string[] }
  | { readonly defaultText: string; readonly bounds: string }

export interface Settings {
  /** One for each host, in the order given. */
  readonly endpoints: readonly ConnectionOptions[]
  readonly engine: EngineSettings
  readonly management: ManagementAccess & {
    /** The user said where it is: then it is a failure if nothing answers. */
    readonly isGiven: boolean
  }
}

type EngineSettings = Required<Omit<RabbitmqOptions, 'managementUrl'>> & Pick<RabbitmqOptions, 'managementUrl'>

/** Where RabbitMQ's management interface listens unless it is told otherwise. */
const managementPort = 15_672
/** The same with TLS: a password that was given for an encrypted connection does not leave it. */
const managementTlsPort = 15_671

/** RabbitMQ's own account for local use, which it accepts over loopback only. */
const defaultAccount = { username: 'guest', password: 'guest' } as const

/** @throws ChasquiError `url-invalid`, `option-invalid` */
export function readOptions(options: OpenOptions): Settings {
  if (options.urls.length === 0) {
    throw new ChasquiError('url-missing', 'No URL was given. A RabbitMQ URL looks like amqp://localhost.')
  }
  const urls = options.urls.map(parseUrl)
  const engine = readEngineOptions(options.engine ?? {})
  if (options.tls !== undefined && urls.some(url => !url.tls)) {
    throw new ChasquiError(
      'option-invalid',
      'The option tls was given with an amqp:// URL, which is not encrypted. Use amqps://, or leave tls out.',
    )
  }
  if (engine.mechanism === 'EXTERNAL' && (options.tls?.cert === undefined || options.tls.key === undefined)) {
    throw new ChasquiError(
      'option-invalid',
      "The mechanism EXTERNAL signs in with the client's certificate. Give tls.cert and tls.key, and an amqps:// URL.",
    )
  }
  const endpoints = urls.flatMap(url => endpointsOf(url, options, engine))
  const { host = '', vhost = '/', username = '', password = '', tls } = endpoints[0]!
  const url = engine.managementUrl ?? managementUrlOf(host, tls !== undefined)
  const management = { url, vhost, username, password, tls, isGiven: engine.managementUrl !== undefined }
  return { endpoints, engine, management }
}

function managementUrlOf(host: string, isEncrypted: boolean): string {
  const name = host.includes(':') ? `[${host}]` : host
  return isEncrypted ? `https://${name}:${managementTlsPort}` : `http://${name}:${managementPort}`
}

function endpointsOf(url: ParsedUrl, options: OpenOptions, engine: EngineSettings): ConnectionOptions[] {
  const username = options.username ?? url.username ?? defaultAccount.username
  // A password belongs to its user: that of the URL is not tried with the user of the options.
  const password =
    options.password ??
    (options.username === undefined || options.username === url.username ? url.password : undefined) ??
    (username === defaultAccount.username ? defaultAccount.password : '')
  return url.hosts.map(({ host, port }) => ({
    host,
    port,
    vhost: url.vhost,
    username,
    password,
    mechanism: engine.mechanism,
    tls: url.tls ? tlsOf(options.tls ?? {}) : undefined,
    heartbeatSeconds: url.heartbeatSeconds ?? engine.heartbeatSeconds,
    connectionName: options.name,
  }))
}

function tlsOf(tls: TlsOptions): NonNullable<ConnectionOptions['tls']> {
  const { ca, cert, key, servername, rejectUnauthorized = true } = tls
  return {
    ca: pem(ca),
    cert: pem(cert),
    key: pem(key),
    rejectUnauthorized,
    ...(servername === undefined ? {} : { servername }),
  }
}

function pem(value: string | Uint8Array | undefined): string | Buffer | undefined {
  return value === undefined || typeof value === 'string' ? value : Buffer.from(value)
}

function readEngineOptions(given: Readonly<Record<string, unknown>>): EngineSettings {
  for (const name of Object.keys(given)) {
    if (!Object.hasOwn(engineOptions, name)) {
      throw new ChasquiError(
        'option-invalid',
        `RabbitMQ has no option ${name}. It has ${Object.keys(engineOptions).join(', ')}.`,
        { details: { option: name } },
      )
    }
  }
  return {
    heartbeatSeconds: numberOption(given, 'heartbeatSeconds'),
    queueType: choiceOption(given, 'queueType'),
    deliveryLimit: numberOption(given, 'deliveryLimit'),
    maxUnconfirmed: numberOption(given, 'maxUnconfirmed'),
    mechanism: choiceOption(given, 'mechanism'),
    managementUrl: urlOption(given.managementUrl),
  }
}

function urlOption(value: unknown): string | undefined {
  if (value === undefined) return undefined
  const url = typeof value === 'string' ? URL.parse(value) : null
  const isPlain = url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.search === ''
  if (!isPlain) {
    throw new ChasquiError(
      'option-invalid',
      'The option managementUrl looks like http://host:15672, without a user: it is asked as the user of the connection.',
      { details: { option: 'managementUrl' } },
    )
  }
  return url.href.replace(/\/$/, '')
}

function numberOption(
  given: Readonly<Record<string, unknown>>,
  name: 'heartbeatSeconds' | 'deliveryLimit' | 'maxUnconfirmed',
): number {
  const info = engineOptions[name]
  const value = given[name] ?? info.default
  if (typeof value !== 'number' || !Number.isInteger(value) || value < info.min || value > info.max) {
    throw new ChasquiError(
      'option-invalid',
      `The option ${name} is a whole number of ${info.unit} from ${info.min} to ${info.max}.`,
      { details: { option: name } },
    )
  }
  return value
}

function choiceOption<Name extends 'queueType' | 'mechanism'>(
  given: Readonly<Record<string, unknown>>,
  name: Name,
): (typeof engineOptions)[Name]['choices'][number] {
  const info = engineOptions[name]
  const value = given[name] ?? info.default
  const found = info.choices.find(choice => choice === value)
  if (found === undefined) {
    throw new ChasquiError('option-invalid', `The option ${name} is one of ${info.choices.join(', ')}.`, {
      details: { option: name },
    })
  }
  return found
}
