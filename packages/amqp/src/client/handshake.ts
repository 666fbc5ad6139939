/**
 * From a fresh socket to an open virtual host (AMQP 0-9-1 section 2.2.4):
 *
 *   client  header          start-ok        tune-ok, open
 *   server           start            tune                  open-ok
 */

import { AmqpError } from '../errors.ts'
import type { FieldTable } from '../field-table.ts'
import { protocolHeader } from '../frame.ts'
import {
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_OPEN,
  CONNECTION_OPEN_OK,
  CONNECTION_START,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  type ConnectionClose,
  type ConnectionStart,
  type ConnectionTune,
  type Method,
  methodNames,
} from '../generated/methods.ts'
import { answerTune, type Tuning } from '../tune.ts'
import { ConnectionError } from './connection-error.ts'
import type { ResolvedOptions } from './options.ts'
import { Transport, type TransportHandler } from './transport.ts'

export interface Opened {
  readonly transport: Transport
  readonly serverProperties: FieldTable
  readonly tuning: Tuning
}

type Step = 'connect' | 'start' | 'tune' | 'open'

/** What the server is waited for, to follow "instead of" and "while". */
const doing: Record<Step, string> = {
  connect: 'accepting the connection',
  start: 'greeting (is it an AMQP 0-9-1 server?)',
  tune: 'answering the credentials',
  open: 'opening the virtual host',
}

/** Calls back once: with what was opened, from inside the reading of its last frame, or with the reason. */
export function openTransport(
  options: ResolvedOptions,
  opened: (opened: Opened) => void,
  failed: (error: ConnectionError) => void,
): void {
  let step: Step = 'connect'
  let serverProperties: FieldTable = {}
  let tuning: Tuning | undefined

  const onStart = (start: ConnectionStart): void => {
    serverProperties = start.serverProperties
    const offered = Buffer.from(start.mechanisms).toString().split(' ')
    if (!offered.includes(options.mechanism)) {
      end('authentication', `The server does not offer ${options.mechanism}; it offers ${offered.join(', ')}.`)
      return
    }
    step = 'tune'
    transport.writer.method(0, {
      id: CONNECTION_START_OK,
      clientProperties: options.clientProperties,
      mechanism: options.mechanism,
      response: options.mechanism === 'PLAIN' ? `\0${options.username}\0${options.password}` : '',
      locale: 'en_US',
    })
  }

  const onTune = (offered: ConnectionTune): void => {
    tuning = answerTune(offered, {
      channelMax: options.channelMax,
      frameMax: options.frameMax,
      heartbeat: options.heartbeatSeconds,
    })
    step = 'open'
    transport.writer.method(0, { id: CONNECTION_TUNE_OK, ...tuning })
    transport.writer.method(0, { id: CONNECTION_OPEN, virtualHost: options.vhost })
    transport.tune(tuning.frameMax, tuning.heartbeat)
  }

  const onClose = (close: ConnectionClose): void => {
    const cause = new AmqpError(close.replyCode, close.replyText, { scope: 'connection' })
    transport.writer.method(0, { id: CONNECTION_CLOSE_OK })
    transport.end(refusal(cause, step, options), true)
  }

  const end = (code: ConstructorParameters<typeof ConnectionError>[0], sentence: string): void => {
    transport.end(new ConnectionError(code, sentence))
  }

  const handler: TransportHandler = {
    onMethod(channel: number, method: Method): void {
      if (method.id === CONNECTION_CLOSE) onClose(method)
      else if (method.id === CONNECTION_START && step === 'start') onStart(method)
      else if (method.id === CONNECTION_TUNE && step === 'tune') onTune(method)
      else if (method.id === CONNECTION_OPEN_OK && step === 'open') {
        clearTimeout(timer)
        opened({ transport, serverProperties, tuning: tuning! })
      } else if (method.id === CONNECTION_CLOSE_OK) {
        end('protocol', 'The server ended the handshake.')
      } else {
        end('protocol', `The server sent ${methodNames.get(method.id)} on channel ${channel} in the handshake.`)
      }
    },
    onContent: () => end('protocol', 'The server sent a message in the handshake.'),
    onContentRefused: () => end('protocol', 'The server sent a message in the handshake.'),
    onHeartbeat: () => undefined,
    onProtocolHeader(header: Buffer): void {
      const version = [...header.subarray(5)].join('.')
      end('protocol', `The server at ${options.address} speaks AMQP ${version}, or refuses 0-9-1.`)
    },
    onDrain: () => undefined,
    onEnd(error: Error | undefined): void {
      clearTimeout(timer)
      failed(explain(error, step, serverProperties, options))
    },
  }

  const timer = setTimeout(
    () =>
      end(
        'timeout',
        `${options.address} was not through with ${doing[step]} after ${options.connectTimeoutMs} ms. Raise connectTimeoutMs if it may take longer.`,
      ),
    options.connectTimeoutMs,
  )
  const transport = new Transport(options, handler, () => {
    step = 'start'
    transport.writer.bytes(protocolHeader)
  })
}

/** What connection.close means in the handshake. */
function refusal(cause: AmqpError, step: Step, options: ResolvedOptions): ConnectionError {
  if (step === 'tune') {
    return new ConnectionError(
      'authentication',
      `The server refused user '${options.username}': ${cause.replyText}`,
      cause,
    )
  }
  // 530: no such virtual host, or no access to it; 403 and 404 from other servers (RabbitMQ, "Access Control").
  if (step === 'open' && (cause.replyCode === 530 || cause.replyCode === 403 || cause.replyCode === 404)) {
    return new ConnectionError(
      'access',
      `User '${options.username}' may not open the virtual host '${options.vhost}', or there is none: ${cause.replyText}`,
      cause,
    )
  }
  if (cause.replyCode === 320)
    return new ConnectionError('disconnected', `The server is closing: ${cause.replyText}`, cause)
  return new ConnectionError('protocol', `The server refused the connection: ${cause.replyText}`, cause)
}

/** What a cut socket means in the handshake: a server that cannot say why it refuses a user just hangs up. */
function explain(
  error: Error | undefined,
  step: Step,
  serverProperties: FieldTable,
  options: ResolvedOptions,
): ConnectionError {
  if (!(error instanceof ConnectionError)) {
    return new ConnectionError('disconnected', error?.message ?? 'The connection was closed in the handshake.', error)
  }
  if (error.code !== 'disconnected' || error.cause instanceof AmqpError) return error
  if (step === 'tune' && !tellsWhy(serverProperties)) {
    return new ConnectionError(
      'authentication',
      `The server hung up on user '${options.username}', which is how it refuses credentials.`,
      error,
    )
  }
  return new ConnectionError('disconnected', `${options.address} hung up instead of ${doing[step]}.`, error)
}

function tellsWhy(serverProperties: FieldTable): boolean {
  const { capabilities } = serverProperties
  return (
    typeof capabilities === 'object' &&
    capabilities !== null &&
    (capabilities as FieldTable).authentication_failure_close === true
  )
}
