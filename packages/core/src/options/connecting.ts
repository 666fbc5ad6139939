/** Options of the bus itself. */
import { consumeOptions } from './consuming.ts'
import type { OptionTable } from './option.ts'
import { maxTimerMs } from './option.ts'

export const connectOptions = {
  name: {
    type: 'string',
    defaultText: "the name in the nearest package.json, else 'chasqui'",
    meaning: "The application's name: the CloudEvents source of its messages, and what the engine's tools show.",
  },
  username: { type: 'string', defaultText: "the URL's, else CHASQUI_USERNAME", meaning: 'Wins over the URL.' },
  password: { type: 'string', defaultText: "the URL's, else CHASQUI_PASSWORD", meaning: 'Wins over the URL.' },
  tls: {
    type: 'object',
    defaultText: "the system's authorities",
    meaning: 'ca, cert, key, servername, rejectUnauthorized.',
  },
  connectTimeoutMs: {
    type: 'integer',
    unit: 'ms',
    default: 10_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How long connecting may take.',
  },
  sendTimeoutMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How long a send waits for its confirm, an absent engine included.',
  },
  maxBodyBytes: {
    type: 'integer',
    unit: 'bytes',
    default: 1_000_000,
    minimum: 1,
    maximum: 2_147_483_647,
    meaning: 'The longest encoded body; a longer one is refused before it reaches the wire.',
  },
  maxHeaderBytes: {
    type: 'integer',
    unit: 'bytes',
    default: 65_536,
    minimum: 1024,
    maximum: 1_048_576,
    meaning: 'Names and values of all headers of a message together.',
  },
  maxBufferedMessages: {
    type: 'integer',
    unit: 'messages',
    default: 100_000,
    minimum: 1,
    maximum: 10_000_000,
    meaning: 'How many sends may wait for their confirm; one more is refused with `buffer-full`.',
  },
  maxBufferedBytes: {
    type: 'integer',
    unit: 'bytes',
    default: 268_435_456,
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    meaning: 'How many bytes of bodies may wait for their confirm; beyond it sends are refused with `buffer-full`.',
  },
  logger: { type: 'logger', defaultText: 'pino on stderr', meaning: "An object of pino's shape; false for silence." },
  metrics: { type: 'boolean', default: false, meaning: 'Counts what happens, for `bus.metrics()`.' },
  logLevel: {
    type: 'string',
    choices: ['debug', 'info', 'warn', 'error'],
    default: 'warn',
    defaultText: 'CHASQUI_LOG_LEVEL, else warn',
    meaning: 'From which level on the default logger prints.',
  },
  formats: {
    type: 'list',
    defaultText: 'json, text, bytes',
    meaning: 'More formats; one of the same name or content type replaces.',
  },
  outgoing: {
    type: 'list',
    defaultText: 'validateOutgoing, encodeBody',
    meaning: 'The outgoing middleware, in order.',
  },
  incoming: {
    type: 'list',
    defaultText: 'decodeBody, validateIncoming',
    meaning: 'The incoming middleware, in order.',
  },
  consume: {
    type: 'object',
    defaultText: 'none',
    meaning: 'Defaults for this bus: concurrency, window, timeoutMs, retry.',
  },
  drivers: {
    type: 'object',
    defaultText: 'none',
    meaning:
      'Drivers by the schemes of their URLs, for engines that Chasqui does not know: the function `open`, or the package that exports it.',
  },
  engine: { type: 'object', defaultText: 'none', meaning: 'Options of the engine alone, checked by its driver.' },
} as const satisfies OptionTable

export const closeOptions = {
  deadlineMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 0,
    maximum: maxTimerMs,
    meaning: 'How long running handlers may take to finish; then their signal fires and their messages go back.',
  },
} as const satisfies OptionTable

/** The consume options whose defaults `connect` can change. */
export const consumeDefaults = {
  concurrency: consumeOptions.concurrency,
  window: consumeOptions.window,
  timeoutMs: consumeOptions.timeoutMs,
  retry: consumeOptions.retry,
} as const satisfies OptionTable
