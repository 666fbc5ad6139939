/** Options of receiving and handling. */
import type { OptionTable } from './option.ts'
import { maxTimerMs } from './option.ts'
import { contractOptions } from './sending.ts'

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
