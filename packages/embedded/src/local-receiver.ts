/**
 * Receives from one queue of the broker in this process. One engine session a receiver, so that stopping it gives
 * back what is unsettled.
 *
 * The epoch counts how often the consumer was started: a queue deleted underneath ends one, and the receiver makes
 * the queue again and starts the next.
 */
import type { Delivery, Session, Transferred, VirtualHost } from '@chasqui/broker'
import {
  type Batch,
  ChasquiError,
  type Incoming,
  isChasquiError,
  type Outcome,
  type Outgoing,
  type ReceiveOrder,
  type Receiver,
  type ReceiverOptions,
  type Sink,
  type Source,
} from '@chasqui/driver'
import { queueOf } from '@chasqui/driver-amqp'
import { carried, wireOf } from './carried.ts'
import { fullError, unroutable } from './failures.ts'

/** Microtasks until an `await` has its result, also through a wrapper or two. */
const turnsToAwait = 4
const done = Promise.resolve('done' as const)
const stale = Promise.resolve('stale' as const)

export interface LocalReceiverHooks {
  /** Makes the queue again after it was deleted. */
  restore(): void
  /** What the broker said, as ours. */
  asChasquiError(error: unknown, name: string): ChasquiError
  /** The receiver has stopped or failed. */
  ended(): void
}

export interface LocalReceiverOptions extends ReceiverOptions {
  /** The last epoch that the sink knows, from an engine that this one replaces. Default 0. */
  readonly lastEpoch?: number
}

export class LocalReceiver implements Receiver {
  readonly #vhost: VirtualHost
  readonly #owner: object
  readonly #lane: string
  readonly #sink: Sink
  readonly #hooks: LocalReceiverHooks
  /** Replies come to a queue that lives as long as this receiver. */
  readonly #isReply: boolean
  readonly #order: ReceiveOrder
  #window: number
  #session: Session | undefined
  #consumerTag: string | undefined
  #epoch: number
  /** What came before it may be handed over. */
  #held: Batch[] | undefined

  constructor(
    vhost: VirtualHost,
    owner: object,
    source: Source,
    sink: Sink,
    options: LocalReceiverOptions,
    hooks: LocalReceiverHooks,
  ) {
    this.#epoch = options.lastEpoch ?? 0
    this.#vhost = vhost
    this.#owner = owner
    this.#lane = queueOf(source)
    this.#isReply = source.kind === 'reply'
    this.#sink = sink
    this.#window = options.window
    this.#order = options.order
    this.#hooks = hooks
  }

  start(): void {
    const session = this.#vhost.openSession({
      owner: this.#owner,
      onDeliveries: deliveries => this.#deliver(session, deliveries),
      onCancelled: () => this.#queueDeleted(session),
    })
    this.#session = session
    this.#epoch++
    if (this.#isReply) session.declareQueue({ queue: this.#lane, exclusive: true })
    if (this.#window > 0) this.#consume(session)
  }

  /** Nothing comes before whoever awaits the receiver has it. Not longer: what others send then is on its way. */
  async holdBack(): Promise<void> {
    const held: Batch[] = []
    this.#held = held
    for (let turn = 0; turn < turnsToAwait; turn++) await undefined
    this.#held = undefined
    for (const batch of held) if (batch.epoch === this.#epoch && this.#session !== undefined) this.#sink.deliver(batch)
  }

  async window(messages: number): Promise<void> {
    this.#window = messages
    const session = this.#session
    if (session === undefined) return
    if (messages === 0) {
      if (this.#consumerTag !== undefined) session.cancel(this.#consumerTag)
      this.#consumerTag = undefined
    } else if (this.#consumerTag === undefined) {
      this.#consume(session)
    } else {
      session.setConsumerPrefetch(this.#consumerTag, messages)
    }
  }

  settle(_lane: string, epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'> {
    const session = this.#session
    if (session === undefined || epoch !== this.#epoch) return stale
    if (outcome === 'ack') session.ackMany(tags)
    else if (outcome === 'requeue') for (const tag of tags) session.nack(tag, false, true)
    else return Promise.reject(new ChasquiError('unsupported', 'The embedded broker cannot requeue for later yet.'))
    return done
  }

  async transfer(
    _lane: string,
    epoch: number,
    tags: readonly number[],
    out: readonly Outgoing[],
  ): Promise<'done' | 'stale'> {
    const session = this.#session
    if (session === undefined || epoch !== this.#epoch) return 'stale'
    // A topic without subscriptions is no failure, a queue that is not there is one.
    const absent = out.find(({ to }) => to.kind !== 'topic' && this.#vhost.describeQueue(queueOf(to)) === undefined)
    if (absent !== undefined) throw unroutable(absent.to)
    const commit = this.#transferred(session, tags, out)
    await new Promise<void>(resolve => session.whenCommitted(commit, resolve))
    return 'done'
  }

  async stop(): Promise<void> {
    const session = this.#session
    this.#session = undefined
    if (session === undefined) return
    if (this.#isReply) session.deleteQueue({ queue: this.#lane })
    session.close()
    this.#hooks.ended()
  }

  /** Returns the commit number to wait for. */
  #transferred(session: Session, tags: readonly number[], out: readonly Outgoing[]): number {
    let transferred: Transferred
    try {
      transferred = session.transfer(tags, out.map(carried))
    } catch (error) {
      throw this.#hooks.asChasquiError(error, this.#lane)
    }
    if (transferred.done) return transferred.commit
    throw fullError(out[transferred.message]!.to)
  }

  #consume(session: Session): void {
    this.#consumerTag = session.consume({ queue: this.#lane, prefetch: this.#window, order: this.#order })
  }

  #deliver(session: Session, deliveries: readonly Delivery[]): void {
    if (session !== this.#session) return
    const items = new Array<Incoming>(deliveries.length)
    for (let index = 0; index < deliveries.length; index++) {
      const { tag, message, redelivered, deliveryCount } = deliveries[index]!
      items[index] = { tag, message: wireOf(message), redelivered, deliveries: deliveryCount + 1 }
    }
    const batch: Batch = { lane: this.#lane, epoch: this.#epoch, items }
    if (this.#held === undefined) this.#sink.deliver(batch)
    else this.#held.push(batch)
  }

  #queueDeleted(session: Session): void {
    if (session !== this.#session) return
    this.#session = undefined
    this.#consumerTag = undefined
    session.close()
    // Revoked without grace: the messages are gone with their queue, and nothing waits for the answer.
    this.#sink.revoke(this.#lane, this.#epoch, 0).catch(() => undefined)
    try {
      if (!this.#isReply) this.#hooks.restore()
      this.start()
    } catch (error) {
      this.#hooks.ended()
      this.#sink.fail(
        isChasquiError(error)
          ? error
          : new ChasquiError('consumer-failed', `The queue ${this.#lane} was deleted and could not be made again.`, {
              cause: error,
            }),
      )
    }
  }
}
