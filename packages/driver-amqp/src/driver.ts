/**
 * A driver over AMQP 0-9-1: two links and what runs on them.
 *
 *     publisher link   sender (one channel in confirm mode), looks and declarations
 *     consumer link    receivers (a channel each); opened with the first receiver
 *
 * They are two because a broker in a memory or disk alarm stops reading from connections that publish, and
 * acknowledgements must go through then. After a loss the order is: connection, channel, topology, and on the other
 * link the consumers; the driver is `up` again only when all of them consume.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { AmqpError } from '@chasqui/amqp'
import type { Connection, ConnectionOptions } from '@chasqui/amqp/client'
import {
  type Capabilities,
  type Change,
  ChasquiError,
  type DeclareOptions,
  type Driver,
  type DriverState,
  type Inspector,
  isChasquiError,
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
import { type Address, addressOf } from './address.ts'
import { backoffMs } from './backoff.ts'
import type { QueueArguments } from './declarer.ts'
import { DelayPreparations, type DelayRoutes, isDelayed } from './delays.ts'
import { depthOf, depthsOf } from './depth.ts'
import { hasReplyCode, isLoss, refusal, replyCode, textOf } from './failures.ts'
import { notOrdered } from './lanes.ts'
import { Link } from './link.ts'
import { OrderedReceiver } from './ordered-receiver.ts'
import { queueOf } from './queue-names.ts'
import { AmqpReceiver, type ReceiverHost } from './receiver.ts'
import { removeQueue } from './removal.ts'
import { Scratch } from './scratch.ts'
import { Sender } from './sender.ts'
import { TopologyKeeper } from './topology.ts'

export interface AmqpDriverOptions {
  /** Where the broker is; several are tried in turn. At least one. */
  readonly endpoints: readonly ConnectionOptions[]
  /** How long opening may take, in milliseconds, and each attempt to reconnect. */
  readonly connectTimeoutMs: number
  /** How long to wait before each attempt to reconnect, in milliseconds. Default: doubling, up to 5 s. */
  readonly reconnectPauseMs?: number
  /**
   * What the broker can do, by what it tells of itself (AMQP 0-9-1 section 1.4.2.2, server-properties). Of order and
   * delay, `native` means that the broker does it when asked (`orderArgument`; the header `chasqui_not_before`),
   * `emulated` that this driver does (lanes; `delays`).
   */
  capabilities(serverProperties: Connection['serverProperties']): Capabilities
  /** The arguments of the queues that are created. */
  readonly queueArguments: QueueArguments
  /** The argument of a consumer that asks a broker to keep an order itself: its value is `key` or `strict`. */
  readonly orderArgument?: string
  /** How messages are kept back where the broker does not do it. */
  readonly delays?: DelayRoutes
  /** Takes a delayed message of this queue back by its id, where the broker lets go of one. */
  readonly cancelDelayed?: (connection: Connection, queue: string, id: string) => Promise<boolean>
  /** Every queue there is, where the engine has a way to tell; resolves `undefined` where it has none now. */
  readonly listQueues?: (connection: Connection) => Promise<readonly QueueInfo[] | undefined>
  /**
   * The broker confirms all that it has taken before it closes a connection with the reason `'shutdown'` (AMQP 0-9-1 reply
   * code 320): what is unconfirmed then is sent again. Default false.
   */
  readonly confirmsBeforeClosing?: boolean
  /** How many messages may be published and not confirmed. Default 4,096. */
  readonly maxUnconfirmed?: number
  /** Puts the failure of a first connection into the engine's own words. */
  readonly explain?: (failure: ChasquiError) => ChasquiError
}

const defaultMaxUnconfirmed = 4096
/** How many messages may wait to be published, the broker being away or slow. */
const maxWaiting = 100_000
/** How long a declaration, a look or a new receiver waits for a lost connection, in milliseconds. */
const reconnectPatienceMs = 30_000

/** Connects and resolves with the driver; see `OpenDriver` for how it fails. */
export async function openAmqpDriver(options: AmqpDriverOptions): Promise<Driver> {
  const driver = new AmqpDriver(options)
  await driver.open()
  return driver
}

class AmqpDriver implements Driver {
  readonly #options: AmqpDriverOptions
  readonly #topology: TopologyKeeper
  readonly #sender: Sender
  readonly #publisher: Link
  readonly #consumer: Link
  readonly #receivers = new Set<AmqpReceiver>()
  readonly #ordered = new Set<OrderedReceiver>()
  readonly #listeners = new Set<(change: StateChange) => void>()
  readonly #host: ReceiverHost
  readonly #preparations: DelayPreparations
  #capabilities: Capabilities | undefined
  #state: DriverState = 'down'
  #isOpen = false
  #closing: Promise<void> | undefined

  readonly cancelDelayed: Driver['cancelDelayed']
  readonly inspector: Inspector = {
    depth: source => this.#withScratch(scratch => depthOf(scratch, this.#topology, queueOf(source))),
    queues: async () => {
      const all = await this.#guarded(async () => await this.#options.listQueues?.(await this.#control()))
      if (all !== undefined) return all
      const { queueNames } = this.#topology
      if (queueNames.length === 0) throw noList()
      return await this.#withScratch(scratch => depthsOf(scratch, queueNames))
    },
    remove: source => this.#withScratch(scratch => removeQueue(scratch, this.#topology, queueOf(source))),
  }

  constructor(options: AmqpDriverOptions) {
    this.#options = options
    const { cancelDelayed } = options
    if (cancelDelayed !== undefined) {
      this.cancelDelayed = (to, id) =>
        this.#guarded(async () => await cancelDelayed(await this.#control(), queueOf(to), id))
    }
    this.#topology = new TopologyKeeper(options.queueArguments)
    this.#sender = new Sender({
      maxUnconfirmed: options.maxUnconfirmed ?? defaultMaxUnconfirmed,
      maxWaiting,
      isDurable: to => this.#topology.isDurable(to.kind === 'topic' ? 'topic' : 'queue', queueOf(to)),
      addressOf: outgoing => this.#addressOf(outgoing),
      delays: () => this.#delays,
      recreate: outgoing => this.#recreate(outgoing),
      hasNotArrived: reason =>
        options.confirmsBeforeClosing === true &&
        hasReplyCode(reason, replyCode.connectionForced) &&
        reason.replyText.endsWith("'shutdown'"),
      obstacle: () => this.#obstacle(),
    })
    this.#preparations = new DelayPreparations({
      prepare: async (address, to) => {
        const prepare = () => this.#guarded(async () => await this.#delays?.prepare(await this.#control(), address))
        try {
          await prepare()
        } catch (error) {
          const isMissing = isChasquiError(error) && error.code === 'destination-missing'
          if (!isMissing || !(await this.#ensure(to))) throw error
          await prepare()
        }
      },
      addressOf: outgoing => this.#addressOf(outgoing),
    })
    this.#host = {
      connection: () => this.#consumer.connection,
      create: (connection, of) => this.#topology.ensure(connection, 'queue', queueOf(of)),
      arriving: headers => this.#delays?.arriving(headers) ?? headers,
      changed: () => this.#update(),
      ended: ended => {
        this.#receivers.delete(ended)
        this.#update()
      },
    }
    const shared = {
      endpoints: options.endpoints,
      connectTimeoutMs: options.connectTimeoutMs,
      reconnectPauseMs: options.reconnectPauseMs,
      changed: () => this.#update(),
      explain: options.explain,
    }
    this.#publisher = new Link({ ...shared, restore: connection => this.#restorePublisher(connection) })
    this.#consumer = new Link({ ...shared, restore: connection => this.#restoreConsumers(connection) })
  }

  get capabilities(): Capabilities {
    return this.#capabilities!
  }

  get state(): DriverState {
    return this.#state
  }

  async open(): Promise<void> {
    await this.#publisher.open()
    this.#isOpen = true
    this.#update()
  }

  async plan(topology: Topology): Promise<readonly Change[]> {
    return await this.#guarded(async () => await this.#topology.plan(await this.#control(), topology))
  }

  async declare(topology: Topology, options: DeclareOptions): Promise<void> {
    await this.#guarded(async () => await this.#topology.declare(await this.#control(), topology, options))
  }

  send(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    const missing = this.#delays === undefined ? [] : this.#preparations.missing(batch, Date.now())
    return missing.length === 0 ? this.#sender.send(batch, deadline) : this.#sendPrepared(batch, missing, deadline)
  }

  async receive(source: Source, sink: Sink, options: ReceiverOptions): Promise<Receiver> {
    const receiver = await this.#guarded(async () => {
      const connection = await this.#consumerConnection()
      const started = this.#receiverFor(source, sink, options)
      await started.start(connection)
      return started
    })
    if (this.#closing !== undefined) {
      await receiver.stop()
      throw closedError()
    }
    if (receiver instanceof OrderedReceiver) this.#ordered.add(receiver)
    else this.#receivers.add(receiver)
    this.#update()
    return receiver
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
    await Promise.all([...this.#receivers, ...this.#ordered].map(receiver => receiver.stop()))
    await Promise.all([
      this.#consumer.close(),
      this.#sender.close(this.#publisher.state === 'up').then(() => this.#publisher.close()),
    ])
    this.#listeners.clear()
  }

  /** Channel, then topology, then what waits to be sent. */
  async #restorePublisher(connection: Connection): Promise<void> {
    if (this.#capabilities === undefined) {
      this.#capabilities = this.#options.capabilities(connection.serverProperties)
      if (this.#capabilities.operations.keyOrder === 'emulated') this.#topology.keepLanes()
    }
    connection.onDrain(() => this.#sender.pump())
    connection.onUnblocked(() => this.#sender.pump())
    await this.#topology.restore(connection)
    await this.#openSenderChannel(connection)
    // Once the link is up, which waits for us here: what is due meanwhile must find its place.
    void this.#prepareAgain()
  }

  async #prepareAgain(): Promise<void> {
    const forgotten = this.#preparations.forget()
    this.#delays?.forget()
    // Those that fail are tried again with the next message.
    await this.#preparations.prepareFor(forgotten)
  }

  async #openSenderChannel(connection: Connection): Promise<void> {
    const channel = await connection.openChannel()
    channel.onClose(error => {
      this.#sender.detach()
      if (connection.closed) return
      // A publication ended its channel: to a topic that vanished, or that this user may not write to.
      this.#recoverChannel(connection, error).catch(cause => {
        connection.destroy(cause instanceof Error ? cause : new Error(textOf(cause)))
      })
    })
    await channel.confirmSelect()
    this.#sender.attach(connection, channel)
  }

  async #recoverChannel(connection: Connection, error: Error | undefined): Promise<void> {
    const missing = error instanceof AmqpError ? /no exchange '([^']*)'/.exec(error.replyText)?.[1] : undefined
    if (missing !== undefined) void this.#prepareAgain()
    if (missing !== undefined) await this.#topology.ensure(connection, 'topic', missing)
    await this.#openSenderChannel(connection)
  }

  async #restoreConsumers(connection: Connection): Promise<void> {
    await Promise.all([...this.#receivers].map(receiver => receiver.restore(connection)))
  }

  /** Waits until delayed messages can go where no delayed one went yet, then sends all that can be sent. */
  async #sendPrepared(
    batch: readonly Outgoing[],
    missing: readonly Outgoing[],
    deadline: number,
  ): Promise<readonly SendResult[]> {
    const late = Promise.withResolvers<'late'>()
    const timer = setTimeout(() => late.resolve('late'), Math.min(Math.max(0, deadline - Date.now()), 2 ** 31 - 1))
    const failed = await Promise.race([this.#preparations.prepareFor(missing), late.promise])
    clearTimeout(timer)
    // Too late for all of them, which the sender says.
    if (failed === 'late') return await this.#sender.send(batch, deadline)
    const sendable = batch.filter(outgoing => !failed.has(outgoing))
    const results = (await this.#sender.send(sendable, deadline)).values()
    return batch.map(outgoing =>
      failed.has(outgoing)
        ? { ok: false, error: refusal(failed.get(outgoing), 'the way of delayed messages'), inDoubt: false }
        : results.next().value!,
    )
  }

  get #delays(): DelayRoutes | undefined {
    return this.#capabilities?.operations.delay === 'emulated' ? this.#options.delays : undefined
  }

  #addressOf({ to, message }: Outgoing): Address {
    return addressOf(to, message, this.#topology.lanesToChoose(to.kind === 'topic' ? 'topic' : 'queue', queueOf(to)))
  }

  #receiverFor(source: Source, sink: Sink, { order, window }: ReceiverOptions): AmqpReceiver | OrderedReceiver {
    const { keyOrder } = this.capabilities.operations
    const queue = queueOf(source)
    if (order !== 'none' && keyOrder === 'unsupported') {
      throw new ChasquiError(
        'unsupported',
        `This engine cannot hand out ${queue} in the order '${order}'. Receive without order.`,
        { details: { order } },
      )
    }
    const lanes = this.#topology.lanesOf(queue)
    if (lanes !== undefined) {
      return new OrderedReceiver({
        host: this.#host,
        source,
        lanes,
        sink,
        window,
        added: receiver => this.#receivers.add(receiver),
        ended: receiver => this.#ordered.delete(receiver),
      })
    }
    if (order !== 'none' && keyOrder === 'emulated') throw notOrdered(queue, queue)
    const { orderArgument } = this.#options
    const consumeArguments = order === 'none' || orderArgument === undefined ? {} : { [orderArgument]: order }
    return new AmqpReceiver(this.#host, { source, queue, consumeArguments }, sink, { window })
  }

  async #recreate(outgoing: Outgoing): Promise<boolean> {
    if (this.#delays !== undefined && isDelayed(outgoing, Date.now())) {
      // Part of its way is gone.
      this.#preparations.forget()
      this.#delays.forget()
      return (await this.#preparations.prepareFor([outgoing])).size === 0
    }
    return await this.#ensure(outgoing.to)
  }

  /** Creates a queue that vanished. Resolves false where it is not ours to create. */
  async #ensure(to: Target): Promise<boolean> {
    if (to.kind === 'topic' || to.kind === 'reply') return false
    return await this.#topology.ensure(await this.#control(), 'queue', queueOf(to))
  }

  /** The connection for looks and declarations: the publisher's unless the broker has stopped reading from it. */
  async #control(): Promise<Connection> {
    if (this.#closing !== undefined) throw closedError()
    if (this.#publisher.state === 'blocked') return await this.#consumerConnection()
    return await this.#publisher.whenUp(reconnectPatienceMs)
  }

  async #consumerConnection(): Promise<Connection> {
    if (this.#closing !== undefined) throw closedError()
    if (this.#consumer.state === 'idle') {
      // Where the broker is away the publisher's link notices its return.
      await this.#publisher.whenUp(reconnectPatienceMs)
      await this.#consumer.open()
    } else if (this.#consumer.state === 'opening') {
      await this.#consumer.open()
    }
    return await this.#consumer.whenUp(reconnectPatienceMs)
  }

  async #withScratch<Result>(work: (scratch: Scratch) => Promise<Result>): Promise<Result> {
    return await this.#guarded(async () => await Scratch.with(await this.#control(), work))
  }

  /**
   * Does it again when the connection is lost under it, for all that is done here can be done twice. Whatever goes
   * wrong comes out as ours.
   */
  async #guarded<Result>(work: () => Promise<Result>): Promise<Result> {
    const until = Date.now() + reconnectPatienceMs
    for (let attempt = 0; ; attempt++) {
      try {
        return await work()
      } catch (error) {
        if (this.#closing !== undefined) throw closedError()
        const failure = refusal(error, 'what was asked for')
        if (!isLoss(failure) || Date.now() >= until) throw failure
      }
      await sleep(backoffMs(attempt))
    }
  }

  #obstacle(): string | undefined {
    const { state, reason } = this.#publisher
    if (state === 'up') return undefined
    const what = state === 'blocked' ? 'the broker takes no messages for now' : 'the connection is lost'
    return reason === undefined ? what : `${what}: ${reason}`
  }

  /** Works out the state from its parts and tells of a change. */
  #update(): void {
    if (!this.#isOpen || this.#closing !== undefined) return
    const { state, reason } = this.#worst()
    if (state === this.#state) return
    this.#state = state
    const change: StateChange = reason === undefined ? { state } : { state, reason }
    for (const listener of [...this.#listeners]) listener(change)
  }

  #worst(): StateChange {
    const publisher = this.#publisher
    if (publisher.state !== 'up' && publisher.state !== 'blocked') return { state: 'down', reason: publisher.reason }
    if (this.#receivers.size > 0) {
      if (this.#consumer.connection === undefined) return { state: 'down', reason: this.#consumer.reason }
      for (const receiver of this.#receivers) {
        if (!receiver.isLive) return { state: 'down', reason: receiver.reason }
      }
    }
    return publisher.state === 'blocked' ? { state: 'blocked', reason: publisher.reason } : { state: 'up' }
  }
}

/** An empty list would say that there are none. */
function noList(): ChasquiError {
  return new ChasquiError(
    'unsupported',
    'AMQP knows no list of queues. Ask for each by its name, or turn on what lists them: `rabbitmq-plugins enable rabbitmq_management`.',
  )
}

function closedError(): ChasquiError {
  return new ChasquiError('closed', 'The driver was closed. Open another.')
}
