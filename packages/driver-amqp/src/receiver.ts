/**
 * One source's deliveries, on a channel of its own.
 *
 *     down --reopen--> consuming --connection, channel or queue lost--> down (revoke; next epoch)
 *       |                  |
 *       +----- stop -------+--> stopped: the channel is closed, so that what is unsettled goes back in its place
 *       +----- leave ------+--> away: likewise, until it joins --reopen--> consuming
 *
 * The deliveries of one read of the socket are one batch.
 *
 * The window is the sum of the prefetch counts of our consumers, for RabbitMQ has no prefetch that could change under
 * a running consumer of a quorum queue (`basic.qos` with `global` is refused there; without, it holds for later
 * consumers alone). Raising it adds a consumer with what is missing. Lowering it, or pausing, cancels all of them;
 * what they had delivered stays unsettled and counts, until it is settled, against the window of their successor.
 */
import { AmqpError, type BasicProperties, type FieldTable } from '@chasqui/amqp'
import type { Channel, Connection, Delivery } from '@chasqui/amqp/client'
import {
  type Batch,
  ChasquiError,
  type Incoming,
  type Outcome,
  type Receiver,
  type ReceiverOptions,
  type Sink,
  type Source,
} from '@chasqui/driver'
import { backoffMs } from './backoff.ts'
import { hasReplyCode, refusal, replyCode, textOf } from './failures.ts'
import { deliveriesOf, fromDelivery } from './mapping.ts'

export interface ReceiverHost {
  /** The connection for consumers while it is up. */
  connection(): Connection | undefined
  /** Creates the source's queue that vanished; resolves false where it is not ours to create. */
  create(connection: Connection, source: Source): Promise<boolean>
  /** The headers as the sender wrote them. */
  arriving(headers: FieldTable): FieldTable
  /** Whether it consumes has changed. */
  changed(): void
  /** It will not consume again. */
  ended(receiver: AmqpReceiver): void
}

export interface ReceiverPlace {
  readonly source: Source
  /** The source's queue, or that of one of its lanes. */
  readonly queue: string
  readonly consumeArguments: FieldTable
}

/** What RabbitMQ takes as a prefetch count (AMQP 0-9-1: a short). */
const maxWindow = 65_535
const done = Promise.resolve('done' as const)
const stale = Promise.resolve('stale' as const)

export class AmqpReceiver implements Receiver {
  readonly #host: ReceiverHost
  readonly #source: Source
  readonly #sink: Sink
  readonly #queue: string
  readonly #consumeArguments: FieldTable
  #window: number
  #epoch = 0
  #channel: Channel | undefined
  #state: 'down' | 'consuming' | 'away' | 'stopped' = 'down'
  #reason: string | undefined
  /** Tags of our consumers on the channel. */
  #consumers: string[] = []
  /** Sum of their prefetch counts. */
  #capacity = 0
  #unsettled = 0
  /** Deliveries up to this tag came from cancelled consumers. */
  #boundary = 0
  /** How many of those are unsettled. */
  #orphans = 0
  #lastTag = 0
  #gathered: Incoming[] = []
  #adjusting: Promise<void> = Promise.resolve()
  #attempt = 0
  #retryTimer: NodeJS.Timeout | undefined

  constructor(host: ReceiverHost, place: ReceiverPlace, sink: Sink, { window }: Pick<ReceiverOptions, 'window'>) {
    this.#host = host
    this.#source = place.source
    this.#sink = sink
    this.#queue = place.queue
    this.#window = checkedWindow(window, 1)
    this.#consumeArguments = place.consumeArguments
  }

  /** True while the broker knows our consumer, or while it is paused on a channel that works. */
  get isLive(): boolean {
    return this.#state === 'consuming' || this.#state === 'away'
  }

  /** Why it does not consume. */
  get reason(): string | undefined {
    return this.#reason
  }

  /** Consumes for the first time on this connection; rejects where that is refused. */
  async start(connection: Connection): Promise<void> {
    try {
      await this.#openOrCreate(connection)
    } catch (error) {
      throw refusal(error, `queue '${this.#queue}'`)
    }
  }

  /** Consumes on a new connection. Does not reject: what fails is tried again, or ends the receiver. */
  async restore(connection: Connection): Promise<void> {
    if (this.#state === 'down') await this.#reopen(connection)
  }

  async window(messages: number): Promise<void> {
    this.#window = checkedWindow(messages, 0)
    await this.#adjust()
  }

  settle(_lane: string, epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'> {
    const channel = this.#channel
    if (epoch !== this.#epoch || channel === undefined || channel.closed) return stale
    if (outcome === 'ack') {
      if (tags.length === 1) channel.ack(tags[0]!)
      else channel.ackMany(tags)
    } else if (outcome === 'requeue') {
      for (const tag of tags) channel.nack(tag, false, true)
    } else {
      return Promise.reject(
        new ChasquiError('unsupported', 'This broker cannot give a message back for a later moment. Use requeue.'),
      )
    }
    this.#unsettled -= tags.length
    if (this.#orphans > 0) {
      for (const tag of tags) if (tag <= this.#boundary) this.#orphans--
      // Never rejects: what fails there is the channel, which tells us itself.
      void this.#adjust()
    }
    return done
  }

  /** Does not consume until `join`. What is unsettled goes back in its place; its epoch is over and nobody is told. */
  async leave(): Promise<void> {
    if (this.#state === 'stopped') return
    const channel = this.#channel
    this.#state = 'away'
    this.#channel = undefined
    this.#gathered = []
    clearTimeout(this.#retryTimer)
    if (channel !== undefined && !channel.closed) await channel.close()
  }

  /** Consumes again with this window, behind all others who consume; does not reject. */
  async join(window: number): Promise<void> {
    if (this.#state !== 'away') return
    this.#window = window
    this.#state = 'down'
    const connection = this.#host.connection()
    if (connection === undefined) this.#retryLater()
    else await this.#reopen(connection)
  }

  async stop(): Promise<void> {
    if (this.#state === 'stopped') return
    const channel = this.#channel
    this.#end()
    // Closed rather than cancelled: with a cancel the next single active consumer would start while ours hold messages.
    if (channel !== undefined && !channel.closed) await channel.close()
  }

  async #openOrCreate(connection: Connection): Promise<void> {
    try {
      await this.#open(connection)
    } catch (error) {
      const isMissing = hasReplyCode(error, replyCode.notFound)
      if (!isMissing || !(await this.#host.create(connection, this.#source))) throw error
      await this.#open(connection)
    }
  }

  async #open(connection: Connection): Promise<void> {
    const channel = await connection.openChannel()
    channel.onClose(error => this.#lose(channel, error === undefined ? 'the channel was closed' : textOf(error)))
    channel.onCancel(() => this.#lose(channel, `queue '${this.#queue}' was deleted`))
    this.#channel = channel
    this.#epoch++
    this.#consumers = []
    this.#capacity = 0
    this.#unsettled = 0
    this.#boundary = 0
    this.#orphans = 0
    this.#lastTag = 0
    this.#gathered = []
    try {
      if (this.#source.kind === 'reply') {
        await channel.declareQueue(this.#queue, { exclusive: true, autoDelete: true })
      }
      if (this.#window > 0) await this.#consume(channel, this.#window)
      // Nothing would tell of a missing queue while paused.
      else await channel.declareQueue(this.#queue, { passive: true })
    } catch (error) {
      if (this.#channel === channel) this.#channel = undefined
      if (!channel.closed) await channel.close()
      throw error
    }
    if (this.#isAway()) {
      if (!channel.closed) await channel.close()
      return
    }
    if (this.#channel !== channel) {
      if (!channel.closed) await channel.close()
      throw new Error(this.#reason ?? 'the channel was closed')
    }
    this.#attempt = 0
    this.#state = 'consuming'
    this.#reason = undefined
    this.#host.changed()
    // What came with the answer waits until whoever asked for the receiver has it.
    setImmediate(this.#flush)
  }

  async #reopen(connection: Connection): Promise<void> {
    clearTimeout(this.#retryTimer)
    try {
      await this.#openOrCreate(connection)
    } catch (error) {
      // A later connection has us by now, or will.
      if (this.#state !== 'down') return
      const failure = refusal(error, `queue '${this.#queue}'`)
      if (!failure.retryable && !connection.closed) {
        this.#end()
        this.#sink.fail(failure)
        return
      }
      this.#reason = textOf(failure)
      this.#host.changed()
      this.#retryLater()
    }
  }

  /** Tries again on the connection that is there by then, or later if none is. */
  #retryLater(): void {
    clearTimeout(this.#retryTimer)
    this.#retryTimer = setTimeout(
      () => {
        if (this.#state !== 'down') return
        const connection = this.#host.connection()
        if (connection === undefined) this.#retryLater()
        else void this.#reopen(connection)
      },
      backoffMs(this.#attempt++),
    )
  }

  /** Everything of this epoch is void. The broker hands it out again. */
  #lose(channel: Channel, reason: string): void {
    if (channel !== this.#channel || this.#state === 'stopped') return
    this.#channel = undefined
    this.#gathered = []
    this.#reason = reason
    // Still opening: that fails too, and is dealt with there.
    if (this.#state === 'down') return
    this.#state = 'down'
    // A cancelled consumer leaves a channel behind.
    if (!channel.closed) void channel.close()
    void this.#sink.revoke(this.#queue, this.#epoch, 0)
    this.#host.changed()
    this.#retryLater()
  }

  #end(): void {
    this.#state = 'stopped'
    this.#channel = undefined
    this.#gathered = []
    clearTimeout(this.#retryTimer)
    this.#host.ended(this)
  }

  async #consume(channel: Channel, prefetch: number): Promise<void> {
    this.#capacity += prefetch
    // Without waiting for the first: the broker takes the two in order.
    const [, consumer] = await Promise.all([
      channel.qos(prefetch),
      channel.consume(this.#queue, { arguments: this.#consumeArguments }, delivery => this.#take(channel, delivery)),
    ])
    this.#consumers.push(consumer)
  }

  #take(channel: Channel, delivery: Delivery): void {
    if (channel !== this.#channel) return
    const { deliveryTag, redelivered } = delivery
    const properties = this.#propertiesOf(delivery)
    this.#unsettled++
    this.#lastTag = deliveryTag
    const gathered = this.#gathered
    gathered.push({
      tag: deliveryTag,
      message: fromDelivery(properties, delivery.body),
      redelivered,
      // The broker adds its count from the second time on.
      deliveries: deliveriesOf(properties) ?? (redelivered ? undefined : 1),
    })
    if (gathered.length === 1) queueMicrotask(this.#flush)
  }

  /** A peer may have written what cannot be read, and the broker let it pass: then the body is all there is. */
  #propertiesOf(delivery: Delivery): BasicProperties {
    try {
      const { properties } = delivery
      if (properties.headers === undefined) return properties
      const headers = this.#host.arriving(properties.headers)
      return headers === properties.headers ? properties : { ...properties, headers }
    } catch (error) {
      if (error instanceof AmqpError) return {}
      throw error
    }
  }

  readonly #flush = (): void => {
    const items = this.#gathered
    if (items.length === 0 || this.#state !== 'consuming') return
    this.#gathered = []
    const batch: Batch = { lane: this.#queue, epoch: this.#epoch, items }
    this.#sink.deliver(batch)
  }

  /** Brings the consumers in line with the window, one change at a time. Does not reject. */
  #adjust(): Promise<void> {
    const adjusted = this.#adjusting.then(async () => {
      const channel = this.#channel
      if (channel === undefined || channel.closed || this.#state !== 'consuming') return
      try {
        if (this.#capacity > this.#window) await this.#cancelAll(channel)
        const missing = this.#window - this.#capacity - this.#orphans
        // In few steps rather than one for each orphan that is settled.
        if (missing > 0 && (this.#orphans === 0 || missing * 2 >= this.#window)) await this.#consume(channel, missing)
      } catch (error) {
        // The channel is closed by what it refuses, and a retry is on its way; this is for the case that it is not.
        if (!channel.closed) this.#lose(channel, textOf(error))
      }
    })
    this.#adjusting = adjusted
    return adjusted
  }

  async #cancelAll(channel: Channel): Promise<void> {
    const consumers = this.#consumers
    this.#consumers = []
    this.#capacity = 0
    await Promise.all(consumers.map(consumer => channel.cancel(consumer)))
    // Only now is it known what else was on its way.
    if (channel !== this.#channel) return
    this.#boundary = this.#lastTag
    this.#orphans = this.#unsettled
  }

  /** Asked across an await, where the compiler takes the state for what it was. */
  #isAway(): boolean {
    return this.#state === 'stopped' || this.#state === 'away'
  }
}

export function checkedWindow(messages: number, least: number): number {
  if (!Number.isInteger(messages) || messages < least || messages > maxWindow) {
    throw new ChasquiError('option-invalid', `A window is a whole number of messages from ${least} to ${maxWindow}.`, {
      details: { window: messages },
    })
  }
  return messages
}
