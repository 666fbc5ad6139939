/** The broker: starts and closes in order: data directory, store, queues, listeners. */
import { BrokerError } from './errors.ts'
import { type BrokerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { type ListenerAddress, type RunningListener, startListener } from './server/listener.ts'
import { VirtualHost } from './vhost/vhost.ts'

export class Broker {
  readonly #options: ResolvedOptions
  readonly #listeners: RunningListener[] = []
  #vhost: VirtualHost | undefined
  #state: 'new' | 'starting' | 'running' | 'closed' = 'new'
  #closing: Promise<void> | undefined

  /** Throws `BrokerError` `option-invalid`. Nothing is opened before `start`. */
  constructor(options: BrokerOptions = {}) {
    this.#options = resolveOptions(options)
  }

  get dataDirectory(): string | undefined {
    return this.#options.dataDirectory
  }

  /** The one virtual host, `/`. Throws `closed` before `start` and after `close`. */
  get vhost(): VirtualHost {
    if (this.#vhost === undefined) throw new BrokerError('closed', 'The broker is not running: call start() first.')
    return this.#vhost
  }

  /** Where it listens, in the order of `listeners`, with the ports that it really got. */
  get addresses(): readonly ListenerAddress[] {
    return this.#listeners.map(listener => listener.address)
  }

  /**
   * Opens the data directory, brings back what it holds, and listens. Rejects with a `BrokerError` (every code but
   * `option-invalid`) and has then released what it held.
   */
  async start(): Promise<void> {
    if (this.#state !== 'new') throw new BrokerError('closed', 'A broker starts once: make a new one.')
    this.#state = 'starting'
    try {
      this.#vhost = new VirtualHost({
        name: '/',
        clock: this.#options.clock,
        memoryLimitBytes: this.#options.memoryLimitBytes,
        store: undefined,
      })
      for (const listener of this.#options.listeners) this.#listeners.push(await startListener(this, listener))
      this.#state = 'running'
    } catch (error) {
      await this.close()
      throw error
    }
  }

  /** Closes the listeners with their clients, writes what is left, releases the data directory. May be called twice. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    await Promise.all(this.#listeners.map(listener => listener.close()))
    this.#listeners.length = 0
    this.#vhost = undefined
  }
}
