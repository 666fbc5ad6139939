/** What a connection may be told, checked before anything is opened. */

import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { FieldTable } from '../field-table.ts'
import { defaultPort, FRAME_MIN_SIZE } from '../generated/constants.ts'
import { ConnectionError } from './connection-error.ts'

export interface ConnectionOptions {
  /** Default `localhost`. */
  readonly host?: string | undefined
  /** Default 5672, with `tls` 5671. */
  readonly port?: number | undefined
  /** A local socket in place of host and port. */
  readonly socketPath?: string | undefined
  /** Virtual host. Default `/`. */
  readonly vhost?: string | undefined
  /** Default `guest`, which brokers accept over loopback only. */
  readonly username?: string | undefined
  /** Default `guest`. */
  readonly password?: string | undefined
  /** How to authenticate. `EXTERNAL`: by the client certificate in `tls`. Default `PLAIN`. */
  readonly mechanism?: 'PLAIN' | 'EXTERNAL' | undefined
  /** Options of `node:tls`; an empty object asks for TLS with Node's own authorities. Absent: no TLS. */
  readonly tls?: TlsOptions | undefined
  /** Both sides send something at least twice in this time, and give the other up after two. 0 to 65535; default 30; 0: never. */
  readonly heartbeatSeconds?: number | undefined
  /** Largest frame, in bytes: 4096 or more, or 0 for what the server offers. Default 0. */
  readonly frameMax?: number | undefined
  /** Highest channel number: 1 to 65535, or 0 for what the server offers. Default 0. */
  readonly channelMax?: number | undefined
  /** How long connecting and the handshake may take together. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined
  /** How long a clean close waits for the server's answer before it cuts. Default 10,000. */
  readonly closeTimeoutMs?: number | undefined
  /** Told to the server, over our own. */
  readonly clientProperties?: FieldTable | undefined
  /** A name to be seen in the broker's management. */
  readonly connectionName?: string | undefined
}

export interface ResolvedOptions {
  readonly host: string
  readonly port: number
  readonly socketPath: string | undefined
  readonly vhost: string
  readonly username: string
  readonly password: string
  readonly mechanism: 'PLAIN' | 'EXTERNAL'
  readonly tls: TlsOptions | undefined
  readonly heartbeatSeconds: number
  readonly frameMax: number
  readonly channelMax: number
  readonly connectTimeoutMs: number
  readonly closeTimeoutMs: number
  readonly clientProperties: FieldTable
  /** Host and port, or the path, for messages. */
  readonly address: string
}

const tlsPort = defaultPort - 1
const maxTimerMs = 2 ** 31 - 1

/** Fills in the defaults. Throws ConnectionError `option-invalid`. */
export function resolveOptions(options: ConnectionOptions): ResolvedOptions {
  const { host = 'localhost', socketPath, tls, heartbeatSeconds = 30, frameMax = 0, channelMax = 0 } = options
  const {
    port = tls === undefined ? defaultPort : tlsPort,
    connectTimeoutMs = 10_000,
    closeTimeoutMs = 10_000,
  } = options
  check('port', port, 1, 65535)
  check('heartbeatSeconds', heartbeatSeconds, 0, 65535)
  check('channelMax', channelMax, 0, 65535)
  check('frameMax', frameMax, 0, 0x7fff_ffff)
  check('connectTimeoutMs', connectTimeoutMs, 1, maxTimerMs)
  check('closeTimeoutMs', closeTimeoutMs, 1, maxTimerMs)
  if (frameMax !== 0 && frameMax < FRAME_MIN_SIZE) {
    throw new ConnectionError('option-invalid', `frameMax is ${frameMax}; use 0, or ${FRAME_MIN_SIZE} and more.`)
  }
  return {
    host,
    port,
    socketPath,
    vhost: options.vhost ?? '/',
    username: options.username ?? 'guest',
    password: options.password ?? 'guest',
    mechanism: options.mechanism ?? 'PLAIN',
    tls,
    heartbeatSeconds,
    frameMax,
    channelMax,
    connectTimeoutMs,
    closeTimeoutMs,
    clientProperties: clientProperties(options),
    address: socketPath ?? `${host}:${port}`,
  }
}

function check(name: string, value: number, min: number, max: number): void {
  if (Number.isInteger(value) && value >= min && value <= max) return
  throw new ConnectionError('option-invalid', `${name} is ${String(value)}; use an integer from ${min} to ${max}.`)
}

function clientProperties(options: ConnectionOptions): FieldTable {
  return {
    product: 'Chasqui',
    platform: `Node.js ${process.version}`,
    ...(options.connectionName === undefined ? {} : { connection_name: options.connectionName }),
    ...options.clientProperties,
    // What the server may send us only because it knows that we understand it.
    capabilities: {
      publisher_confirms: true,
      exchange_exchange_bindings: true,
      'basic.nack': true,
      consumer_cancel_notify: true,
      'connection.blocked': true,
      authentication_failure_close: true,
    },
  }
}
