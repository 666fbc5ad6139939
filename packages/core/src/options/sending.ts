/** Options of contracts, of sending, and of what is declared. */
import type { OptionTable } from './option.ts'
import { maxTimerMs } from './option.ts'

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
    ...requestOptions.timeoutMs,
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
