/**
 * What the commands that talk to an engine share: the URL, the bus, the signals that end them, and what they print on.
 *
 * The first SIGINT or SIGTERM fires the session's signal, so that a command finishes what it has begun; the second ends the
 * process as if nobody listened.
 */
import { existsSync } from 'node:fs'
import type { Bus, ConnectOptions, Logger } from '@chasqui/core'
import { ChasquiError, connect } from '@chasqui/core'
import { Option } from 'commander'
import { repeated } from './arguments.ts'
import { Output } from './output.ts'

/** What every such command takes. */
export interface SessionOptions {
  readonly url?: readonly string[]
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

export function urlOption(): Option {
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
  const output = new Output(process.stdout, options.json === true)
  const ended = new AbortController()
  const end = () => ended.abort()
  for (const name of endingSignals) process.once(name, end)
  output.onClosed(end)
  try {
    const bus = await connect(options.url, {
      name: 'chasqui-cli',
      logger: logger(options.json === true),
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
