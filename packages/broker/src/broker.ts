/** The broker: starts and closes in order: data directory, store, queues, listeners. */
import { BrokerError } from './errors.ts'
import { type BrokerOptions, type ResolvedOptions, resolveOptions } from './options.ts'
import { type ListenerAddress, type RunningListener, startListener } from './server/listener.ts'
import { type DataDirectory, openDataDirectory } from './store/data-directory.ts'
import { Definitions } from './store/definitions.ts'
import { GroupCommit, messagesDirectory } from './store/group-commit.ts'
import type { Damage } from './store/store.ts'
import { VirtualHost } from './vhost/vhost.ts'

/** How long closing tries to write what waits, when the disk takes nothing. */
const closePatienceMs = 2000

export class Broker {
  readonly #options: ResolvedOptions
  readonly #listeners: RunningListener[] = []
  #vhost: VirtualHost | undefined
  #state: 'new' | 'starting' | 'running' | 'closed' = 'new'
  #closing: Promise<void> | undefined
  #directory: DataDirectory | undefined
  #store: GroupCommit | undefined
  readonly #damage: Damage[] = []

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

  /** Parts of the data directory that could not be read since it was opened. Empty in a healthy one. */
  get damage(): readonly Damage[] {
    return this.#damage
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
        onWarning: this.#options.onWarning,
        onUnreadable: ({ segment, offset, length }) => this.#damaged({ path: segment.logPath, offset, bytes: length }),
      })
      if (this.#options.dataDirectory !== undefined) await this.#open(this.#options.dataDirectory, this.#vhost)
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

  async #open(directory: string, vhost: VirtualHost): Promise<void> {
    this.#directory = openDataDirectory(directory)
    const { path } = this.#directory
    const files = this.#options.files
    try {
      const definitions = Definitions.open(path, files)
      for (const definition of definitions.current) vhost.restoreDefinition(definition)
      const opened = await GroupCommit.open(
        {
          directory: messagesDirectory(path),
          definitions,
          files,
          clock: this.#options.clock,
          onWarning: this.#options.onWarning,
        },
        vhost,
      )
      this.#store = opened.store
      vhost.useStore(opened.store)
      for (const damage of opened.damage) this.#damaged(damage)
    } catch (error) {
      if (error instanceof BrokerError) throw error
      const reason = error instanceof Error ? error.message : String(error)
      throw new BrokerError('directory-unusable', `The data directory ${path} cannot be read: ${reason}.`, error)
    }
  }

  #damaged(damage: Damage): void {
    this.#damage.push(damage)
    this.#options.onWarning(
      `${damage.bytes} bytes of ${damage.path} from ${damage.offset} on cannot be read; what was there is not delivered. The file is kept.`,
    )
  }

  async #close(): Promise<void> {
    this.#state = 'closed'
    await Promise.all(this.#listeners.map(listener => listener.close()))
    this.#listeners.length = 0
    this.#vhost?.close()
    await this.#store?.close(closePatienceMs)
    this.#directory?.release()
    this.#vhost = undefined
  }
}
