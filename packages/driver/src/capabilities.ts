/**
 * What a driver can do on its engine, as data. The core decides by it, `doctor` prints it, and the conformance
 * suite holds the driver to it: `native` and `emulated` pass the same scenarios, `unsupported` must be refused
 * with a typed error, and each property's stated outcome is asserted.
 */
export type Support = 'native' | 'emulated' | 'unsupported'

export interface Operations {
  /** `notBefore` on a message. */
  readonly delay: Support
  /** `expiresAt` on a message. */
  readonly expiry: Support
  /** `receive` with order `strict`: one consumer at a time for the source, across processes. */
  readonly strictOrder: Support
  /** `receive` with order `key`. */
  readonly keyOrder: Support
  /** `Receiver.transfer`: send copies and settle originals atomically. */
  readonly transfer: Support
  /** Destinations that live in the engine's memory only (`durable: false`). */
  readonly transient: Support
  /** Reading from a moment in the past. */
  readonly history: Support
  /** Depths, rates and consumers through `Driver.inspector`. */
  readonly inspect: Support
}

export interface Properties {
  /** What was confirmed on a durable destination survives a kill of the engine. */
  readonly durable: boolean
  /** Several processes can use the same destinations. */
  readonly shared: boolean
  /** The engine runs in a process of its own, so that it can die alone. */
  readonly separateProcess: boolean
  /** When the process that serves dies, another that is connected serves in its place. */
  readonly takesOver: boolean
  /** The way to the engine is a network connection, which can be cut. */
  readonly network: boolean
  /** The engine checks a user name and a password. */
  readonly credentials: boolean
  /** A send to a destination that does not exist is noticed. */
  readonly detectsMissing: boolean
  /** `Incoming.deliveries` is filled. */
  readonly countsDeliveries: boolean
  /** What is given back is handed out again before what came after it, whatever was given back before. */
  readonly returnsInPlace: boolean
  /** A body that was sent may reach the receiver as the same bytes in memory; the core copies what users may still write to. */
  readonly byReference: boolean
}

export interface Capabilities {
  /** The engine's name for logs and metrics: `embedded`, `rabbitmq`, `kafka`... */
  readonly engine: string
  readonly operations: Operations
  readonly properties: Properties
  /** The longest body that the engine takes, in bytes; absent where it has no limit of its own. */
  readonly maxBodyBytes?: number
}
