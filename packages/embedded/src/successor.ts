/**
 * The driver of a process that found the directory served by another. It is a guest of that one, and serves in its place
 * when it goes; what its user holds, receivers and sends that wait, goes over with it.
 *
 *     guest ----- the owner is lost -----> seeking ----- the lock is ours -----> owner, for good
 *       ^                                    |
 *       +----- another was faster, ----------+
 *              or it is the old one again
 *
 * Who serves next is decided by the directory's lock alone, which the kernel releases when its process dies, so a frozen
 * owner is waited for. While seeking, the guest's own connection is tried again as often as the lock.
 *
 * A hand-over voids what was delivered: its epochs are revoked, and those that follow are higher. A send that was published
 * and not confirmed is in doubt, as with every lost connection; one that waits is sent by the new owner, in its place.
 */
import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@chasqui/broker'
import {
  type Capabilities,
  type Change,
  ChasquiError,
  type DeclareOptions,
  type Destination,
  type Driver,
  type DriverState,
  type Inspector,
  isChasquiError,
  type Outgoing,
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
import { LocalDriver } from './local-driver.ts'
import { isServedHere, type SharedBroker, shareBroker } from './shared-broker.ts'
import { SuccessorReceiver } from './successor-receiver.ts'

/** Between two attempts to become the owner, in milliseconds, on average. */
export const retryMs = 50
/** A lock that is held so long by somebody who does not answer is worth a word. Milliseconds. */
const silentMs = 1_000

export interface SuccessorOptions {
  /** The directory's one name, whatever links lead to it. */
  readonly path: string
  readonly guest: Driver
  readonly onWarning: ((sentence: string) => void) | undefined
  /** The process that owns the directory, as far as it is known. */
  owner(): number | undefined
}

interface Declared {
  readonly destination: Destination
  readonly create: boolean
}

export class SuccessorDriver implements Driver {
  readonly capabilities: Capabilities
  readonly inspector: Inspector
  readonly #options: SuccessorOptions
  readonly #guest: Driver
  readonly #stopWatching: () => void
  readonly #listeners = new Set<(change: StateChange) => void>()
  readonly #receivers = new Set<SuccessorReceiver>()
  /** By kind and name, in the order of declaration. */
  readonly #declared = new Map<string, Declared>()
  /** Who serves our calls; `undefined` while it changes. */
  #current: Driver | undefined
  /** Sends that wait for the change to be over: those that were accepted before it, then the later ones. */
  #earlier: (() => void)[] = []
  #later: (() => void)[] = []
  #handingOver: Promise<void> | undefined
  #seeking: Promise<void> | undefined
  #closing: Promise<void> | undefined

  constructor(options: SuccessorOptions) {
    this.#options = options
    this.#guest = options.guest
    this.#current = options.guest
    this.capabilities = options.guest.capabilities
    this.#stopWatching = options.guest.onState(change => this.#guestChanged(change))
    this.inspector = {
      depth: source => this.#served(driver => driver.inspector!.depth(source)),
      queues: () => this.#served(driver => driver.inspector!.queues!()),
      remove: source => {
        this.#declared.delete(`queue:${queueOf(source)}`)
        return this.#served(driver => driver.inspector!.remove!(source))
      },
    }
    this.#seekIfNeeded()
  }

  get state(): DriverState {
    return this.#closing === undefined && this.#current !== undefined ? this.#current.state : 'down'
  }

  plan(topology: Topology): Promise<readonly Change[]> {
    return this.#served(driver => driver.plan(topology))
  }

  async declare(topology: Topology, options: DeclareOptions): Promise<void> {
    await this.#served(driver => driver.declare(topology, options))
    for (const destination of topology.destinations) {
      const name = destination.kind === 'subscription' ? queueOf(destination) : destination.name
      const id = `${destination.kind === 'topic' ? 'topic' : 'queue'}:${name}`
      // Asked for again with less, what we may create stays ours to create.
      this.#declared.set(id, { destination, create: options.create || this.#declared.get(id)?.create === true })
    }
  }

  send(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    const current = this.#current
    if (current === undefined) return this.#sendAfter(this.#later, batch, deadline)
    return current === this.#guest ? this.#sendAsGuest(batch, deadline) : current.send(batch, deadline)
  }

  async receive(source: Source, sink: Sink, options: ReceiverOptions): Promise<Receiver> {
    const receiver = new SuccessorReceiver(source, sink, options, () => this.#receivers.delete(receiver))
    await this.#served(async driver => {
      if (driver instanceof LocalDriver) {
        receiver.startAtOwner(driver)
      } else {
        const inner = await driver.receive(source, receiver.guestSink, receiver.options)
        if (driver !== this.#current) {
          await inner.stop()
          throw changedHands()
        }
        receiver.startAsGuest(inner)
      }
      this.#receivers.add(receiver)
    })
    return receiver
  }

  async cancelDelayed(to: Target, id: string): Promise<boolean> {
    return await this.#served(driver => driver.cancelDelayed!(to, id))
  }

  onState(listener: (change: StateChange) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    // By its own close the guest ends what waits for the owner.
    if (this.#current === this.#guest) await this.#guest.close()
    await this.#seeking
    await this.#current?.close()
    this.#listeners.clear()
  }

  /** Does it with whoever serves, and again when that one made room for another meanwhile. */
  async #served<Result>(work: (driver: Driver) => Promise<Result>): Promise<Result> {
    for (;;) {
      await this.#handingOver
      const driver = this.#current
      if (driver === undefined || this.#closing !== undefined) throw closedError()
      try {
        return await work(driver)
      } catch (error) {
        const isReplaced = driver !== this.#current && this.#closing === undefined
        if (!isReplaced || !isChasquiError(error) || error.code !== 'closed') throw error
      }
    }
  }

  async #sendAsGuest(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    const results = await this.#guest.send(batch, deadline)
    if (this.#current === this.#guest || this.#closing !== undefined) return results
    // What the guest had not published when it made room has arrived nowhere.
    const unsent = batch.filter((_, index) => hasNotLeft(results[index]!))
    if (unsent.length === 0) return results
    const sent = (await this.#sendAfter(this.#earlier, unsent, deadline)).values()
    return results.map(result => (hasNotLeft(result) ? sent.next().value! : result))
  }

  /** Sends once the hand-over is through; in line where it is not yet. */
  #sendAfter(line: (() => void)[], batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    return new Promise(resolve => {
      const go = () => resolve(this.#sendNow(batch, deadline))
      if (this.#handingOver === undefined) go()
      else line.push(go)
    })
  }

  async #sendNow(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    if (this.#current !== undefined) return await this.#current.send(batch, deadline)
    return batch.map(() => ({ ok: false, error: closedError(), inDoubt: false }))
  }

  #guestChanged({ state, reason }: StateChange): void {
    if (this.#current !== this.#guest || this.#closing !== undefined) return
    this.#tell(reason === undefined ? { state } : { state, reason })
    this.#seekIfNeeded()
  }

  #seekIfNeeded(): void {
    if (!this.#mustSeek) return
    this.#seeking ??= this.#seek().finally(() => {
      this.#seeking = undefined
    })
  }

  /** The owner is lost; or it is this process, where a bus of ours needs no socket. */
  get #mustSeek(): boolean {
    return this.#guest.state === 'down' || isServedHere(this.#options.path)
  }

  async #seek(): Promise<void> {
    const since = Date.now()
    let told = false
    while (this.#closing === undefined && this.#mustSeek) {
      const found = await this.#take()
      if (typeof found === 'object') {
        this.#handingOver = this.#handOver(found)
        await this.#handingOver
        return
      }
      if (!told && Date.now() - since >= silentMs) {
        told = true
        this.#tell({ state: 'down', reason: found })
      }
      await sleep(retryMs * (0.5 + Math.random()))
    }
  }

  /** The broker, if the directory can be ours; else why it cannot. */
  async #take(): Promise<SharedBroker | string> {
    const { path, onWarning } = this.#options
    // Whoever deletes a directory does not want it back.
    if (!existsSync(path)) return `the data directory ${path} was deleted`
    try {
      return await shareBroker({ kind: 'directory', path }, onWarning)
    } catch (error) {
      if (error instanceof BrokerError && error.code === 'directory-in-use')
        return silentOwner(path, this.#options.owner())
      return `the data directory ${path} cannot be taken over: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  async #handOver(shared: SharedBroker): Promise<void> {
    this.#current = undefined
    this.#stopWatching()
    for (const receiver of this.#receivers) receiver.leaveGuest()
    // What it could not end went with its connection.
    await this.#guest.close().catch(() => undefined)
    if (this.#closing === undefined) {
      const owner = new LocalDriver(shared, this.capabilities)
      owner.onState(change => this.#tell(change))
      this.#declareAgain(owner)
      this.#current = owner
      for (const receiver of [...this.#receivers]) receiver.goOnAtOwner(owner)
      const { state } = owner
      this.#tell(state === 'up' ? { state } : { state, reason: 'the memory limit is reached' })
    } else {
      await shared.release()
    }
    this.#handingOver = undefined
    const waiting = [...this.#earlier, ...this.#later]
    this.#earlier = []
    this.#later = []
    for (const go of waiting) go()
  }

  /** What lasts is there; the rest was the old owner's and is made again. */
  #declareAgain(owner: LocalDriver): void {
    for (const { destination, create } of this.#declared.values()) {
      try {
        owner.declareNow({ destinations: [destination] }, { create })
      } catch (error) {
        // Gone, and not ours to create; or its name was given to something else. Whoever uses it hears of it.
        if (!isChasquiError(error)) throw error
      }
    }
  }

  #tell(change: StateChange): void {
    if (this.#closing !== undefined) return
    for (const listener of [...this.#listeners]) listener(change)
  }
}

/** Why there is no connection although somebody has the directory. */
export function silentOwner(path: string, owner: number | undefined): string {
  const who = owner === undefined ? 'another process' : `process ${owner}`
  return `${who} owns the data directory ${path} and does not answer: it may be frozen, very busy, or reading what the directory holds`
}

function hasNotLeft(result: SendResult): boolean {
  return !result.ok && !result.inDoubt && result.error.code === 'closed'
}

function changedHands(): ChasquiError {
  return new ChasquiError('closed', 'The directory has another owner now.')
}

function closedError(): ChasquiError {
  return new ChasquiError('closed', 'This bus was closed. Connect again to go on.')
}
