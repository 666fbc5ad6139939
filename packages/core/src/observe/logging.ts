/**
 * Logs, made of events: quiet while all is well (`debug` for each message, `info` for lifecycle), `warn` for what is
 * tried again, `error` for what needs a person. The logger has pino's shape; pino itself, on stderr, is the default.
 */
import { createRequire } from 'node:module'
import type { BusEvent, EventHub, EventKind } from './events.ts'

export type LogMethod = (fields: object, message?: string) => void
export interface Logger {
  debug: LogMethod
  info: LogMethod
  warn: LogMethod
  error: LogMethod
}
export type LogLevel = 'debug' | 'info' | 'warn' | 'error'

/** From most to least talkative. */
const levels = ['debug', 'info', 'warn', 'error'] as const satisfies readonly LogLevel[]

/** The level of each kind of event and what is said. `undefined` fields are left out. */
const lines: { readonly [K in EventKind]: { readonly level: LogLevel; readonly says: string } } = {
  sent: { level: 'debug', says: 'sent' },
  'send-failed': { level: 'debug', says: 'send failed' },
  'send-refused': { level: 'debug', says: 'send refused' },
  received: { level: 'debug', says: 'received' },
  handled: { level: 'debug', says: 'handled' },
  'attempt-failed': { level: 'warn', says: 'attempt failed' },
  retried: { level: 'debug', says: 'trying again' },
  'delay-cut': { level: 'warn', says: 'trying again sooner than asked' },
  'retry-held': { level: 'warn', says: 'could not be put aside for its next attempt; held here' },
  'dead-lettered': { level: 'error', says: 'dead-lettered' },
  'dead-letter-failed': { level: 'error', says: 'could not be dead-lettered; kept and tried again' },
  redriven: { level: 'info', says: 'a dead letter was sent back' },
  discarded: { level: 'info', says: 'a dead letter was deleted' },
  released: { level: 'debug', says: 'released' },
  unrouted: { level: 'warn', says: 'no route takes this type' },
  replied: { level: 'debug', says: 'replied' },
  'request-cancelled': { level: 'info', says: 'cancelled by its requester' },
  streamed: { level: 'debug', says: 'a stream of replies ended' },
  'late-reply': { level: 'debug', says: 'a reply came that nobody waits for' },
  settled: { level: 'debug', says: 'settled' },
  'settled-late': { level: 'warn', says: 'settled after the connection had gone; delivered again' },
  'hook-failed': { level: 'warn', says: 'a hook failed' },
  'driver-failed': { level: 'warn', says: 'the driver failed' },
  connected: { level: 'info', says: 'connected' },
  state: { level: 'info', says: 'connection state' },
  reconnected: { level: 'info', says: 'reconnected' },
  'consumer-started': { level: 'info', says: 'consumer started' },
  'bound-reached': { level: 'warn', says: 'fetching no more while so many wait for their next attempt' },
  'circuit-opened': { level: 'warn', says: 'circuit opened: handlers wait' },
  'circuit-probing': { level: 'info', says: 'circuit probed with one message' },
  'circuit-closed': { level: 'info', says: 'circuit closed: handlers run' },
  'concurrency-changed': { level: 'debug', says: 'concurrency changed' },
  'consumer-stalled': { level: 'error', says: 'messages wait and none is handled; rebuilding the consumer' },
  'consumer-paused': { level: 'info', says: 'consumer paused' },
  'consumer-resumed': { level: 'info', says: 'consumer resumed' },
  'consumer-stopped': { level: 'info', says: 'consumer stopped' },
  'consumer-failed': { level: 'error', says: 'consumer failed' },
  closed: { level: 'info', says: 'closed' },
}

/**
 * Writes events to the logger. Listens only to kinds that the logger prints, where it tells (`isLevelEnabled`, as pino's does);
 * returns the function that ends it.
 */
export function logEvents(events: EventHub, logger: Logger, redact: (text: string) => string): () => void {
  const prints = (level: LogLevel) => {
    const asked = (logger as { isLevelEnabled?: unknown }).isLevelEnabled
    return typeof asked === 'function' ? Boolean(asked.call(logger, level)) : true
  }
  const printed = new Set(levels.filter(prints))
  const kinds = (Object.keys(lines) as EventKind[]).filter(kind => printed.has(lines[kind].level))
  return events.listen(event => {
    const { level, says } = lines[event.kind]
    const important = event.kind === 'state' && event.state !== 'up' ? 'warn' : level
    logger[important](logFields(event, redact), says)
  }, kinds)
}

/** The event's facts as flat fields; errors become their code and sentence. */
function logFields(event: BusEvent, redact: (text: string) => string): object {
  const fields: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(event)) {
    if (name === 'kind' || value === undefined) continue
    if (name === 'error') Object.assign(fields, errorFields(value, redact))
    else if (name === 'durationMs' || name === 'pipelineMs') fields[name] = Math.round((value as number) * 1000) / 1000
    // The word that people search logs for, also where it is a subscription's.
    else if (name === 'source') fields.queue = value
    else fields[name] = typeof value === 'string' ? redact(value) : value
  }
  return fields
}

function errorFields(error: unknown, redact: (text: string) => string): object {
  if (!(error instanceof Error)) return { error: redact(String(error)).slice(0, 500) }
  const code = (error as { code?: unknown }).code
  return {
    code: typeof code === 'string' ? code : 'handler-failed',
    error: redact(`${error.name}: ${error.message}`).slice(0, 500),
  }
}

/** A logger that adds the same fields to each line: what handlers get as `ctx.log`. */
export function boundLogger(logger: Logger, bound: object): Logger {
  return {
    debug: (fields, message) => logger.debug({ ...bound, ...fields }, message),
    info: (fields, message) => logger.info({ ...bound, ...fields }, message),
    warn: (fields, message) => logger.warn({ ...bound, ...fields }, message),
    error: (fields, message) => logger.error({ ...bound, ...fields }, message),
  }
}

export const silentLogger: Logger = { debug: nothing, info: nothing, warn: nothing, error: nothing }

/** pino on stderr: readable lines on a terminal where pino-pretty is installed, JSON elsewhere. */
export async function defaultLogger(name: string, level: LogLevel): Promise<Logger> {
  const { pino } = await import('pino')
  const options = { name, level }
  const pretty = process.stderr.isTTY ? await prettyStream() : undefined
  const logger: Logger = pino(options, pretty ?? pino.destination({ fd: 2, sync: true }))
  return logger
}

/** pino-pretty is the application's to install; its absence is no failure. */
async function prettyStream(): Promise<NodeJS.WritableStream | undefined> {
  const fromApplication = createRequire(`${process.cwd()}/package.json`)
  let path: string
  try {
    path = fromApplication.resolve('pino-pretty')
  } catch {
    // Not installed: JSON lines.
    return undefined
  }
  const { default: build } = (await import(path)) as {
    default: (options: object) => NodeJS.WritableStream
  }
  return build({ destination: 2, sync: true, ignore: 'pid,hostname', singleLine: true })
}

function nothing(): void {}
