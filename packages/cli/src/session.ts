/**
 * What the commands that talk to an engine share: the URL, the bus, the signals that end them, and what they print on.
 *
 * The first SIGINT or SIGTERM fires the session's signal, so that a command finishes what it has begun; the second ends the
 * process as if nobody listened.
 */
import { existsSync } from 'node:fs'
import type { Bus, ConnectOptions, Logger } from '@chasqui/core'
import { ChasquiError, connect } from '@chasqui/core'
import { type Command, Option } from 'commander'
import { pair, repeated } from './arguments.ts'
import { Output } from './output.ts'
import { pemFile } from './pem-file.ts'

/** What every such command takes; see `addSessionOptions`. */
export interface SessionOptions {
  readonly url?: readonly string[]
  readonly tlsCa?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly engine?: Readonly<Record<string, string>>
  readonly driver?: Readonly<Record<string, string>>
  readonly json?: true
}

export interface Session {
  readonly bus: Bus
  /** Fires at the first SIGINT or SIGTERM, and when nobody reads standard output any more. */
  readonly signal: AbortSignal
  readonly output: Output
}

/** Where `connect()` looks when nobody says anything else. */
const usualDirectory = '.chasqui'

/** Adds what `withSession` reads. */
export function addSessionOptions(command: Command): Command {
  const options = [
    urlOption(),
    new Option('--tls-ca <file>', 'PEM of the authorities to trust'),
    new Option('--tls-cert <file>', "PEM of the client's certificate"),
    new Option('--tls-key <file>', 'PEM of its key'),
    new Option('--engine <name=value>', 'an option of the engine: mechanism=EXTERNAL').argParser(pair),
    new Option('--driver <scheme=package>', "somebody else's driver for a scheme").argParser(pair),
    jsonOption(),
  ]
  for (const option of options) command.addOption(option.helpGroup('Engine and output:'))
  return command
}

function urlOption(): Option {
  return new Option(
    '--url <url>',
    'the engine; more than once for its nodes (default: CHASQUI_URL, else embedded:.chasqui)',
  ).argParser(repeated)
}

export function jsonOption(): Option {
  return new Option('--json', 'print JSON lines')
}

/**
 * Connects, runs the command and closes, also when it fails. `looks`: the command only looks at what is there, so that it
 * makes no data directory of its own where it was started at the wrong place.
 *
 * @throws ChasquiError as `connect` does, and `url-missing`
 */
export async function withSession<T>(
  options: SessionOptions,
  settings: ConnectOptions & { readonly looks?: boolean },
  command: (session: Session) => Promise<T>,
): Promise<T> {
  const { looks = false, ...connecting } = settings
  if (looks) refuseWithoutDirectory(options.url)
  const given = await connectOptions(options)
  const output = new Output(process.stdout, options.json === true)
  const ended = new AbortController()
  const end = () => ended.abort()
  for (const name of endingSignals) process.once(name, end)
  output.onClosed(end)
  try {
    const bus = await connect(options.url, {
      name: 'chasqui-cli',
      logger: logger(output.json),
      ...given,
      ...connecting,
    })
    try {
      return await command({ bus, signal: ended.signal, output })
    } finally {
      await bus.close()
    }
  } finally {
    for (const name of endingSignals) process.removeListener(name, end)
    await output.flushed()
  }
}

const endingSignals = ['SIGINT', 'SIGTERM'] as const

async function connectOptions({ tlsCa, tlsCert, tlsKey, engine, driver }: SessionOptions): Promise<ConnectOptions> {
  const files = { ca: tlsCa, cert: tlsCert, key: tlsKey }
  const pems = await Promise.all(
    Object.entries(files).flatMap(([name, file]) =>
      file === undefined ? [] : [pemFile(file).then((pem): [string, string] => [name, pem])],
    ),
  )
  return {
    ...(pems.length === 0 ? {} : { tls: Object.fromEntries(pems) }),
    ...(engine === undefined ? {} : { engine: valuesOf(engine) }),
    ...(driver === undefined ? {} : { drivers: driver }),
  }
}

/** Engines' options are numbers, words and URLs; what is written in digits is a number. */
function valuesOf(texts: Readonly<Record<string, string>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(texts).map(([name, text]) => [name, /^-?\d+$/.test(text) ? Number(text) : text]),
  )
}

function refuseWithoutDirectory(url: readonly string[] | undefined): void {
  if (url !== undefined || (process.env.CHASQUI_URL ?? '') !== '' || process.env.NODE_ENV === 'production') return
  if (existsSync(usualDirectory)) return
  throw new ChasquiError(
    'url-missing',
    `There is no ${usualDirectory} in ${process.cwd()}. Go to where your program runs, set CHASQUI_URL, or give --url.`,
  )
}

/** What the bus warns of, as one line each on standard error, in the words of its log. */
function logger(json: boolean): Logger {
  const says = (level: string) => (fields: object, message?: string) => {
    if (json) console.error(JSON.stringify({ level, message, ...fields }))
    else
      console.error(
        `chasqui: ${[message, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)].join(' ')}`,
      )
  }
  const quiet = () => {}
  return { debug: quiet, info: quiet, warn: says('warn'), error: says('error') }
}
