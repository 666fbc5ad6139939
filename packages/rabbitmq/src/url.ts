/**
 * RabbitMQ's URLs, with the several hosts of one cluster in one URL, which `URL` cannot parse:
 *
 *     amqp[s]://[user[:password]@]host[:port][,host[:port]...][/vhost][?heartbeat=seconds]
 *
 * User, password and virtual host are percent-decoded (RabbitMQ, "URI Specification"). No path, or `/` alone, is the
 * virtual host `/`. Errors quote nothing of a URL but its scheme and what stands behind the credentials, and nothing
 * at all where it is unclear which part is which.
 */
import { ChasquiError } from '@chasqui/driver'

export interface ParsedUrl {
  readonly tls: boolean
  /** At least one. */
  readonly hosts: readonly { readonly host: string; readonly port: number }[]
  readonly vhost: string
  readonly username?: string
  readonly password?: string
  readonly heartbeatSeconds?: number
}

const defaultPorts = { amqp: 5672, amqps: 5671 } as const
const shape = 'amqp://user:password@host:5672/vhost'

/** @throws ChasquiError `url-invalid` */
export function parseUrl(url: string): ParsedUrl {
  const match = /^(amqps?):\/\/([^/?#]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/i.exec(url.trim())
  if (match === null) throw invalid(`A RabbitMQ URL looks like ${shape} (or amqps:// for TLS), without a # part.`)
  const [, scheme, authority, path, query] = match as unknown as [string, string, string, string?, string?]
  if (path?.includes('@') || query?.includes('@')) {
    throw invalid(
      `There is an @ behind the first / or ?. In a user name or password write / as %2F, ? as %3F, @ as %40.`,
    )
  }

  const at = authority.lastIndexOf('@')
  const credentials = at === -1 ? undefined : authority.slice(0, at)
  const colon = credentials?.indexOf(':') ?? -1
  const tls = scheme.toLowerCase() === 'amqps'
  const defaultPort = tls ? defaultPorts.amqps : defaultPorts.amqp

  const hosts = authority
    .slice(at + 1)
    .split(',')
    .map((text, index) => parseHost(text, index + 1, defaultPort))
  if (path?.includes('/')) {
    throw invalid('The virtual host is the one part behind the host; write a / inside its name as %2F.')
  }

  return {
    tls,
    hosts,
    vhost: path === undefined || path === '' ? '/' : decode(path, 'virtual host'),
    username:
      credentials === undefined
        ? undefined
        : decode(colon === -1 ? credentials : credentials.slice(0, colon), 'user name'),
    password: credentials === undefined || colon === -1 ? undefined : decode(credentials.slice(colon + 1), 'password'),
    heartbeatSeconds: parseQuery(query),
  }
}

function parseHost(text: string, position: number, defaultPort: number): { host: string; port: number } {
  const match = /^(?:\[([0-9A-Fa-f:.%]+)\]|([^:[\]\s]+))(?::(\d*))?$/.exec(text)
  if (match === null) {
    throw invalid(
      `Host ${position} cannot be read. Write host or host:port, several with commas and no spaces between, an IPv6 address in brackets; in a user name or password write @ as %40 and , as %2C.`,
    )
  }
  const port = match[3] === undefined || match[3] === '' ? defaultPort : Number(match[3])
  if (port < 1 || port > 65_535) throw invalid(`The port of host ${position} is ${port}; ports go from 1 to 65535.`)
  return { host: match[1] ?? match[2]!, port }
}

function parseQuery(query: string | undefined): number | undefined {
  let heartbeatSeconds: number | undefined
  for (const [name, value] of new URLSearchParams(query)) {
    if (name !== 'heartbeat') {
      throw invalid(`The part behind ? knows heartbeat (in seconds) alone; give other settings as options.`)
    }
    heartbeatSeconds = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN
    if (!(heartbeatSeconds <= 65_535)) throw invalid('heartbeat is a whole number of seconds from 0 to 65535.')
  }
  return heartbeatSeconds
}

function decode(text: string, part: string): string {
  try {
    return decodeURIComponent(text)
  } catch (cause) {
    // The cause's own sentence quotes nothing of the text.
    throw new ChasquiError(
      'url-invalid',
      sentence(`The ${part} has a % that begins no escape. Write % itself as %25.`),
      {
        cause,
      },
    )
  }
}

function invalid(what: string): ChasquiError {
  return new ChasquiError('url-invalid', sentence(what))
}

function sentence(what: string): string {
  return `The RabbitMQ URL cannot be used. ${what}`
}
