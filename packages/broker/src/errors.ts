/** What can go wrong when a broker opens or listens. The codes are words of the one table in @chasqui/driver. */

export type BrokerErrorCode =
  /** Another process serves the data directory. */
  | 'directory-in-use'
  /** The data directory cannot be created, read or written. */
  | 'directory-unusable'
  /** A newer version wrote the data directory. */
  | 'directory-newer'
  /** A file of the data directory holds what this broker did not write. */
  | 'directory-corrupt'
  /** Another program listens on the port. */
  | 'port-in-use'
  /** The address cannot be listened on. */
  | 'listen-failed'
  /** An option has a value outside its bounds. */
  | 'option-invalid'
  /** The broker was closed. */
  | 'closed'

/** Match on `code`; `message` is a sentence that says what to do. The broker that threw it is not running. */
export class BrokerError extends Error {
  override readonly name = 'BrokerError'
  readonly code: BrokerErrorCode

  constructor(code: BrokerErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}
