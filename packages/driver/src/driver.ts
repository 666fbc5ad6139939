/**
 * The contract between the core and a driver. A driver moves bytes and tells what it can do; retries, dead
 * letters, formats, middleware and metrics live above it, once.
 *
 * A driver package exports `open: OpenDriver`. The core finds the package by the URL's scheme and imports
 * nothing else of it.
 */
import type { Capabilities } from './capabilities.ts'
import type { ChasquiError } from './errors.ts'
import type { Batch, Outgoing, Source, Target } from './message.ts'
import type { Change, DeclareOptions, Topology } from './topology.ts'

/** What became of one message of a send. `inDoubt`: it may have arrived all the same, so sending it again may double it. */
export type SendResult =
  | { readonly ok: true; readonly durable: boolean }
  | { readonly ok: false; readonly error: ChasquiError; readonly inDoubt: boolean }

/** Takes what a receiver brings. Its methods do not throw and return at once; work happens later. */
export interface Sink {
  deliver(batch: Batch): void
  /**
   * The lane goes to somebody else, or its connection is lost: everything unsettled of this epoch is void.
   * A planned revocation waits up to `graceMs` for the returned promise, so that handlers may finish and settle; with
   * `graceMs` 0 the lane is gone already.
   */
  revoke(lane: string, epoch: number, graceMs: number): Promise<void>
  /** The receiver has ended for good and will not come back by itself. */
  fail(error: ChasquiError): void
}

/** `requeueAt`, in milliseconds since the epoch, only where the driver says `keyOrder: 'native'`. */
export type Outcome = 'ack' | 'requeue' | { readonly requeueAt: number }

export interface Receiver {
  /** How many deliveries may be unsettled from now on. 0 pauses; what was delivered stays. */
  window(messages: number): Promise<void>
  /**
   * Settles deliveries, in any order. Resolves `done` once the engine was told (not: once it has it on disk),
   * `stale` when the epoch has passed: the engine hands those messages out again.
   */
  settle(lane: string, epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'>
  /** Sends `out` and acknowledges `tags` in one step that happens as a whole or not at all. */
  transfer?(lane: string, epoch: number, tags: readonly number[], out: readonly Outgoing[]): Promise<'done' | 'stale'>
  /**
   * How many messages wait that this receiver should get. Only where that may be fewer than wait in the source: of a lane that another
   * owns it gets none.
   */
  waiting?(): Promise<number>
  /** No delivery after this resolves; what is unsettled goes back to the engine. May be called twice. */
  stop(): Promise<void>
}

/**
 * `none`: as fast as they come. `strict`: the source has one owner at a time, across processes. `key`: messages
 * of one key go to one owner at a time.
 */
export type ReceiveOrder = 'none' | 'strict' | 'key'

export interface ReceiverOptions {
  /** How many deliveries may be unsettled. At least 1. */
  readonly window: number
  readonly order: ReceiveOrder
  /** How many lanes the source was declared with. Absent: none were asked for. */
  readonly lanes?: number
}

/** `blocked`: connected, but the engine takes no messages for now (memory or disk alarm). */
export type DriverState = 'up' | 'down' | 'blocked'

export interface StateChange {
  readonly state: DriverState
  /** Why the driver is down or blocked. */
  readonly reason?: string
}

export interface Driver {
  /** Known once the driver is open; does not change. */
  readonly capabilities: Capabilities
  readonly state: DriverState
  /** What `declare` would do, without doing it. */
  plan(topology: Topology): Promise<readonly Change[]>
  /**
   * Looks for each destination and uses it as it is; creates the absent ones as asked, or fails with
   * `destination-missing` where `create` is false. Remembers them, so that they are there again after a reconnect to an
   * engine that lost them.
   */
  declare(topology: Topology, options: DeclareOptions): Promise<void>
  /**
   * Resolves when the engine has taken responsibility for each message, or has not until `deadline` (milliseconds
   * since the epoch); one result a message, in order. Does not reject. While the engine is away it waits under that
   * bound. The destinations have been declared.
   */
  send(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]>
  /** Starts to receive. The receiver survives reconnects: each brings a `revoke` and a new epoch. */
  receive(source: Source, sink: Sink, options: ReceiverOptions): Promise<Receiver>
  /** Tells of each change of state from now on; the returned function ends that. */
  onState(listener: (change: StateChange) => void): () => void
  /**
   * Takes back a message that is not due yet, by its id; false where there is none, or no more. Where it is absent the engine
   * cannot do that.
   */
  cancelDelayed?(to: Target, id: string): Promise<boolean>
  readonly inspector?: Inspector
  /** Finishes what was sent and settled, then closes. Sends and receivers after it fail with `closed`. May be called twice. */
  close(): Promise<void>
}

/** Looking into the engine. */
export interface Inspector {
  /** `undefined` where no such queue or subscription exists. */
  depth(source: Source): Promise<QueueDepth | undefined>
  /** Every queue that there is, also subscriptions' and those of other programs, in the order of their names. */
  queues?(): Promise<readonly QueueInfo[]>
  /**
   * Deletes the queue or subscription with everything that waits in it; false where there is none. Its dead-letter queue stays, and so
   * does the topic. This driver does not make it again by itself, unless something is received from it.
   */
  remove?(source: Source): Promise<boolean>
}

export interface QueueInfo extends QueueDepth {
  readonly name: string
  /** Messages a second, where the engine tells. */
  readonly publishRate?: number
  readonly deliverRate?: number
  /** How long the oldest message has waited, in milliseconds, where the engine tells. */
  readonly oldestAgeMs?: number
}

export interface QueueDepth {
  /** Messages that wait for a consumer. */
  readonly ready: number
  /** Delivered and not settled, where the engine tells. */
  readonly unsettled?: number
  /** Not due yet, where the engine keeps them in the queue itself and tells. */
  readonly delayed?: number
  readonly consumers: number
}

export interface OpenOptions {
  /** As the user gave them, with hosts that `URL` cannot parse; a driver validates its own and never prints their credentials. */
  readonly urls: readonly string[]
  /** The application's name, shown by the engine's own tools. */
  readonly name: string
  /** How long opening may take before it fails with `connect-timeout`, in milliseconds. */
  readonly connectTimeoutMs: number
  readonly username?: string
  readonly password?: string
  readonly tls?: TlsOptions
  /** Told, in a sentence, of what goes wrong without anybody's call failing. */
  readonly onWarning?: (sentence: string) => void
  /** Options of this engine alone, checked by the driver. */
  readonly engine?: Readonly<Record<string, unknown>>
}

export interface TlsOptions {
  /** PEM of the authorities to trust instead of the system's. */
  readonly ca?: string | Uint8Array
  /** PEM of the client's certificate and key, for engines that ask for one. */
  readonly cert?: string | Uint8Array
  readonly key?: string | Uint8Array
  readonly servername?: string
  /** `false` accepts any certificate; for tests. Default `true`. */
  readonly rejectUnauthorized?: boolean
}

/** Opens a driver: resolves when the engine answered and accepted the credentials, else rejects with a typed error. */
export type OpenDriver = (options: OpenOptions) => Promise<Driver>
