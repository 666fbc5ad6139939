/**
 * The driver for the broker of this process: the contract's methods on the engine itself, with no codec and no
 * socket on the way. Messages travel by reference.
 */
import type { Session, VirtualHost } from '@chasqui/broker'
import {
  type Capabilities,
  type Change,
  ChasquiError,
  type DeclareOptions,
  type Driver,
  type DriverState,
  type Inspector,
  type Outgoing,
  type QueueInfo,
  type Receiver,
  type ReceiverOptions,
  type SendResult,
  type Sink,
  type Source,
  type StateChange,
  type Target,
  type Topology,
} from '@chasqui/driver'
import { queueOf } from '@chasqui/driver-amqp'
import { carried } from './carried.ts'
import { fullError, unroutable } from './failures.ts'
import { LocalReceiver, type LocalReceiverOptions } from './local-receiver.ts'
import { LocalTopology } from './local-topology.ts'
import type { SharedBroker } from './shared-broker.ts'

const keptDurably: SendResult = Object.freeze({ ok: true, durable: true })
const keptInMemory: SendResult = Object.freeze({ ok: true, durable: false })

export class LocalDriver implements Driver {
  readonly capabilities: Capabilities
  readonly inspector: Inspector
  readonly #shared: SharedBroker
  readonly #vhost: VirtualHost
  /** Owns what this bus declares exclusively; one a bus, as a connection is for AMQP clients. */
  readonly #owner = {}
  readonly #session: Session
  readonly #topology: LocalTopology
  readonly #receivers = new Set<LocalReceiver>()
  readonly #listeners = new Set<(change: StateChange) => void>()
  /** Sends that wait for the memory alarm to end. */
  readonly #waiting = new Set<() => void>()
  readonly #stopWatching: () => void
  /** The commit number of what this bus declared or sent last. */
  #lastCommit = 0
  #closed: Promise<void> | undefined

  constructor(shared: SharedBroker, capabilities: Capabilities) {
    this.#shared = shared
    this.capabilities = capabilities
    this.#vhost = shared.broker.vhost
    this.#session = this.#vhost.openSession({ owner: this.#owner, onDeliveries: nothing, onCancelled: nothing })
    this.#topology = new LocalTopology(this.#vhost, this.#session, capabilities.properties.durable)
    this.#stopWatching = this.#vhost.onBlocked(blocked => this.#blockedChanged(blocked))
    this.inspector = {
      depth: source => Promise.resolve(this.#vhost.inspect(queueOf(source))),
      queues: () => Promise.resolve(this.#queues()),
      remove: source => this.#remove(source),
    }
  }

  get state(): DriverState {
    if (this.#closed !== undefined) return 'down'
    return this.#vhost.blocked ? 'blocked' : 'up'
  }

  async plan(topology: Topology): Promise<readonly Change[]> {
    return topology.destinations.map(destination => this.#topology.plan(destination))
  }

  async declare(topology: Topology, options: DeclareOptions): Promise<void> {
    await this.#committed(this.declareNow(topology, options))
  }

  /** As `declare`, and returns the commit number to wait for. */
  declareNow(topology: Topology, options: DeclareOptions): number {
    this.#refuseWhenClosed()
    let commit = 0
    for (const destination of topology.destinations) {
      commit = Math.max(commit, this.#topology.declare(destination, options))
    }
    if (commit > this.#lastCommit) this.#lastCommit = commit
    return commit
  }

  send(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    if (this.#closed !== undefined) return Promise.resolve(batch.map(() => failed(closedError())))
    if (this.#vhost.blocked) return this.#sendLater(batch, deadline)
    const results = new Array<SendResult>(batch.length)
    let commit = 0
    for (let index = 0; index < batch.length; index++) {
      const { to, message } = batch[index]!
      try {
        const outcome = this.#session.publish(carried(batch[index]!))
        if (outcome.rejected) results[index] = failed(fullError(to))
        else if (outcome.routed === 0 && to.kind !== 'topic') results[index] = failed(unroutable(to))
        else results[index] = message.durable && this.#topology.isDurable(to) ? keptDurably : keptInMemory
        if (outcome.commit > commit) commit = outcome.commit
      } catch (error) {
        results[index] = failed(this.#asChasquiError(error, to))
      }
    }
    if (commit === 0) return Promise.resolve(results)
    this.#lastCommit = commit
    return new Promise(resolve => this.#session.whenCommitted(commit, () => resolve(results)))
  }

  async receive(source: Source, sink: Sink, options: ReceiverOptions): Promise<Receiver> {
    const receiver = this.startReceiver(source, sink, options)
    void receiver.holdBack()
    return receiver
  }

  /** As `receive`; nothing is delivered before it has returned. */
  startReceiver(source: Source, sink: Sink, options: LocalReceiverOptions): LocalReceiver {
    this.#refuseWhenClosed()
    const receiver = new LocalReceiver(this.#vhost, this.#owner, source, sink, options, {
      restore: () => this.#topology.restore(source),
      asChasquiError: (error, name) => this.#topology.asChasquiError(error, name),
      ended: () => this.#receivers.delete(receiver),
    })
    this.#receivers.add(receiver)
    try {
      receiver.start()
    } catch (error) {
      this.#receivers.delete(receiver)
      throw this.#asChasquiError(error, source)
    }
    return receiver
  }

  async cancelDelayed(to: Target, id: string): Promise<boolean> {
    this.#refuseWhenClosed()
    if (to.kind === 'topic') {
      throw new ChasquiError('unsupported', `A topic keeps no messages. Take "${id}" back from its subscriptions.`)
    }
    try {
      return this.#session.cancelDelayed(queueOf(to), id)
    } catch (error) {
      throw this.#asChasquiError(error, to)
    }
  }

  onState(listener: (change: StateChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    await this.#committed(this.#lastCommit)
    for (const receiver of [...this.#receivers]) await receiver.stop()
    this.#stopWatching()
    for (const wake of [...this.#waiting]) wake()
    this.#session.close()
    this.#vhost.ownerGone(this.#owner)
    await this.#shared.release()
    for (const listener of this.#listeners) listener({ state: 'down', reason: 'closed' })
    this.#listeners.clear()
  }

  /** Waits for the memory alarm to end, under the deadline. */
  async #sendLater(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    const inTime = await new Promise<boolean>(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#waiting.delete(wake)
        resolve(true)
      }
      const timer = setTimeout(
        () => {
          this.#waiting.delete(wake)
          resolve(false)
        },
        Math.max(0, deadline - Date.now()),
      )
      this.#waiting.add(wake)
    })
    if (inTime) return this.send(batch, deadline)
    const error = new ChasquiError(
      'send-timeout',
      'The broker takes no messages: it holds as many as its memory limit allows. Consume some, or raise the limit.',
    )
    return batch.map(() => failed(error))
  }

  #blockedChanged(blocked: boolean): void {
    const change: StateChange = blocked ? { state: 'blocked', reason: 'the memory limit is reached' } : { state: 'up' }
    for (const listener of this.#listeners) listener(change)
    if (!blocked) for (const wake of [...this.#waiting]) wake()
  }

  async #remove(source: Source): Promise<boolean> {
    this.#refuseWhenClosed()
    try {
      const commit = this.#topology.remove(source)
      if (commit !== undefined) await this.#committed(commit)
      return commit !== undefined
    } catch (error) {
      throw this.#asChasquiError(error, source)
    }
  }

  #queues(): readonly QueueInfo[] {
    const queues: QueueInfo[] = []
    for (const name of this.#vhost.queueNames().sort()) {
      const depth = this.#vhost.inspect(name)
      if (depth !== undefined) queues.push({ name, ...depth })
    }
    return queues
  }

  #committed(commit: number): Promise<void> {
    return commit === 0 ? Promise.resolve() : new Promise(resolve => this.#session.whenCommitted(commit, resolve))
  }

  #refuseWhenClosed(): void {
    if (this.#closed !== undefined) throw closedError()
  }

  #asChasquiError(error: unknown, at: Target | Source): ChasquiError {
    return this.#topology.asChasquiError(error, at.name)
  }
}

/** The session that sends has no consumers. */
function nothing(): void {}

function failed(error: ChasquiError): SendResult {
  return { ok: false, error, inDoubt: false }
}

function closedError(): ChasquiError {
  return new ChasquiError('closed', 'This bus was closed. Connect again to go on.')
}
