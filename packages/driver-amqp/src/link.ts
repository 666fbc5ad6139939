/**
 * One connection to the broker that is there again whenever it can be.
 *
 *     idle --open--> opening --------------------------> up <---> blocked
 *                       | fails: idle again               | lost
 *                       v                                 v
 *                    (rejects)                           down --- backoff, next endpoint, connect, restore ---> up
 *     any --close--> closed
 *
 * The first connection fails fast, with a typed error; a lost one is tried again for ever, the endpoints in turn.
 * `restore` puts on a new connection what its user needs (channel, topology, consumers), and the link is up only once
 * that is done: what cannot be restored counts as not connected.
 */
import { type Connection, type ConnectionOptions, connect } from '@chasqui/amqp/client'
import { ChasquiError } from '@chasqui/driver'
import { backoffMs } from './backoff.ts'
import { connectFailure, textOf } from './failures.ts'

export type LinkState = 'idle' | 'opening' | 'up' | 'blocked' | 'down' | 'closed'

export interface LinkOptions {
  /** At least one. Tried in this order, again and again. */
  readonly endpoints: readonly ConnectionOptions[]
  /** How long one attempt may take, in milliseconds; the first connection, all endpoints together. */
  readonly connectTimeoutMs: number
  /** How long to wait before each attempt to reconnect, in milliseconds. Default: doubling, up to 5 s. */
  readonly reconnectPauseMs?: number | undefined
  /** Makes a new connection useful. What it throws ends the connection; the next attempt follows. */
  restore(connection: Connection): Promise<void>
  /** The state has changed. */
  changed(): void
  /** Why a first connection failed, in the words of the engine; default: the general ones. */
  readonly explain?: (failure: ChasquiError) => ChasquiError
}

/** A connection that lasted this long was a good one: after its loss the waits begin anew. In milliseconds. */
const stableMs = 1_000
/** How long saying goodbye to the broker may take, in milliseconds, before the socket is cut. */
const goodbyeMs = 5_000

interface Waiter {
  resolve(connection: Connection): void
  reject(error: ChasquiError): void
}

export class Link {
  readonly #options: LinkOptions
  readonly #waiters = new Set<Waiter>()
  #state: LinkState = 'idle'
  #reason: string | undefined
  #connection: Connection | undefined
  #opening: Promise<void> | undefined
  /** Counts failures; the endpoint and the wait follow from it. */
  #attempt = 0
  #upSince = 0
  #retryTimer: NodeJS.Timeout | undefined

  constructor(options: LinkOptions) {
    this.#options = options
  }

  get state(): LinkState {
    return this.#state
  }

  /** Why the link is down or blocked. */
  get reason(): string | undefined {
    return this.#reason
  }

  /** The connection while the link is up or blocked. */
  get connection(): Connection | undefined {
    return this.#connection
  }

  /** Connects for the first time. Later calls do nothing. Rejects with the reason when no endpoint can be used. */
  open(): Promise<void> {
    if (this.#state === 'closed') return Promise.reject(closedError())
    this.#opening ??= this.#open()
    return this.#opening
  }

  /** Resolves once the link is up, blocked or not. Rejects with `disconnected` after `timeoutMs`. */
  whenUp(timeoutMs: number): Promise<Connection> {
    if (this.#connection !== undefined) return Promise.resolve(this.#connection)
    if (this.#state === 'closed') return Promise.reject(closedError())
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        waiter.reject(
          new ChasquiError(
            'disconnected',
            `There is no connection to the broker for ${timeoutMs} ms${this.#reason === undefined ? '' : `: ${this.#reason}`}. Try again once it is back.`,
          ),
        )
      }, timeoutMs)
      const waiter: Waiter = {
        resolve(connection) {
          clearTimeout(timer)
          resolve(connection)
        },
        reject(error) {
          clearTimeout(timer)
          reject(error)
        },
      }
      this.#waiters.add(waiter)
    })
  }

  /** Ends for good: says goodbye where the connection is there. May be called twice. */
  async close(): Promise<void> {
    if (this.#state === 'closed') return
    const connection = this.#connection
    const wasBlocked = this.#state === 'blocked'
    this.#connection = undefined
    clearTimeout(this.#retryTimer)
    this.#become('closed')
    for (const waiter of this.#waiters) waiter.reject(closedError())
    this.#waiters.clear()
    if (connection === undefined || connection.closed) return
    // A blocked connection is not read by the broker: it would not hear the goodbye.
    if (wasBlocked) {
      connection.destroy()
      return
    }
    await connection.close()
  }

  async #open(): Promise<void> {
    this.#become('opening')
    const { endpoints, connectTimeoutMs } = this.#options
    const until = Date.now() + connectTimeoutMs
    let first: ChasquiError | undefined
    for (const endpoint of endpoints) {
      const leftMs = until - Date.now()
      if (leftMs <= 0) break
      try {
        await this.#connect(endpoint, leftMs)
        return
      } catch (error) {
        const failure = connectFailure(error, describeEndpoint(endpoint))
        first ??= failure
        // Another node refuses the same password and bears a certificate of the same authority.
        if (!failure.retryable) break
      }
    }
    this.#opening = undefined
    if (this.#isClosed()) throw closedError()
    this.#become('idle')
    const failure = first ?? new ChasquiError('connect-timeout', `No broker answered within ${connectTimeoutMs} ms.`)
    throw this.#options.explain?.(failure) ?? failure
  }

  async #connect(endpoint: ConnectionOptions, timeoutMs: number): Promise<void> {
    const connection = await connect({ ...endpoint, connectTimeoutMs: timeoutMs, closeTimeoutMs: goodbyeMs })
    let lost: Error | undefined
    connection.onClose(error => {
      lost = error ?? new Error('The broker closed the connection')
      this.#lost(connection, lost)
    })
    try {
      await this.#options.restore(connection)
    } catch (error) {
      // Destroying it is a loss too; what came first is the reason.
      const reason = lost ?? error
      connection.destroy()
      throw reason
    }
    if (lost !== undefined || connection.closed) throw lost ?? new Error('The broker closed the connection')
    if (this.#isClosed()) {
      connection.destroy()
      throw closedError()
    }
    this.#connection = connection
    this.#upSince = Date.now()
    connection.onBlocked(reason => this.#block(connection, reason))
    connection.onUnblocked(() => this.#block(connection, undefined))
    this.#reason = undefined
    this.#become(connection.blocked ? 'blocked' : 'up')
    for (const waiter of this.#waiters) waiter.resolve(connection)
    this.#waiters.clear()
  }

  #lost(connection: Connection, error: Error): void {
    // While it is being restored, or after it was let go, whoever does that hears of it.
    if (connection !== this.#connection) return
    this.#connection = undefined
    // A connection that is taken away at once does not start the waits anew.
    this.#attempt = Date.now() - this.#upSince >= stableMs ? 0 : this.#attempt
    this.#reason = textOf(error)
    this.#become('down')
    this.#retryLater()
  }

  #retryLater(): void {
    const { endpoints, reconnectPauseMs } = this.#options
    const rounds = Math.floor(this.#attempt / endpoints.length)
    this.#retryTimer = setTimeout(() => this.#retry(), reconnectPauseMs ?? backoffMs(rounds))
  }

  #retry(): void {
    const { endpoints, connectTimeoutMs } = this.#options
    const endpoint = endpoints[this.#attempt++ % endpoints.length]!
    this.#connect(endpoint, connectTimeoutMs).catch(error => {
      if (this.#isClosed()) return
      this.#reason = textOf(connectFailure(error, describeEndpoint(endpoint)))
      this.#options.changed()
      this.#retryLater()
    })
  }

  #block(connection: Connection, reason: string | undefined): void {
    if (connection !== this.#connection) return
    this.#reason = reason
    this.#become(connection.blocked ? 'blocked' : 'up')
  }

  #become(state: LinkState): void {
    if (this.#state === 'closed') return
    this.#state = state
    this.#options.changed()
  }

  /** Asked across an await, where the compiler takes the state for what it was. */
  #isClosed(): boolean {
    return this.#state === 'closed'
  }
}

function closedError(): ChasquiError {
  return new ChasquiError('closed', 'The driver was closed.')
}

/** Host and port, or the socket's path; never credentials. */
function describeEndpoint({ host = 'localhost', port, socketPath, vhost = '/' }: ConnectionOptions): string {
  if (socketPath !== undefined) return socketPath
  const address = `${host.includes(':') ? `[${host}]` : host}${port === undefined ? '' : `:${port}`}`
  return vhost === '/' ? address : `${address}, virtual host '${vhost}'`
}
