/** The options of consuming, checked against the table and against what the engine can do. */
import type { Capabilities, ReceiveOrder } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import { consumeDefaults } from '../options/connecting.ts'
import { consumeOptions } from '../options/consuming.ts'
import { checkOptions } from '../options/option.ts'
import {
  circuitBreakerOptions,
  fairOptions,
  rateLimitOptions,
  tenantWeight,
  tuningOptions,
} from '../options/steering.ts'
import type { RetryOptions, RetryPolicy } from '../retry/policy.ts'
import { longestWait, maxHoldMs, retryPolicy } from '../retry/policy.ts'
import type { Wanted } from '../send/destinations.ts'
import type { CircuitBreakerOptions, CircuitBreakerParts } from './circuit-breaker.ts'
import type { FairOptions } from './fair-order.ts'
import type { Context } from './incoming.ts'
import type { RateLimitOptions } from './rate-limit.ts'
import type { TuningOptions } from './tuning.ts'

export interface ConsumeOptions {
  /** How many handlers run at once: 1 to 100,000, or a goal for it to find itself. Default 10; 1 with `ordered`. */
  readonly concurrency?: number | TuningOptions
  /** How many deliveries may be unsettled: 1 to 65,535. Default 100, on ordered sources 1,000; at least the concurrency. */
  readonly window?: number
  /** Strictly one message at a time in order, across processes. Default `false`. `unsupported` where the engine cannot. */
  readonly ordered?: boolean
  /**
   * Messages of one key are handled one after another, in order, also while one of them waits for a delayed attempt; other keys
   * go on, up to the window. Messages without key share one. Default: no order. `unsupported` where the engine cannot.
   */
  readonly orderBy?: 'key'
  /** How long one attempt may take, in milliseconds; then its signal fires and it counts as failed. Default: no limit. */
  readonly timeoutMs?: number
  /** Whether the destination is durable if this call creates it. Default `true`. */
  readonly durable?: boolean
  /** `'never'`: an absent destination is the error `destination-missing`. Default: it is created. */
  readonly declare?: 'never'
  /** Units of order of the destination, if this call creates it: 1 to 1024. */
  readonly lanes?: number
  /** Where to start reading a log. `unsupported` where the engine keeps no history. */
  readonly from?: 'earliest' | Date
  /** Stops the consumer at once; running messages go back. */
  readonly signal?: AbortSignal
  /** Publishes the intact original to the topic NAME.fault when a message is dead-lettered. Default `false`. */
  readonly faults?: boolean
  /** Sees each failed attempt. Its own failure is the event `hook-failed` and changes nothing else. */
  readonly onError?: (error: unknown, ctx: Context) => void | Promise<void>
  /** How often to try, after how long, and what to treat differently. Default: 5 attempts with growing delays. */
  readonly retry?: RetryOptions
  /** How many messages may begin in a second. Default: no limit. */
  readonly rateLimit?: RateLimitOptions
  /** Pauses while what the handler needs is down. `true`: with the defaults. Default: off. */
  readonly circuitBreaker?: true | CircuitBreakerOptions
  /** Takes turns between tenants. `true`: by the message's tenant id. Not on ordered sources. Default: off. */
  readonly fair?: true | FairOptions
  /**
   * After so long with messages waiting and none handled the consumer counts as unhealthy and is rebuilt, in milliseconds.
   * Default 60,000.
   */
  readonly stallMs?: number
}

export interface ReceiveOptions {
  /** Receives from this subscription of the topic, instead of from a queue. Absent for queues, demanded for events. */
  readonly subscription?: string
  /** How many deliveries may be unsettled: 1 to 65,535. Default 100. */
  readonly window?: number
  /** Ends the loop; what is open goes back. */
  readonly signal?: AbortSignal
  readonly durable?: boolean
  readonly declare?: 'never'
  readonly lanes?: number
}

/** Defaults for all consumers of a bus. */
export interface ConsumeDefaults {
  readonly concurrency?: number | TuningOptions
  readonly window?: number
  readonly timeoutMs?: number
  readonly retry?: RetryOptions
}

/** The options as the consumer uses them. */
export interface ConsumeSettings {
  readonly concurrency: number
  readonly tuning: Required<TuningOptions> | undefined
  readonly window: number
  readonly order: ReceiveOrder
  readonly timeoutMs: number | undefined
  readonly wanted: Wanted
  readonly signal: AbortSignal | undefined
  readonly faults: boolean
  readonly onError: ConsumeOptions['onError']
  readonly retry: RetryPolicy
  readonly rateLimit: RateLimitOptions | undefined
  readonly circuitBreaker: CircuitBreakerParts['options'] | undefined
  readonly fair: FairOptions | undefined
  readonly stallMs: number
}

export function checkDefaults(defaults: ConsumeDefaults): void {
  checkOptions(consumeDefaults, defaults, "connect()'s `consume`")
  if (typeof defaults.concurrency === 'object') tuningOf(defaults.concurrency, "connect()'s `consume`")
  retryPolicy(defaults.retry, {}, "connect()'s `consume.retry`")
}

/** How many deliveries of an ordered source may be unsettled: those that wait for an attempt keep others of their key waiting. */
const orderedWindow = 1000

/** Checks and completes what was given. Throws `option-invalid`, `unsupported`, `policy-invalid` and `policy-not-orderable`. */
export function consumeSettings(
  given: ConsumeOptions,
  defaults: ConsumeDefaults,
  capabilities: Capabilities,
  contractLanes: number | undefined,
  where: string,
): ConsumeSettings {
  checkOptions(consumeOptions, given, where)
  const { engine, operations } = capabilities
  const lanes = given.lanes ?? contractLanes
  const ordered = given.ordered ?? false
  const order: ReceiveOrder = ordered ? 'strict' : given.orderBy === 'key' ? 'key' : 'none'
  if (order === 'key' && operations.keyOrder === 'unsupported') {
    throw unsupported(engine, `keep the order of keys (\`orderBy: 'key'\`)`)
  }
  if (given.from !== undefined && operations.history === 'unsupported') {
    throw unsupported(engine, 'read from the past (`from`)')
  }
  if (ordered) {
    if (given.orderBy !== undefined) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: \`ordered\` keeps the order of all keys; leave \`orderBy\` out.`,
      )
    }
    if (operations.strictOrder === 'unsupported') throw unsupported(engine, 'keep a strict order (`ordered`)')
    if (lanes !== undefined && lanes !== 1) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: \`ordered\` needs \`lanes: 1\`, not ${lanes}. Order within keys is \`orderBy\`.`,
      )
    }
    if (given.concurrency !== undefined && given.concurrency !== 1) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: \`ordered\` handles one message at a time; leave \`concurrency\` out.`,
      )
    }
  }
  const asked = given.concurrency ?? defaults.concurrency ?? consumeOptions.concurrency.default
  const tuning = ordered || typeof asked === 'number' ? undefined : tuningOf(asked, where)
  const concurrency = ordered ? 1 : (tuning?.min ?? (asked as number))
  if (given.fair !== undefined && order !== 'none') {
    throw new ChasquiError(
      'option-invalid',
      `${where}: \`fair\` changes the order that \`ordered\` and \`orderBy\` keep.`,
    )
  }
  const usual = order === 'none' ? consumeOptions.window.default : orderedWindow
  const window = given.window ?? defaults.window ?? usual
  const retry = retryPolicy(given.retry, defaults.retry, `${where}: \`retry\``)
  if (order !== 'none') checkOrderable(retry, where)
  return {
    concurrency,
    tuning,
    window: Math.max(window, given.window === undefined ? (tuning?.max ?? concurrency) : 1),
    order,
    timeoutMs: given.timeoutMs ?? defaults.timeoutMs,
    wanted: {
      durable: given.durable ?? true,
      create: given.declare !== 'never',
      lanes: lanes ?? (order === 'none' ? undefined : 1),
    },
    signal: given.signal,
    faults: given.faults ?? false,
    onError: given.onError,
    retry,
    rateLimit: rateLimitOf(given.rateLimit, where),
    circuitBreaker: circuitBreakerOf(given.circuitBreaker, where),
    fair: fairOf(given.fair, where),
    stallMs: given.stallMs ?? consumeOptions.stallMs.default,
  }
}

function tuningOf(given: TuningOptions, where: string): Required<TuningOptions> {
  checkOptions(tuningOptions, given, `${where}: \`concurrency\``)
  const min = given.min ?? tuningOptions.min.default
  const max = given.max ?? Math.max(tuningOptions.max.default, min)
  if (typeof given.goalMs !== 'number' || max < min) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: \`concurrency\` is a number, or { goalMs, min, max } with \`min\` at most \`max\`.`,
    )
  }
  return { goalMs: given.goalMs, min, max }
}

function rateLimitOf(given: RateLimitOptions | undefined, where: string): RateLimitOptions | undefined {
  if (given === undefined) return undefined
  checkOptions(rateLimitOptions, given, `${where}: \`rateLimit\``)
  if (given.perSecond !== undefined) return given
  throw new ChasquiError('option-invalid', `${where}: \`rateLimit\` needs \`perSecond\`.`)
}

function circuitBreakerOf(
  given: true | CircuitBreakerOptions | undefined,
  where: string,
): CircuitBreakerParts['options'] | undefined {
  if (given === undefined) return undefined
  const options = given === true ? {} : given
  const place = `${where}: \`circuitBreaker\``
  checkOptions(circuitBreakerOptions, options, place)
  return {
    failures: options.failures ?? circuitBreakerOptions.failures.default,
    windowMs: options.windowMs ?? circuitBreakerOptions.windowMs.default,
    openMs: options.openMs ?? circuitBreakerOptions.openMs.default,
    when: options.when,
  }
}

function fairOf(given: true | FairOptions | undefined, where: string): FairOptions | undefined {
  if (given === undefined) return undefined
  const options = given === true ? {} : given
  checkOptions(fairOptions, options, `${where}: \`fair\``)
  for (const [tenant, weight] of Object.entries(options.weights ?? {})) {
    checkOptions({ [tenant]: tenantWeight }, { [tenant]: weight }, `${where}: \`fair.weights\``)
  }
  return options
}

/** On an ordered source a message is held while it waits, and its key with it. */
function checkOrderable(policy: RetryPolicy, where: string): void {
  const longestMs = longestWait(policy)
  if (longestMs <= maxHoldMs) return
  throw new ChasquiError(
    'policy-not-orderable',
    `${where}: \`retry\` waits up to ${longestMs} ms, an ordered source holds a message for at most ${maxHoldMs} ms. Shorten the delays, or give up the order.`,
    { details: { longestMs, maxHoldMs } },
  )
}

export function receiveSettings(
  given: ReceiveOptions,
  defaults: ConsumeDefaults,
  contractLanes: number | undefined,
): { window: number; wanted: Wanted; signal: AbortSignal | undefined } {
  return {
    window: given.window ?? defaults.window ?? consumeOptions.window.default,
    wanted: { durable: given.durable ?? true, create: given.declare !== 'never', lanes: given.lanes ?? contractLanes },
    signal: given.signal,
  }
}

function unsupported(engine: string, what: string): ChasquiError {
  return new ChasquiError(
    'unsupported',
    `The engine ${engine} cannot ${what}. Leave the option out or choose another engine.`,
    {
      details: { engine },
    },
  )
}
