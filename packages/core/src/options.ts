/**
 * Every option that the core takes, once: unit, default, bounds, meaning. Options are checked against these tables,
 * defaults are read from them, and the reference in the docs is made from them. An option that is not here does not exist.
 */
import { ChasquiError } from '@chasqui/driver'

export interface OptionInfo {
  readonly type:
    | 'integer'
    | 'number'
    | 'string'
    | 'boolean'
    | 'function'
    | 'object'
    | 'list'
    | 'signal'
    | 'date'
    | 'logger'
    | 'moment'
    | 'delays'
    | 'error'
    | 'url'
    | 'audit'
    | 'any'
  /** Instead of the number, an object with options of its own. */
  readonly orObject?: true
  /** Instead of the object, `true` for its defaults. */
  readonly orTrue?: true
  readonly unit?: string
  /** What holds when the option is absent. A string for people where it is worked out at run time (`defaultText`). */
  readonly default?: number | string | boolean
  readonly defaultText?: string
  /** Bounds of a number, both included. */
  readonly minimum?: number
  readonly maximum?: number
  readonly choices?: readonly string[]
  readonly meaning: string
}
export type OptionTable = Readonly<Record<string, OptionInfo>>

/** The longest time that a Node timer can wait. */
const maxTimerMs = 2_147_483_647

export const contractOptions = {
  destination: { type: 'string', defaultText: "the type's name", meaning: 'The queue or topic of this type.' },
  lanes: {
    type: 'integer',
    unit: 'lanes',
    defaultText: "the engine's",
    minimum: 1,
    maximum: 1024,
    meaning: 'Units of order of the destination, fixed when it is created.',
  },
  key: { type: 'function', defaultText: 'no key', meaning: "Makes a message's key from its body." },
  format: { type: 'string', default: 'json', meaning: 'A content type, or the short name of a format.' },
  version: { type: 'integer', minimum: 1, maximum: 1_000_000, defaultText: 'none', meaning: "The contract's version." },
  stream: {
    type: 'boolean',
    default: false,
    meaning: 'The request is answered by a stream of items; the reply schema is that of one item. Requests only.',
  },
} as const satisfies OptionTable

export const sendOptions = {
  key: { type: 'string', defaultText: "the contract's key function", meaning: 'Messages of one key keep their order.' },
  headers: {
    type: 'object',
    defaultText: 'none',
    meaning: 'Strings, finite numbers and booleans by name; names that Chasqui or an engine reserves are refused.',
  },
  delayMs: {
    type: 'integer',
    unit: 'ms',
    default: 0,
    minimum: 0,
    maximum: 3_155_760_000_000,
    meaning: 'Not to be delivered before this much time has passed.',
  },
  at: { type: 'date', defaultText: 'now', meaning: 'Not to be delivered before this moment; the past means now.' },
  ttlMs: {
    type: 'integer',
    unit: 'ms',
    defaultText: 'for ever',
    minimum: 1,
    maximum: 3_155_760_000_000,
    meaning: 'After this much time the message is not delivered any more.',
  },
  signal: { type: 'signal', defaultText: 'none', meaning: 'Gives up waiting; the message may have left already.' },
  durable: {
    type: 'boolean',
    default: true,
    meaning: 'The message, and the destination if this call creates it, survive a restart of the engine.',
  },
  declare: { type: 'string', choices: ['never'], defaultText: 'create what is absent', meaning: 'Create nothing.' },
} as const satisfies OptionTable

export const sendBatchOptions = {
  ...sendOptions,
  inFlight: {
    type: 'integer',
    unit: 'messages',
    default: 1000,
    minimum: 1,
    maximum: 100_000,
    meaning: 'How many items of the batch may be unconfirmed at once.',
  },
} as const satisfies OptionTable

export const requestOptions = {
  ...sendOptions,
  timeoutMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How long to wait for the reply.',
  },
} as const satisfies OptionTable

export const streamOptions = {
  ...sendOptions,
  timeoutMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How long to wait for the first item, and for each one after it.',
  },
  window: {
    type: 'integer',
    unit: 'items',
    default: 100,
    minimum: 1,
    maximum: 10_000,
    meaning: 'How many items the handler may be ahead of the loop that reads them.',
  },
} as const satisfies OptionTable

/** The longest delay of a retry: the longest time that a Node timer can wait, in milliseconds. */
export const maxDelayMs = maxTimerMs

export const retryOptions = {
  attempts: {
    type: 'integer',
    unit: 'attempts',
    default: 5,
    defaultText: '5; as many as `delays` and `immediate` make; no limit with `deadlineMs` alone',
    minimum: 1,
    maximum: 1000,
    meaning: 'How often a handler is tried, the first time included, before the message is dead-lettered.',
  },
  immediate: {
    type: 'integer',
    unit: 'retries',
    default: 0,
    minimum: 0,
    maximum: 999,
    meaning: 'How many of the retries, the first ones, come at once; those after them are delayed.',
  },
  delays: {
    type: 'delays',
    defaultText: 'firstMs 1,000, factor 2, maxMs 60,000, jitter 0.2',
    meaning:
      'Milliseconds before each delayed retry, of which the last repeats (an empty list: none waits), or a backoff (see its options).',
  },
  deadlineMs: {
    type: 'integer',
    unit: 'ms',
    defaultText: 'none',
    minimum: 1,
    maximum: maxDelayMs,
    meaning: 'No attempt begins later than this after the first one failed.',
  },
  rules: {
    type: 'list',
    defaultText: 'none',
    meaning:
      'What holds for some errors: `when` (an error class, a code, or a predicate) and either `fatal: true` or other retry options; the first that fits counts.',
  },
} as const satisfies OptionTable

/** The fields of `delays` where it is a backoff. */
export const backoffOptions = {
  firstMs: { type: 'integer', unit: 'ms', default: 1000, minimum: 1, maximum: maxDelayMs, meaning: 'The first delay.' },
  factor: {
    type: 'number',
    default: 2,
    minimum: 1,
    maximum: 100,
    meaning: 'How many times as long each delay is as the one before.',
  },
  maxMs: {
    type: 'integer',
    unit: 'ms',
    default: 60_000,
    minimum: 1,
    maximum: maxDelayMs,
    meaning: 'The longest delay.',
  },
  jitter: {
    type: 'number',
    default: 0.2,
    minimum: 0,
    maximum: 1,
    meaning:
      'The share by which a delay may be longer, at random, so that messages that failed together come back apart.',
  },
} as const satisfies OptionTable

export const consumeOptions = {
  concurrency: {
    type: 'integer',
    orObject: true,
    unit: 'handlers',
    default: 10,
    minimum: 1,
    maximum: 100_000,
    meaning:
      'How many handlers of this consumer run at once, or a goal for it to find itself (see its options). `ordered` makes it 1.',
  },
  window: {
    type: 'integer',
    unit: 'messages',
    default: 100,
    defaultText: '100; 1,000 on ordered sources',
    minimum: 1,
    maximum: 65_535,
    meaning: 'How many deliveries may be unsettled; at least the concurrency.',
  },
  ordered: { type: 'boolean', default: false, meaning: 'One message at a time, in order, across processes.' },
  orderBy: {
    type: 'string',
    choices: ['key'],
    defaultText: 'no order',
    meaning: 'Messages of one key are handled in order, one at a time; other keys go on.',
  },
  timeoutMs: {
    type: 'integer',
    unit: 'ms',
    defaultText: 'no limit',
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How long one attempt of a handler may take.',
  },
  durable: { type: 'boolean', default: true, meaning: 'Whether the destination is durable if this call creates it.' },
  declare: { type: 'string', choices: ['never'], defaultText: 'create what is absent', meaning: 'Create nothing.' },
  lanes: contractOptions.lanes,
  from: { type: 'moment', defaultText: 'what is not yet acknowledged', meaning: 'Where to start reading a log.' },
  signal: { type: 'signal', defaultText: 'none', meaning: 'Stops the consumer at once; running messages go back.' },
  faults: {
    type: 'boolean',
    default: false,
    meaning: 'Publishes the original to the topic NAME.fault when a message is dead-lettered.',
  },
  onError: { type: 'function', defaultText: 'none', meaning: 'Sees each failed attempt.' },
  retry: {
    type: 'object',
    defaultText: '5 attempts, backing off',
    meaning: 'How often to try (see the retry options).',
  },
  rateLimit: {
    type: 'object',
    defaultText: 'no limit',
    meaning: 'How many messages may begin in a second (see its options).',
  },
  circuitBreaker: {
    type: 'object',
    orTrue: true,
    defaultText: 'off',
    meaning: 'Pauses while what the handler needs is down (see its options).',
  },
  fair: {
    type: 'object',
    orTrue: true,
    defaultText: 'off',
    meaning: 'Takes turns between tenants, within the window (see its options). Not on ordered sources.',
  },
  stallMs: {
    type: 'integer',
    unit: 'ms',
    default: 60_000,
    minimum: 10,
    maximum: maxTimerMs,
    meaning: 'After so long with messages waiting and none handled the consumer is unhealthy and is rebuilt.',
  },
} as const satisfies OptionTable

/** A handler in worker threads. */
export const workerOptions = {
  worker: {
    type: 'url',
    defaultText: 'to be given',
    meaning: 'The module whose default export handles the messages.',
  },
  threads: {
    type: 'integer',
    unit: 'threads',
    defaultText: "one less than the machine's cores",
    minimum: 1,
    maximum: 1024,
    meaning: 'How many threads at most, each with one message at a time; also the default of `concurrency`.',
  },
  maxHeapMb: {
    type: 'integer',
    unit: 'MiB',
    defaultText: "Node's for a thread",
    minimum: 8,
    maximum: 1_048_576,
    meaning: "How large a thread's heap may grow; beyond it the thread dies, and costs its message an attempt.",
  },
} as const satisfies OptionTable

/** What is left to say of batches: the rest is as for single messages. `ordered` makes none. */
const { ordered: _, ...unordered } = consumeOptions

export const batchOptions = {
  size: {
    type: 'integer',
    unit: 'messages',
    default: 100,
    minimum: 1,
    maximum: 10_000,
    meaning: 'How many messages a batch holds at most.',
  },
  maxAgeMs: {
    type: 'integer',
    unit: 'ms',
    default: 1000,
    minimum: 0,
    maximum: 3_600_000,
    meaning: 'How long the oldest message of a batch waits for more; nothing that comes later restarts the time.',
  },
  ...unordered,
  concurrency: {
    type: 'integer',
    unit: 'batches',
    default: 1,
    minimum: 1,
    maximum: 1000,
    meaning: 'How many batches of this consumer run at once.',
  },
  window: {
    ...consumeOptions.window,
    defaultText: 'twice `size` x `concurrency`, at least 100 (1,000 with `orderBy`)',
    meaning: 'How many deliveries may be unsettled; at least `size` x `concurrency`.',
  },
  timeoutMs: {
    ...consumeOptions.timeoutMs,
    meaning: 'How long one call of the handler may take, for a batch or a part of one.',
  },
} as const satisfies OptionTable

/** `concurrency` as a goal. */
export const tuningOptions = {
  goalMs: {
    type: 'number',
    unit: 'ms',
    defaultText: 'to be given',
    minimum: 0.001,
    maximum: maxTimerMs,
    meaning: 'How long nine of ten attempts should take at most.',
  },
  min: {
    type: 'integer',
    default: 1,
    minimum: 1,
    maximum: 100_000,
    meaning: 'The fewest handlers at once; it begins there.',
  },
  max: { type: 'integer', default: 100, minimum: 1, maximum: 100_000, meaning: 'The most handlers at once.' },
} as const satisfies OptionTable

export const rateLimitOptions = {
  perSecond: {
    type: 'number',
    defaultText: 'to be given',
    minimum: 0.001,
    maximum: 1_000_000,
    meaning: 'How many messages may begin in a second, on average.',
  },
  burst: {
    type: 'integer',
    defaultText: 'what one second gives, at least 1',
    minimum: 1,
    maximum: 1_000_000,
    meaning: 'How many may begin at once after a rest.',
  },
} as const satisfies OptionTable

export const circuitBreakerOptions = {
  failures: {
    type: 'integer',
    default: 10,
    minimum: 1,
    maximum: 100_000,
    meaning: 'So many failed attempts within `windowMs` open the circuit: no handler begins.',
  },
  windowMs: {
    type: 'integer',
    unit: 'ms',
    default: 10_000,
    minimum: 1,
    maximum: maxTimerMs,
    meaning: 'How far back failures count.',
  },
  openMs: {
    type: 'integer',
    unit: 'ms',
    default: 30_000,
    minimum: 1,
    maximum: 300_000,
    meaning: 'How long it stays open; then one message probes: if it succeeds the circuit closes, else it opens again.',
  },
  when: {
    type: 'error',
    defaultText: 'every failure',
    meaning: 'Which failures count: an error class, a code, or a function that says yes.',
  },
} as const satisfies OptionTable

export const fairOptions = {
  header: { type: 'string', defaultText: "the message's tenant id", meaning: 'The header that names the tenant.' },
  weights: {
    type: 'object',
    defaultText: '1 each',
    meaning: 'How many messages each tenant may begin in its turn, by name: 1 to 1,000.',
  },
} as const satisfies OptionTable

export const tenantWeight: OptionInfo = { type: 'integer', minimum: 1, maximum: 1000, meaning: 'Messages a turn.' }

/** What `plan` and `declare` take beside contracts. */
export const destinationOptions = {
  queue: { type: 'string', defaultText: 'none', meaning: 'The name of a queue; its dead-letter queue comes with it.' },
  topic: {
    type: 'string',
    defaultText: 'none',
    meaning: 'The name of a topic, or its event; with `subscription`, of the topic subscribed to.',
  },
  subscription: { type: 'string', defaultText: 'none', meaning: 'The name of a subscription of the topic.' },
  lanes: contractOptions.lanes,
  durable: { type: 'boolean', default: true, meaning: 'Survives a restart of the engine.' },
} as const satisfies OptionTable

export const receiveOptions = {
  subscription: {
    type: 'string',
    defaultText: 'none: from a queue',
    meaning: 'The subscription of the topic to receive from.',
  },
  window: consumeOptions.window,
  signal: { type: 'signal', defaultText: 'none', meaning: 'Ends the loop; what is open goes back.' },
  durable: consumeOptions.durable,
  declare: consumeOptions.declare,
  lanes: contractOptions.lanes,
} as const satisfies OptionTable

/** Which dead letters are meant. */
export const deadLetterFilter = {
  error: { type: 'string', defaultText: 'any', meaning: "The error's code, or the name of its class." },
  type: { type: 'string', defaultText: 'any', meaning: "The message's type." },
  key: { type: 'string', defaultText: 'any', meaning: "The message's key." },
  since: { type: 'date', defaultText: 'any time', meaning: 'Failed for the last time at this moment or later.' },
  until: { type: 'date', defaultText: 'any time', meaning: 'Failed for the last time before this moment.' },
  ids: { type: 'list', defaultText: 'any', meaning: 'Ids of messages.' },
  where: { type: 'function', defaultText: 'none', meaning: 'Says yes to a letter that all the rest holds for.' },
} as const satisfies OptionTable

/** What `edit` changes of a letter. */
export const deadLetterChange = {
  body: {
    type: 'any',
    defaultText: 'as it is',
    meaning: 'The new body: a Uint8Array as it is to be, anything else to be written as its content type says.',
  },
  headers: { type: 'object', defaultText: 'as they are', meaning: 'Headers to set; `undefined` takes one off.' },
  key: { type: 'string', defaultText: 'as it is', meaning: 'Another key.' },
} as const satisfies OptionTable

export const deadLetterListOptions = {
  limit: {
    type: 'integer',
    unit: 'letters',
    defaultText: 'no limit',
    minimum: 1,
    maximum: Number.MAX_SAFE_INTEGER,
    meaning: 'Ends after so many letters that fit.',
  },
  signal: { type: 'signal', defaultText: 'none', meaning: 'Ends it; what is done is done.' },
} as const satisfies OptionTable

/** What `redrive`, `edit` and `discard` take. */
export const deadLetterMoveOptions = {
  ...deadLetterListOptions,
  dryRun: { type: 'boolean', default: false, meaning: 'Counts what would be done, and does nothing.' },
  ratePerSecond: {
    type: 'number',
    unit: 'letters per second',
    defaultText: 'as fast as the engine goes',
    minimum: 0.01,
    maximum: 1_000_000,
    meaning: 'At most so many in any second.',
  },
  onProgress: { type: 'function', defaultText: 'none', meaning: 'Is told how far it is, after each group of letters.' },
  by: { type: 'string', defaultText: "the bus's name", meaning: 'Who does it, for the record.' },
  audit: {
    type: 'audit',
    defaultText: 'none',
    meaning: 'Takes a record of each letter: the path of a file for JSON lines, or a function.',
  },
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

/** The consume options whose defaults `connect` can change. */
export const consumeDefaults = {
  concurrency: consumeOptions.concurrency,
  window: consumeOptions.window,
  timeoutMs: consumeOptions.timeoutMs,
  retry: consumeOptions.retry,
} as const satisfies OptionTable

/** All tables by the name of what takes them, for the generated reference. */
export const optionTables = {
  connect: connectOptions,
  contract: contractOptions,
  send: sendOptions,
  sendBatch: sendBatchOptions,
  request: requestOptions,
  stream: streamOptions,
  consume: consumeOptions,
  batch: batchOptions,
  worker: workerOptions,
  retry: retryOptions,
  backoff: backoffOptions,
  tuning: tuningOptions,
  rateLimit: rateLimitOptions,
  circuitBreaker: circuitBreakerOptions,
  fair: fairOptions,
  receive: receiveOptions,
  destination: destinationOptions,
  deadLetterFilter,
  deadLetterChange,
  deadLetterList: deadLetterListOptions,
  deadLetterMove: deadLetterMoveOptions,
  close: closeOptions,
} as const satisfies Record<string, OptionTable>

/** Checks names, types and bounds of what was given; `where` begins the sentence. Throws `option-invalid`. */
export function checkOptions(table: OptionTable, given: object, where: string): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw new ChasquiError('option-invalid', `${where} takes an object of options, not ${describe(given)}.`)
  }
  for (const name in given) {
    const value = (given as Record<string, unknown>)[name]
    const info = Object.hasOwn(table, name) ? table[name] : undefined
    if (info === undefined) throw unknownOption(table, name, where)
    if (value !== undefined) checkValue(name, value, info, where)
  }
}

/** The known word that looks most like the one given, if any is near. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 2))
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance || (distance === bestDistance && best === undefined)) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

function unknownOption(table: OptionTable, name: string, where: string): ChasquiError {
  const known = Object.keys(table)
  const near = nearest(name, known)
  const hint = near === undefined ? `Known are ${known.join(', ')}.` : `Did you mean \`${near}\`?`
  return new ChasquiError('option-invalid', `${where} has no option \`${name.slice(0, 60)}\`. ${hint}`, {
    details: { option: name, ...(near === undefined ? {} : { nearest: near }) },
  })
}

function checkValue(name: string, value: unknown, info: OptionInfo, where: string): void {
  const expected = mismatch(value, info)
  if (expected === undefined) return
  throw new ChasquiError('option-invalid', `${where}: \`${name}\` must be ${expected}, not ${describe(value)}.`, {
    details: { option: name },
  })
}

/** What should have been there instead of the value; `undefined` when it is right. */
function mismatch(value: unknown, info: OptionInfo): string | undefined {
  switch (info.type) {
    case 'integer': {
      if (info.orObject && typeof value === 'object' && value !== null) return undefined
      const { minimum = 0, maximum = Number.MAX_SAFE_INTEGER } = info
      if (Number.isSafeInteger(value) && (value as number) >= minimum && (value as number) <= maximum) return undefined
      return `a whole number${info.unit === undefined ? '' : ` of ${info.unit}`} from ${minimum} to ${maximum}`
    }
    case 'number': {
      const { minimum = 0, maximum = Number.MAX_VALUE } = info
      if (typeof value === 'number' && value >= minimum && value <= maximum) return undefined
      return `a number${info.unit === undefined ? '' : ` of ${info.unit}`} from ${minimum} to ${maximum}`
    }
    case 'string':
      if (info.choices !== undefined) {
        return info.choices.includes(value as string)
          ? undefined
          : `one of ${info.choices.map(c => `'${c}'`).join(', ')}`
      }
      return typeof value === 'string' ? undefined : 'a string'
    case 'boolean':
      return typeof value === 'boolean' ? undefined : 'true or false'
    case 'function':
      return typeof value === 'function' ? undefined : 'a function'
    case 'list':
      return Array.isArray(value) ? undefined : 'a list'
    case 'signal':
      return value instanceof AbortSignal ? undefined : 'an AbortSignal'
    case 'date':
      return value instanceof Date && !Number.isNaN(value.getTime()) ? undefined : 'a valid Date'
    case 'moment':
      if (value === 'earliest' || (value instanceof Date && !Number.isNaN(value.getTime()))) return undefined
      return "'earliest' or a valid Date"
    case 'logger':
      return value === false || isLogger(value) ? undefined : 'a logger (debug, info, warn, error) or false'
    case 'url':
      return value instanceof URL ? undefined : "a URL, as in new URL('./resize.ts', import.meta.url)"
    case 'error':
      return typeof value === 'function' || typeof value === 'string'
        ? undefined
        : 'an error class, a code, or a function'
    case 'any':
      return undefined
    case 'audit':
      return typeof value === 'function' || (typeof value === 'string' && value !== '')
        ? undefined
        : 'the path of a file, or a function'
    case 'delays':
      if (Array.isArray(value)) return value.every(isDelay) ? undefined : `whole numbers of ms from 0 to ${maxDelayMs}`
      return typeof value === 'object' && value !== null ? undefined : 'a list of ms, or a backoff'
    case 'object':
      if (info.orTrue && value === true) return undefined
      return typeof value === 'object' && value !== null && !Array.isArray(value) ? undefined : 'an object'
  }
}

function isDelay(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= maxDelayMs
}

function isLogger(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const methods = value as Record<string, unknown>
  return ['debug', 'info', 'warn', 'error'].every(level => typeof methods[level] === 'function')
}

/** Names a wrong value without printing more of it than a number: options may hold secrets. */
function describe(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  if (value === null || value === undefined) return String(value)
  return Array.isArray(value) ? 'a list' : `a value of type ${typeof value}`
}

/** Levenshtein's distance by one row of the table. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const substitution = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, substitution))
    }
    row = next
  }
  return row[b.length]!
}
