/**
 * Where clients come in: TCP, TLS, the local socket of the data directory. A listener accepts and keeps count; what is
 * said on a connection is connection.ts's.
 */
import { rm } from 'node:fs/promises'
import { type AddressInfo, createServer, isIPv6, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, TLSSocket } from 'node:tls'
import type { Broker } from '../broker.ts'
import { BrokerError } from '../errors.ts'
import { localSocketPath } from '../store/data-directory.ts'
import { isLoopback, type Peer } from './access.ts'
import { Connection } from './connection.ts'

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
  /** Ask clients for a certificate and refuse those without a valid one; the others may log in by EXTERNAL. */
  readonly requestCert?: boolean | undefined
  /** Common names of client certificates that may log in by EXTERNAL. Default: none but guest, from this machine. */
  readonly users?: readonly string[] | undefined
}

/** Where a listener really listens. */
export type ListenerAddress =
  | {
      readonly host: string
      readonly port: number
      readonly tls: boolean
      /** For clients: `amqp://HOST:PORT` or `amqps://HOST:PORT`. */
      readonly url: string
    }
  | { readonly socketPath: string }

export interface RunningListener {
  readonly address: ListenerAddress
  /** Takes no more clients and closes those it has, cleanly. */
  close(): Promise<void>
}

/** A client that has not finished the TLS handshake by then is cut off. Milliseconds. */
const tlsHandshakeTimeoutMs = 10_000

/**
 * Rejects with `BrokerError`: `port-in-use`, `listen-failed`, `option-invalid` (key or certificate cannot be used, a
 * local socket without a data directory) or `directory-unusable`.
 */
export async function startListener(broker: Broker, listener: Listener): Promise<RunningListener> {
  const { vhost } = broker
  const connections = new Set<Connection>()
  const local = 'local' in listener
  const accept = (socket: Socket): void => {
    const peer: Peer = {
      fromHere: local || isLoopback(socket.remoteAddress),
      commonName: commonNameOf(socket),
      certificateUsers: local ? undefined : listener.tls?.users,
    }
    const connection = new Connection(socket, vhost, peer, () => connections.delete(connection))
    connections.add(connection)
  }
  const server =
    'local' in listener || listener.tls === undefined ? plainServer(accept) : tlsServer(listener.tls, accept)
  const address = 'local' in listener ? await listenLocally(server, broker) : await listen(server, listener)
  return {
    address,
    async close() {
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      await Promise.all([...connections].map(connection => connection.shutDown()))
      await closed
    },
  }
}

/** Of the client's certificate, where it has one that was verified, with one name. */
function commonNameOf(socket: Socket): string | undefined {
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined
  const name: unknown = socket.getPeerCertificate().subject?.CN
  return typeof name === 'string' && name !== '' ? name : undefined
}

function plainServer(accept: (socket: Socket) => void): Server {
  return createServer({ noDelay: true }, accept)
}

function tlsServer(tls: ListenerTls, accept: (socket: Socket) => void): Server {
  const requestCert = tls.requestCert ?? false
  let server: Server
  try {
    server = createTlsServer(
      {
        key: Buffer.from(tls.key),
        cert: Buffer.from(tls.cert),
        ca: tls.ca === undefined ? undefined : Buffer.from(tls.ca),
        requestCert,
        rejectUnauthorized: requestCert,
        handshakeTimeout: tlsHandshakeTimeoutMs,
        noDelay: true,
      },
      accept,
    )
  } catch (error) {
    throw new BrokerError(
      'option-invalid',
      `The TLS key, certificate or authorities cannot be used: ${reason(error)}. Give PEM texts that belong together.`,
      error,
    )
  }
  // A client that gives up while it shakes hands is its own affair; without a listener Node closes the socket as well.
  server.on('tlsClientError', (_error, socket) => socket.destroy())
  return server
}

async function listenLocally(server: Server, broker: Broker): Promise<ListenerAddress> {
  if (broker.dataDirectory === undefined) {
    throw new BrokerError('option-invalid', 'A local socket needs a dataDirectory: name one, or listen on a port.')
  }
  const socketPath = localSocketPath(broker.dataDirectory)
  // Left behind by an owner that was killed: the directory is ours now, so the name is too.
  await rm(socketPath, { force: true })
  await listening(server, { path: socketPath }, error => {
    return new BrokerError(
      'listen-failed',
      `The local socket ${socketPath} cannot be listened on: ${reason(error)}.`,
      error,
    )
  })
  return { socketPath }
}

async function listen(
  server: Server,
  { host, port, tls }: { host: string; port: number; tls?: ListenerTls | undefined },
): Promise<ListenerAddress> {
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new BrokerError('option-invalid', `port must be a whole number from 0 to 65535, not ${port}.`)
  }
  await listening(server, { host, port }, error => refusal(error, host, port))
  const bound = server.address() as AddressInfo
  const shownHost = isIPv6(host) ? `[${host}]` : host
  return {
    host,
    port: bound.port,
    tls: tls !== undefined,
    url: `${tls === undefined ? 'amqp' : 'amqps'}://${shownHost}:${bound.port}`,
  }
}

function listening(
  server: Server,
  where: { host: string; port: number } | { path: string },
  refuse: (error: NodeJS.ErrnoException) => BrokerError,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', error => reject(refuse(error)))
    server.listen(where, () => {
      server.removeAllListeners('error')
      // Too many open files, a peer gone between connecting and accepting: the others go on.
      server.on('error', error => process.emitWarning(`A client could not be accepted: ${error.message}`))
      resolve()
    })
  })
}

function refusal(error: NodeJS.ErrnoException, host: string, port: number): BrokerError {
  switch (error.code) {
    case 'EADDRINUSE':
      return new BrokerError(
        'port-in-use',
        `Port ${port} of ${host} is taken by another program. Stop it, or choose another port (0 takes any free one).`,
        error,
      )
    case 'EACCES':
      return new BrokerError(
        'listen-failed',
        `This user may not listen on port ${port} of ${host}. Choose a port from 1024 on.`,
        error,
      )
    case 'EADDRNOTAVAIL':
      return new BrokerError(
        'listen-failed',
        `${host} is no address of this machine. Use 127.0.0.1, or 0.0.0.0 for all of its addresses.`,
        error,
      )
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return new BrokerError('listen-failed', `The host ${host} is not known. Use an address such as 127.0.0.1.`, error)
    default:
      return new BrokerError('listen-failed', `Port ${port} of ${host} cannot be listened on: ${reason(error)}.`, error)
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
