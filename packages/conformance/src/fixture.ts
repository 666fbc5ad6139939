/** What a driver brings so that the suite can judge it: how to open it, and an engine that may be disturbed. */
import type { OpenDriver } from '@chasqui/driver'

export interface Fixture {
  /** The driver and its engine, as the report names them. */
  readonly name: string
  /** The driver's own `open`, for its capabilities and for looking at the wire. */
  readonly open: OpenDriver
  /**
   * The package, or the path of the module, that exports `open`: what the suite's worker processes load. Demanded for URLs
   * whose scheme Chasqui does not know.
   */
  readonly module?: string
  /** Starts an engine that nobody else uses. */
  start(): Promise<Engine>
}

export interface Engine {
  /** What an application hands to `connect`. */
  readonly url: string
  /** The engine's version, for the report. */
  readonly version?: string
  /** Demanded where the driver says `separateProcess`. */
  readonly process?: EngineProcess
  /** Demanded where the driver says `credentials`: a URL as `url`, but for one thing that is wrong. */
  readonly refused?: RefusedUrls
  /** An engine that takes no messages for now, or does not any more after the first megabyte; demanded where the driver says `network`. */
  block?(): Promise<BlockedEngine>
  /** Deletes a queue behind the back of its users; demanded where the driver says `network`. */
  deleteQueue?(name: string): Promise<void>
  /** Makes a queue that is full, but for a message that is taken out; demanded where the driver says `network`. */
  makeFull?(name: string): Promise<void>
  /** A URL of somebody who may do everything but make this queue, until `allow`. For engines with such rules. */
  forbid?(name: string): Promise<{ readonly url: string; allow(): Promise<void> }>
  /**
   * What else a consumer of the queue can lose while the queue stays, each by its name, best without a word to the client: its
   * channel, its connection, its place among the queue's consumers.
   */
  readonly losses?: Readonly<Record<string, (queue: string) => Promise<void>>>
  /**
   * Options of the engine by which it gives up on a client that is silent for `leaseMs`, as short as it allows; demanded where the
   * driver says `network`.
   */
  readonly shortLease?: { readonly options: Readonly<Record<string, unknown>>; readonly leaseMs: number }
  /** The engine may forget what was acknowledged right before its channel closed, and hand it out again; measured, not feared. */
  readonly forgetsLastAcks?: boolean
  /** Stops the engine and deletes what it kept. */
  close(): Promise<void>
}

/** The engine's own process. Each resolves when the thing is done. */
export interface EngineProcess {
  /** SIGKILL. */
  kill(): Promise<void>
  /** Starts it again on the same data and the same address. */
  start(): Promise<void>
  /** Resolves when what was declared so far survives a kill; for engines that write declarations some time after they answer. */
  keepDeclarations?(): Promise<void>
  /** SIGSTOP: it is there and does not answer. */
  freeze(): Promise<void>
  thaw(): Promise<void>
}

export interface RefusedUrls {
  readonly wrongPassword: string
  readonly unknownHost: string
  /** TLS with a certificate whose authority is not trusted. */
  readonly untrusted: string
  /** PEM of that authority: with it the same URL is accepted. */
  readonly authority: string
}

export interface BlockedEngine {
  readonly url: string
  /** The engine takes messages again once those that it holds are consumed. Default: only after `release`. */
  readonly liftsWhenDrained?: boolean
  /** The engine takes messages again; or ends, if it was made only for this. */
  release(): Promise<void>
}
