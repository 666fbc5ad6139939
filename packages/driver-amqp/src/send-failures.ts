/** Why a message was not sent: each in one sentence, with whether it may have arrived all the same. */
import { AmqpError, EncodingError } from '@chasqui/amqp'
import { ChasquiError, isChasquiError, type SendResult, type Target } from '@chasqui/driver'
import { replyCode, textOf } from './failures.ts'

export function because(obstacle: string | undefined): string {
  return obstacle === undefined ? '' : `: ${obstacle}`
}

function nameOf(to: Target): string {
  return to.kind === 'subscription' ? `subscription '${to.name}' of topic '${to.topic}'` : `${to.kind} '${to.name}'`
}

export function timeoutResult(published: boolean, obstacle: string | undefined): SendResult {
  const what = published
    ? 'The broker has not confirmed the message within the time allowed; it may have arrived'
    : 'The message could not be handed to the broker within the time allowed; it has not left'
  return {
    ok: false,
    error: new ChasquiError('send-timeout', `${what}${because(obstacle)}. Send it again, or raise the time-out.`),
    inDoubt: published,
  }
}

export function closedError(): ChasquiError {
  return new ChasquiError('closed', 'The driver was closed. Send before closing it.')
}

export function refusedError(to: Target): ChasquiError {
  return new ChasquiError(
    'send-refused',
    `The broker refused the message for ${nameOf(to)} (negative confirm): the queue is at its length limit, or could not store it. Send it again later.`,
    { details: { to } },
  )
}

export function unroutableError(to: Target, text: string, cause: unknown): ChasquiError {
  return new ChasquiError(
    'unroutable',
    `The broker returned the message: it has no ${nameOf(to)} (${text}). Create it, or let Chasqui do so.`,
    { cause, details: { to } },
  )
}

/** The channel ended with messages unconfirmed: for its own reasons, or because of one of them. */
export function lostError(cause: Error, to: Target): ChasquiError {
  if (cause instanceof AmqpError) {
    const isTheirs = to.kind === 'topic' && cause.replyText.includes(`'${to.name}'`)
    if (cause.replyCode === replyCode.notFound && isTheirs) {
      return new ChasquiError(
        'destination-missing',
        `The ${nameOf(to)} vanished (${cause.replyText}). Declare it again.`,
        {
          cause,
          details: { to },
        },
      )
    }
    if (cause.replyCode === replyCode.accessRefused) {
      return new ChasquiError(
        'access-refused',
        `The broker does not let this user send there (${cause.replyText}). Grant it write permission.`,
        { cause, details: { to } },
      )
    }
  }
  return new ChasquiError(
    'disconnected',
    `The connection was lost before the broker confirmed the message: ${textOf(cause)}. It may have arrived.`,
    { cause },
  )
}

/** Nothing of the message has left. */
export function unpublishable(error: unknown): ChasquiError {
  if (isChasquiError(error)) return error
  if (error instanceof EncodingError) {
    return new ChasquiError('header-invalid', `The message cannot be written as AMQP 0-9-1: ${textOf(error)}.`, {
      cause: error,
    })
  }
  return new ChasquiError('disconnected', `The message could not be handed over: ${textOf(error)}. Send it again.`, {
    cause: error,
  })
}
