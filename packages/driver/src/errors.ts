/**
 * The one error class between Chasqui and its users, and the one table of its codes. No other file invents a
 * code: drivers and the core throw `new ChasquiError(code, sentence)`, callers match on `error.code`.
 */

interface CodeInfo {
  /** The same call may succeed later without anybody changing anything. */
  readonly retryable: boolean
  readonly meaning: string
}

export const errorCodes = {
  // Connecting
  'url-invalid': { retryable: false, meaning: 'The URL cannot be read, or says something its engine does not have.' },
  'url-missing': { retryable: false, meaning: 'No URL was given where one is demanded (NODE_ENV=production).' },
  'scheme-unknown': { retryable: false, meaning: 'No engine answers to the scheme of the URL.' },
  'package-missing': { retryable: false, meaning: "The engine's driver package is not installed." },
  'driver-invalid': {
    retryable: false,
    meaning: 'What opened for the URL does not keep to the contract of drivers.',
  },
  'option-invalid': { retryable: false, meaning: 'An option has a value outside its bounds, or does not exist.' },
  'connect-failed': { retryable: true, meaning: 'The engine could not be reached.' },
  'connect-timeout': { retryable: true, meaning: 'The engine did not answer within the time allowed.' },
  'authentication-failed': {
    retryable: false,
    meaning: 'The engine refused the user name, the password or the certificate.',
  },
  'access-refused': { retryable: false, meaning: 'The engine does not allow this user to do that.' },
  'certificate-untrusted': { retryable: false, meaning: "The engine's certificate is not trusted." },
  'protocol-error': { retryable: true, meaning: 'The other side broke the protocol.' },
  disconnected: { retryable: true, meaning: 'The connection was lost before the engine answered.' },
  closed: { retryable: false, meaning: 'The bus, consumer or driver was closed by its user.' },
  // The embedded broker's data directory
  'directory-in-use': {
    retryable: true,
    meaning: 'Another process serves the data directory.',
  },
  'directory-unusable': { retryable: false, meaning: 'The data directory cannot be created, read or written.' },
  'directory-newer': { retryable: false, meaning: 'A newer version of Chasqui wrote the data directory.' },
  'directory-corrupt': {
    retryable: false,
    meaning: 'A file of the data directory holds what nothing of Chasqui wrote.',
  },
  'port-in-use': { retryable: false, meaning: 'Another program listens on that port.' },
  'listen-failed': { retryable: false, meaning: 'The address cannot be listened on.' },
  // Destinations
  'name-invalid': { retryable: false, meaning: 'A name breaks the grammar of names, or has a reserved last part.' },
  'destination-missing': {
    retryable: false,
    meaning: 'The queue, topic or subscription does not exist and may not be created.',
  },
  'destination-differs': { retryable: false, meaning: 'The destination exists and differs from what was asked for.' },
  'destination-kind': { retryable: false, meaning: 'The name is a queue where a topic was asked for, or the reverse.' },
  'destination-not-ordered': {
    retryable: false,
    meaning: 'The existing destination cannot keep the order that was asked for.',
  },
  'lanes-differ': {
    retryable: false,
    meaning: 'The destination was created with another number of lanes, which is fixed from then on.',
  },
  'delay-unsupported': {
    retryable: false,
    meaning: 'The engine cannot hold the message back until its moment.',
  },
  'destination-in-use': { retryable: true, meaning: 'Another connection uses the destination exclusively.' },
  'destination-full': { retryable: true, meaning: 'The destination takes no more messages.' },
  // Middleware
  'next-twice': { retryable: false, meaning: 'A step of the middleware called `next` a second time.' },
  // Sending
  'body-too-large': { retryable: false, meaning: 'The encoded body is longer than `maxBodyBytes`.' },
  'body-invalid': { retryable: false, meaning: "The body does not fit the contract's schema." },
  'body-not-encodable': { retryable: false, meaning: 'The body cannot be written in the chosen format.' },
  'header-invalid': {
    retryable: false,
    meaning: 'A header has a value that cannot travel, or a name that is reserved.',
  },
  'key-invalid': { retryable: false, meaning: 'The key function threw or returned no string.' },
  'format-unknown': { retryable: false, meaning: 'No format answers to that content type.' },
  'send-timeout': {
    retryable: true,
    meaning: 'The engine confirmed nothing within the time allowed; the message may have arrived.',
  },
  'send-refused': { retryable: true, meaning: 'The engine refused the message (negative confirm).' },
  unroutable: { retryable: false, meaning: 'The engine returned the message: it has no such destination.' },
  'buffer-full': { retryable: true, meaning: 'Too many messages wait to be sent.' },
  aborted: { retryable: false, meaning: "The caller's signal fired." },
  unsupported: { retryable: false, meaning: 'This engine cannot do that.' },
  // Receiving
  'policy-invalid': { retryable: false, meaning: 'A retry policy contradicts itself.' },
  'policy-not-orderable': {
    retryable: false,
    meaning: 'A retry policy waits longer than an ordered source can hold a message.',
  },
  'crash-loop': { retryable: false, meaning: 'The message was in hand each time its process died.' },
  'body-not-decodable': { retryable: false, meaning: 'The bytes received are not what their content type says.' },
  expired: { retryable: false, meaning: "The message's time to live was over before a handler could take it." },
  unrouted: { retryable: false, meaning: 'No route takes messages of this type.' },
  'handler-failed': { retryable: true, meaning: 'The handler threw something that bears no code.' },
  'handler-timeout': { retryable: true, meaning: 'The handler did not return within `timeoutMs`.' },
  'worker-crashed': { retryable: true, meaning: 'The thread of a worker ended before it had handled the message.' },
  'worker-invalid': {
    retryable: false,
    meaning: 'The module of a worker cannot be loaded, or has no function as its default export.',
  },
  'retry-requested': { retryable: true, meaning: '`ctx.retry` was called.' },
  'dead-lettered': { retryable: false, meaning: '`ctx.deadLetter` was called.' },
  'dead-letter-missing': { retryable: false, meaning: 'No dead letter of that source has this id.' },
  'audit-failed': { retryable: false, meaning: 'What is to be done with dead letters could not be put on record.' },
  'already-settled': { retryable: false, meaning: 'The delivery was settled before.' },
  'delivery-stale': {
    retryable: false,
    meaning: 'The delivery belongs to a lost connection; the engine hands the message out again.',
  },
  'consumer-failed': { retryable: false, meaning: 'The engine ended the consumer and it could not be brought back.' },
  // Requests
  'request-timeout': { retryable: true, meaning: 'No reply came within `timeoutMs`.' },
  'request-failed': { retryable: false, meaning: 'The handler of the request failed for good.' },
  'reply-kind': {
    retryable: false,
    meaning: 'One reply where a stream of them was asked for, or the reverse.',
  },
  'stream-broken': {
    retryable: true,
    meaning: 'A stream of replies cannot go on: its handler or the connection was lost after some items.',
  },
  // Ourselves
  internal: { retryable: false, meaning: 'A mistake in Chasqui. Please report it.' },
} as const satisfies Record<string, CodeInfo>

export type ErrorCode = keyof typeof errorCodes

export interface ChasquiErrorOptions {
  readonly cause?: unknown
  /** Typed facts about the failure: names, limits, what differs. Never bodies or passwords. */
  readonly details?: Readonly<Record<string, unknown>>
}

/**
 * Every failure that Chasqui reports. Match on `code`, which is stable and works across two copies of a package;
 * `message` is a sentence for people that says what to do, and may change.
 */
export class ChasquiError extends Error {
  override readonly name: string = 'ChasquiError'
  readonly code: ErrorCode
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: ChasquiErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
  }

  /** The same call may succeed later without anybody changing anything. */
  get retryable(): boolean {
    return errorCodes[this.code].retryable
  }
}

/** True for an error of Chasqui's, also one made by another copy of this package. */
export function isChasquiError(error: unknown): error is ChasquiError {
  return error instanceof Error && error.name === 'ChasquiError' && 'code' in error && String(error.code) in errorCodes
}
