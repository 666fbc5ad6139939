/**
 * What AMQP says went wrong, in Chasqui's codes and in sentences that say what to do. Reply codes are those of AMQP
 * 0-9-1; the texts are read where the code alone does not tell, as RabbitMQ 3.10 writes them and our broker does too.
 */
import { AmqpError } from '@chasqui/amqp'
import { ConnectionError } from '@chasqui/amqp/client'
import { ChasquiError, type ErrorCode, isChasquiError } from '@chasqui/driver'

export const replyCode = {
  noRoute: 312,
  connectionForced: 320,
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
} as const

/** One argument of a declaration that differs from what exists. */
export interface Difference {
  readonly argument: string
  /** As the broker writes it: `'true'`, `none`, `the value 'x' of type 'longstr'`. Absent where a long name left no room for it. */
  readonly asked?: string
  readonly current?: string
}

const connectCodes: Readonly<Record<ConnectionError['code'], ErrorCode>> = {
  refused: 'connect-failed',
  unreachable: 'connect-failed',
  timeout: 'connect-timeout',
  authentication: 'authentication-failed',
  tls: 'certificate-untrusted',
  access: 'access-refused',
  protocol: 'protocol-error',
  disconnected: 'connect-failed',
  heartbeat: 'connect-failed',
  closed: 'connect-failed',
  'channels-exhausted': 'connect-failed',
  'listener-failed': 'internal',
  'option-invalid': 'option-invalid',
}

const connectAdvice: Readonly<Partial<Record<ErrorCode, string>>> = {
  'connect-failed': 'Check that it runs and that host and port are right.',
  'connect-timeout': 'Check host, port and firewall, or raise connectTimeoutMs.',
  'authentication-failed':
    'Check user name and password (the user guest is accepted over loopback only, unless the broker is told otherwise).',
  'certificate-untrusted': "Give its authority's certificate in tls.ca, and a host name that the certificate bears.",
  'access-refused': 'Check that the virtual host exists and that the user may enter it (rabbitmqctl set_permissions).',
  'protocol-error': 'Check that an AMQP 0-9-1 broker listens there, and that amqp:// and amqps:// were not confused.',
}

/** Why a connection could not be opened. `where` is host and port, or a path; never credentials. */
export function connectFailure(error: unknown, where: string): ChasquiError {
  if (isChasquiError(error)) return error
  const code = error instanceof ConnectionError ? connectCodes[error.code] : 'connect-failed'
  return new ChasquiError(
    code,
    `Could not connect to ${where}: ${textOf(error)}. ${connectAdvice[code] ?? ''}`.trim(),
    {
      cause: error,
      details: { where },
    },
  )
}

/** Why a declaration, a look or a consumer was refused. `what` names it: `queue 'orders'`. */
export function refusal(error: unknown, what: string): ChasquiError {
  if (isChasquiError(error)) return error
  const options = { cause: error, details: { destination: what } }
  if (error instanceof ConnectionError && error.code === 'channels-exhausted') {
    return new ChasquiError('buffer-full', `${error.message} This was for ${what}.`, options)
  }
  // Forced: by an operator, or by a broker that stops.
  if (!(error instanceof AmqpError) || error.replyCode === replyCode.connectionForced) {
    return new ChasquiError(
      'disconnected',
      `The connection was lost before the broker answered for ${what}: ${textOf(error)}. Try again.`,
      options,
    )
  }
  switch (error.replyCode) {
    case replyCode.accessRefused:
      return error.replyText.includes('reserved prefix')
        ? new ChasquiError(
            'name-invalid',
            `The broker keeps names with that beginning to itself: ${what}. Choose another name (${error.replyText}).`,
            options,
          )
        : new ChasquiError(
            'access-refused',
            `The broker does not allow this user to use ${what} (${error.replyText}). Grant it, for example with rabbitmqctl set_permissions.`,
            options,
          )
    case replyCode.notFound:
      return error.replyText.includes('down or inaccessible')
        ? new ChasquiError(
            'disconnected',
            `The node that holds ${what} is away (${error.replyText}). Try again once it is back.`,
            options,
          )
        : new ChasquiError(
            'destination-missing',
            `There is no ${what} (${error.replyText}). Create it, or let Chasqui do so by leaving out declare: 'never'.`,
            options,
          )
    case replyCode.resourceLocked:
      return new ChasquiError(
        'destination-in-use',
        `Another connection holds ${what} exclusively. Wait until it is closed, or use another name.`,
        options,
      )
    case replyCode.preconditionFailed: {
      const difference = differenceOf(error)
      return difference === undefined
        ? new ChasquiError(
            'unsupported',
            `The broker does not take the arguments of ${what} (${error.replyText}). Its version may lack them.`,
            options,
          )
        : differs(what, [difference], error)
    }
    default:
      return new ChasquiError('protocol-error', `The broker refused ${what}: ${error.message}.`, options)
  }
}

/** The connection went away, so that the same may work on the next one. */
export function isLoss({ code, cause }: ChasquiError): boolean {
  if (code === 'connect-failed' || code === 'connect-timeout') return true
  if (code !== 'disconnected') return false
  return cause instanceof ConnectionError || hasReplyCode(cause, replyCode.connectionForced)
}

/** An existing destination that cannot be used as it is. */
function differs(what: string, differences: readonly Difference[], cause?: unknown): ChasquiError {
  return new ChasquiError(
    'destination-differs',
    `The ${what} exists and differs: ${describe(differences)}. Delete it, declare it as it is, or use another name.`,
    { cause, details: { destination: what, differences } },
  )
}

/** `x-delivery-limit: asked '21', is '20'; ...` */
export function describe(differences: readonly Difference[]): string {
  return differences
    .map(({ argument, asked, current }) =>
      asked === undefined || current === undefined
        ? `${argument} differs`
        : `${argument}: asked ${asked}, is ${current}`,
    )
    .join('; ')
}

/** What a 406 says about the first argument that differs; undefined for another failure. */
export function differenceOf(error: unknown): Difference | undefined {
  if (!(error instanceof AmqpError) || error.replyCode !== replyCode.preconditionFailed) return undefined
  const argument = /inequivalent arg '([^']*)'/.exec(error.replyText)?.[1]
  if (argument === undefined) return undefined
  // A reply text ends at 255 bytes; where the queue's name is long the values are cut off, with three dots.
  const values = /: received (.*) but current is (.*)$/s.exec(error.replyText)
  return values === null || error.replyText.endsWith('...')
    ? { argument }
    : { argument, asked: values[1]!, current: values[2]! }
}

export function hasReplyCode(error: unknown, code: number): error is AmqpError {
  return error instanceof AmqpError && error.replyCode === code
}

/** The sentence of an error without its final stop, to stand inside another. */
export function textOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\.$/, '')
}
