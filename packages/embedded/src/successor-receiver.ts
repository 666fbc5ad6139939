/**
 * A receiver that outlives the owner of its directory: first a guest's, over a connection, then one at the broker of this
 * process. Epochs only grow, so what belongs to the first is stale at the second.
 */
import {
  type Batch,
  ChasquiError,
  isChasquiError,
  type Outcome,
  type Receiver,
  type ReceiverOptions,
  type Sink,
  type Source,
} from '@chasqui/driver'
import type { LocalDriver } from './local-driver.ts'

export class SuccessorReceiver implements Receiver {
  /** What the guest's receiver brings comes in here. */
  readonly guestSink: Sink
  readonly #source: Source
  readonly #sink: Sink
  readonly #options: ReceiverOptions
  readonly #ended: () => void
  #window: number
  #inner: Receiver | undefined
  #stopped = false
  /** Of the guest's deliveries, 0 before the first. */
  #lastEpoch = 0
  #lane = ''
  /** The sink was told that they are void. */
  #revoked = true

  constructor(source: Source, sink: Sink, options: ReceiverOptions, ended: () => void) {
    this.#source = source
    this.#sink = sink
    this.#options = options
    this.#window = options.window
    this.#ended = ended
    this.guestSink = {
      deliver: batch => this.#deliver(batch),
      revoke: (lane, epoch, graceMs) => {
        if (epoch === this.#lastEpoch) this.#revoked = true
        return sink.revoke(lane, epoch, graceMs)
      },
      fail: error => this.#fail(error),
    }
  }

  get options(): ReceiverOptions {
    return { ...this.#options, window: this.#window }
  }

  startAsGuest(inner: Receiver): void {
    this.#inner = inner
  }

  /** Nothing comes before this has returned. Throws what the broker says. */
  startAtOwner(owner: LocalDriver): void {
    const sink: Sink = {
      deliver: batch => this.#sink.deliver(batch),
      revoke: (lane, epoch, graceMs) => this.#sink.revoke(lane, epoch, graceMs),
      fail: error => this.#fail(error),
    }
    this.#inner = owner.startReceiver(this.#source, sink, { ...this.options, lastEpoch: this.#lastEpoch })
  }

  /** What the guest delivered is void. Its receiver ends with it. */
  leaveGuest(): void {
    this.#inner = undefined
    if (this.#revoked) return
    this.#revoked = true
    // Without grace nobody waits for the answer.
    this.#sink.revoke(this.#lane, this.#lastEpoch, 0).catch(() => undefined)
  }

  /** Goes on at the broker of this process; fails where the source is gone and not ours to make. */
  goOnAtOwner(owner: LocalDriver): void {
    if (this.#stopped) return
    try {
      this.startAtOwner(owner)
    } catch (error) {
      this.#fail(
        isChasquiError(error)
          ? error
          : new ChasquiError('consumer-failed', `The consumer of "${this.#source.name}" could not be brought back.`, {
              cause: error,
            }),
      )
    }
  }

  async window(messages: number): Promise<void> {
    this.#window = messages
    await this.#inner?.window(messages)
  }

  settle(lane: string, epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'> {
    return this.#inner === undefined ? Promise.resolve('stale') : this.#inner.settle(lane, epoch, tags, outcome)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#ended()
    await this.#inner?.stop()
  }

  #deliver(batch: Batch): void {
    // After the guest was left its receiver has nothing to say.
    if (this.#inner === undefined) return
    this.#lastEpoch = batch.epoch
    this.#lane = batch.lane
    this.#revoked = false
    this.#sink.deliver(batch)
  }

  #fail(error: ChasquiError): void {
    this.#inner = undefined
    this.#ended()
    this.#sink.fail(error)
  }
}
