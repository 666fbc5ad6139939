/** `connect`: from a URL and options to a bus. Everything that can be wrong with either is said here, before anything is sent. */
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Driver, TlsOptions } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { Bus } from './bus.ts'
import type { IncomingMiddleware } from './consume/incoming.ts'
import type { ConsumeDefaults } from './consume/options.ts'
import { checkDefaults } from './consume/options.ts'
import { decodeBody, encodeBody } from './encode/encode.ts'
import { pipelineFormats } from './encode/pipeline-formats.ts'
import type { Format } from './format/format.ts'
import type { Drivers } from './load.ts'
import { checkDriver, checkDrivers, chooseUrls, loadDriver, servedBy } from './load.ts'
import { MessageBus } from './message-bus.ts'
import { EventHub } from './observe/events.ts'
import type { Logger, LogLevel } from './observe/logging.ts'
import { defaultLogger, logEvents, silentLogger } from './observe/logging.ts'
import { redactError, redactor, secretsOf } from './observe/redact.ts'
import { connectOptions } from './options/connecting.ts'
import { checkOptions } from './options/option.ts'
import type { OutgoingMiddleware } from './send/outgoing.ts'
import { validateIncoming, validateOutgoing } from './validate/validate.ts'

/** Options of `connect`. Units, defaults and bounds stand in the options table. */
export interface ConnectOptions {
  /** The application's name. Default: the name in the nearest package.json, else `chasqui`. */
  readonly name?: string
  /** Wins over the URL's. Default: CHASQUI_USERNAME, for engines that ask. */
  readonly username?: string
  /** Wins over the URL's. Default: CHASQUI_PASSWORD, for engines that ask. */
  readonly password?: string
  readonly tls?: TlsOptions
  /** How long connecting may take, in milliseconds. Default 10,000. */
  readonly connectTimeoutMs?: number
  /** How long a send waits for its confirm, an absent engine included, in milliseconds. Default 30,000. */
  readonly sendTimeoutMs?: number
  /** The longest encoded body, in bytes. Default 1,000,000. */
  readonly maxBodyBytes?: number
  /** Names and values of all headers of a message together, in bytes. Default 65,536. */
  readonly maxHeaderBytes?: number
  /** How many sends may wait for their confirm. Default 100,000. One more is refused with `buffer-full`. */
  readonly maxBufferedMessages?: number
  /** How many bytes of bodies may wait for their confirm. Default 268,435,456. */
  readonly maxBufferedBytes?: number
  /** An object of pino's shape; `false` for silence. Default: pino on stderr. */
  readonly logger?: Logger | false
  /** From which level on the default logger prints. Default: CHASQUI_LOG_LEVEL, else `warn`. */
  readonly logLevel?: LogLevel
  /** Counts what happens, for `bus.metrics()`. Default `false`, which costs nothing. */
  readonly metrics?: boolean
  /** More formats; one of the same name or content type replaces a built-in one. */
  readonly formats?: readonly Format[]
  /** The outgoing middleware, in order. Default: `[validateOutgoing, encodeBody]`. */
  readonly outgoing?: readonly OutgoingMiddleware[]
  /** The incoming middleware, in order; the handler follows. Default: `[decodeBody, validateIncoming]`. */
  readonly incoming?: readonly IncomingMiddleware[]
  /** Defaults for the consumers of this bus. */
  readonly consume?: ConsumeDefaults
  /** Drivers that Chasqui does not know, by the schemes of their URLs: the function `open`, or the package that exports it. */
  readonly drivers?: Drivers
  /** Options of the engine alone, checked by its driver. */
  readonly engine?: Readonly<Record<string, unknown>>
}

export const defaultOutgoing: readonly OutgoingMiddleware[] = Object.freeze([validateOutgoing, encodeBody])
export const defaultIncoming: readonly IncomingMiddleware[] = Object.freeze([decodeBody, validateIncoming])

/**
 * Connects to the engine that the URL names; without a URL to CHASQUI_URL, else to the embedded broker in `./.chasqui`. Several
 * URLs are several nodes of one engine. Rejects with `url-missing`, `url-invalid`, `scheme-unknown`, `package-missing`,
 * `option-invalid`, `connect-failed`, `connect-timeout`, `authentication-failed` and what else the table says of connecting.
 *
 *     await using bus = await connect('amqp://localhost')
 */
export async function connect(url?: string | readonly string[], options: ConnectOptions = {}): Promise<Bus> {
  const urls = chooseUrls(url, process.env)
  checkOptions(connectOptions, options, 'connect()')
  checkDrivers(options.drivers ?? {})
  const served = servedBy(urls, options.drivers)
  checkDefaults(options.consume ?? {})
  checkFunctions(options)
  const name = options.name ?? nearestPackageName(process.cwd()) ?? 'chasqui'
  const credentials = served.credentials ? credentialsOf(urls, options) : options
  const redact = redactor([options.password, credentials.password, ...urls.flatMap(secretsOf)])

  const events = new EventHub()
  const logger = await chooseLogger(options, name)
  // Loaded by those who count only.
  const Metrics = options.metrics ? (await import('./observe/metrics.ts')).Metrics : undefined
  const open = typeof served.driver === 'string' ? await loadDriver(served.driver, process.cwd()) : served.driver
  let driver: Driver
  try {
    driver = await open({
      urls,
      name,
      connectTimeoutMs: options.connectTimeoutMs ?? connectOptions.connectTimeoutMs.default,
      username: credentials.username,
      password: credentials.password,
      tls: options.tls,
      onWarning: sentence => logger.warn({}, redact(sentence)),
      engine: options.engine,
    })
    checkDriver(driver)
  } catch (error) {
    redactError(error, redact)
    if (isChasquiError(error)) throw error
    throw new ChasquiError('connect-failed', `Connecting failed: ${redact(String(error))}`, { cause: error })
  }
  const stopLogging = options.logger === false ? () => {} : logEvents(events, logger, redact)
  const bus = new MessageBus({
    driver,
    name,
    events,
    logger,
    formats: pipelineFormats(options.formats ?? [], driver.capabilities.properties.byReference),
    limits: {
      sendTimeoutMs: options.sendTimeoutMs ?? connectOptions.sendTimeoutMs.default,
      maxBodyBytes: options.maxBodyBytes ?? connectOptions.maxBodyBytes.default,
      maxHeaderBytes: options.maxHeaderBytes ?? connectOptions.maxHeaderBytes.default,
      maxBufferedMessages: options.maxBufferedMessages ?? connectOptions.maxBufferedMessages.default,
      maxBufferedBytes: options.maxBufferedBytes ?? connectOptions.maxBufferedBytes.default,
    },
    outgoing: options.outgoing ?? defaultOutgoing,
    incoming: options.incoming ?? defaultIncoming,
    consume: options.consume ?? {},
    metrics:
      Metrics &&
      (inFlight => {
        const metrics = new Metrics(driver.capabilities.engine, inFlight)
        metrics.listen(events)
        return metrics
      }),
    closed: stopLogging,
  })
  events.emit({ kind: 'connected', engine: driver.capabilities.engine })
  return bus
}

function checkFunctions(options: ConnectOptions): void {
  for (const name of ['outgoing', 'incoming'] as const) {
    if (options[name]?.every(step => typeof step === 'function') !== false) continue
    throw new ChasquiError('option-invalid', `connect(): \`${name}\` must be a list of functions.`)
  }
  for (const format of options.formats ?? []) {
    const usable =
      typeof format?.name === 'string' &&
      typeof format.contentType === 'string' &&
      typeof format.encode === 'function' &&
      typeof format.decode === 'function'
    if (!usable) {
      throw new ChasquiError(
        'option-invalid',
        'connect(): each of `formats` needs name, contentType, encode and decode.',
      )
    }
  }
}

/** Options first, then what the URL says (the driver reads it), then the environment. */
function credentialsOf(
  urls: readonly string[],
  options: ConnectOptions,
): { username: string | undefined; password: string | undefined } {
  const inUrl = urls.some(url => /^[a-z][a-z0-9+.-]*:\/\/[^/?#]*@/i.test(url))
  const { CHASQUI_USERNAME, CHASQUI_PASSWORD } = process.env
  return {
    username: options.username ?? (inUrl ? undefined : CHASQUI_USERNAME),
    password: options.password ?? (inUrl ? undefined : CHASQUI_PASSWORD),
  }
}

async function chooseLogger(options: ConnectOptions, name: string): Promise<Logger> {
  if (options.logger === false) return silentLogger
  if (options.logger !== undefined) return options.logger
  const level = options.logLevel ?? process.env.CHASQUI_LOG_LEVEL
  const known = connectOptions.logLevel.choices.find(choice => choice === level)
  if (level !== undefined && known === undefined) {
    throw new ChasquiError(
      'option-invalid',
      `CHASQUI_LOG_LEVEL must be one of ${connectOptions.logLevel.choices.join(', ')}, not "${level.slice(0, 40)}".`,
    )
  }
  return defaultLogger(name, known ?? connectOptions.logLevel.default)
}

/** The name in the package.json of this directory or the nearest one above. */
export function nearestPackageName(directory: string): string | undefined {
  for (let at = directory; ; at = dirname(at)) {
    try {
      const { name } = JSON.parse(readFileSync(join(at, 'package.json'), 'utf8')) as { name?: unknown }
      if (typeof name === 'string' && name !== '') return name
    } catch {
      // None here, or one that cannot be read: the next one above decides.
    }
    if (at === dirname(at)) return undefined
  }
}
