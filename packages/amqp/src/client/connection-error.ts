/** Failures that are nobody's reply: the network's, the local side's, and those of a connection that was never opened. */

export type ConnectionErrorCode =
  /** Nothing listens there: host, port or path are wrong, or the broker is down. */
  | 'refused'
  /** The host is unknown or cannot be reached. */
  | 'unreachable'
  /** No connection within `connectTimeoutMs`. */
  | 'timeout'
  /** The server refused the user, the password or the mechanism. */
  | 'authentication'
  /** The server's certificate is not trusted, or the server refused ours. */
  | 'tls'
  /** The other side speaks another protocol, or breaks this one. */
  | 'protocol'
  /** The virtual host does not exist, or this user may not enter it. */
  | 'access'
  /** The connection was there and was lost. */
  | 'disconnected'
  /** The other side was silent for two heartbeat intervals. */
  | 'heartbeat'
  /** The connection or the channel was closed here. */
  | 'closed'
  /** All channels that the server allows are in use. */
  | 'channels-exhausted'
  /** A listener threw, which ended its channel or connection; `cause` is what it threw. */
  | 'listener-failed'
  /** An option is outside its bounds. */
  | 'option-invalid'

/** See the code; `message` is a sentence for people. Never holds credentials. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError'
  readonly code: ConnectionErrorCode

  constructor(code: ConnectionErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
  }
}

export type PublishErrorCode =
  /** The broker refused the message (basic.nack): a full queue, or a failure of its own. */
  | 'nacked'
  /** The broker found no queue for a mandatory message; `replyCode` and `replyText` say why. */
  | 'returned'
  /** Channel or connection ended first: the message may have arrived. `cause` is what ended it. */
  | 'lost'

/** Why a message was not confirmed. */
export class PublishError extends Error {
  override readonly name = 'PublishError'
  readonly code: PublishErrorCode
  readonly replyCode: number | undefined
  readonly replyText: string | undefined

  constructor(
    code: PublishErrorCode,
    message: string,
    details: { cause?: unknown; replyCode?: number; replyText?: string } = {},
  ) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause })
    this.code = code
    this.replyCode = details.replyCode
    this.replyText = details.replyText
  }
}

const noRouteCodes = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'ENETDOWN'])

/** What Node's error means that ended a socket before the protocol began, or later. */
export function socketFailure(error: NodeJS.ErrnoException, opened: boolean): ConnectionError {
  const code = error.code ?? ''
  if (code === 'ECONNREFUSED' || code === 'ENOENT' || code === 'EACCES') {
    return new ConnectionError('refused', error.message || `Nothing accepts connections there (${code}).`, error)
  }
  if (noRouteCodes.has(code)) return new ConnectionError('unreachable', error.message, error)
  if (code === 'ETIMEDOUT' && !opened) return new ConnectionError('timeout', error.message, error)
  if (code === 'ERR_SSL_WRONG_VERSION_NUMBER' || code === 'EPROTO' || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG') {
    return new ConnectionError('protocol', `The other side does not speak TLS: ${error.message}`, error)
  }
  if (/^(ERR_SSL|ERR_TLS|CERT_|UNABLE_TO|DEPTH_ZERO|SELF_SIGNED|HOSTNAME_|CRL_|INVALID_)/.test(code)) {
    return new ConnectionError('tls', error.message, error)
  }
  return new ConnectionError('disconnected', `The connection was lost: ${error.message || code}`, error)
}
