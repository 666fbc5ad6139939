/** Where clients come in: TCP, TLS, the local socket of the data directory. */
import type { Broker } from '../broker.ts'
import { BrokerError } from '../errors.ts'

/** A port (0: any free one), or the local socket of the data directory. */
export type Listener =
  | {
      readonly host: string
      readonly port: number
      readonly tls?: ListenerTls | undefined
    }
  | { readonly local: true }

export interface ListenerTls {
  /** PEM. */
  readonly key: string | Uint8Array
  /** PEM. */
  readonly cert: string | Uint8Array
  /** PEM of the authorities that client certificates are checked against. */
  readonly ca?: string | Uint8Array | undefined
  /** Ask clients for a certificate and refuse those without a valid one. */
  readonly requestCert?: boolean | undefined
}

/** Where a listener really listens. */
export type ListenerAddress =
  | {
      readonly host: string
      readonly port: number
      readonly tls: boolean /** For clients: `amqp://HOST:PORT` or `amqps://HOST:PORT`. */
      readonly url: string
    }
  | { readonly socketPath: string }

export interface RunningListener {
  readonly address: ListenerAddress
  /** Takes no more clients and closes those it has, cleanly. */
  close(): Promise<void>
}

/** Rejects with `BrokerError` `port-in-use` or `listen-failed`. */
export function startListener(_broker: Broker, _listener: Listener): Promise<RunningListener> {
  return Promise.reject(new BrokerError('listen-failed', 'This build of the broker has no AMQP server.'))
}
