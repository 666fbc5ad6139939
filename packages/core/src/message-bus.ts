/**
 * What an application holds as its bus. Puts the parts together and hands each call to the one whose matter it is; it holds
 * no policy itself.
 */
import type { Capabilities, Change, Driver, Inspector, Source } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { Registry } from 'prom-client'
import type { BatchOptions } from './batch/batch-options.ts'
import type { BatchHandler } from './batch/handle-batch.ts'
import type { Bodies, SendBatchOptions, SendOutcome } from './batch/send-batch.ts'
import { sendBatch } from './batch/send-batch.ts'
import type { Bus, Health } from './bus.ts'
import type { Consumer } from './consume/consumer.ts'
import { Consumers } from './consume/consumers.ts'
import type { IncomingMiddleware } from './consume/incoming.ts'
import type { ConsumeDefaults, ConsumeOptions, ReceiveOptions } from './consume/options.ts'
import type { Delivery } from './consume/receive.ts'
import type { BodyOf, Route } from './consume/routes.ts'
import { checkHandler, checkKind, commonDestination } from './consume/routes.ts'
import type {
  AnyContract,
  CommandContract,
  EventContract,
  RequestContract,
  StreamContract,
} from './contract/contract.ts'
import { isContract } from './contract/contract.ts'
import { checkSourceName, checkSubscription } from './contract/names.ts'
import type { DeadLetterSource, DeadLetters } from './dead-letters/dead-letters.ts'
import { deadLettersOf } from './dead-letters/dead-letters.ts'
import { RunningWalks } from './dead-letters/running.ts'
import { ownAttributes } from './encode/attributes.ts'
import type { PipelineFormats } from './encode/pipeline-formats.ts'
import type { EventHub, EventKind, EventListener } from './observe/events.ts'
import { eventKinds } from './observe/events.ts'
import type { Logger } from './observe/logging.ts'
import type { InFlight, Metrics } from './observe/metrics.ts'
import { closeOptions } from './options/connecting.ts'
import { receiveOptions } from './options/consuming.ts'
import { checkOptions } from './options/option.ts'
import { Asking } from './request/asking.ts'
import type { DelayedAt } from './send/cancel.ts'
import { cancelDelayed } from './send/cancel.ts'
import { Destinations } from './send/destinations.ts'
import type { OutgoingMiddleware, Receipt } from './send/outgoing.ts'
import { Outlets } from './send/outlet.ts'
import type { SenderLimits } from './send/sender.ts'
import { closedError, Sender } from './send/sender.ts'
import type { RequestOptions, SendOptions, StreamOptions } from './send/senders.ts'
import type { Need } from './send/topology.ts'
import { destinationsFor } from './send/topology.ts'
import type { GivenRoute } from './worker/stations.ts'

/** What a bus is put together from. */
export interface BusParts {
  readonly driver: Driver
  /** The application's name. */
  readonly name: string
  readonly events: EventHub
  readonly logger: Logger
  readonly formats: PipelineFormats
  readonly limits: SenderLimits & { readonly maxHeaderBytes: number }
  readonly outgoing: readonly OutgoingMiddleware[]
  readonly incoming: readonly IncomingMiddleware[]
  readonly consume: ConsumeDefaults
  /** Makes the metrics of the bus; absent where nobody asked for any. */
  readonly metrics?: ((inFlight: () => Iterable<InFlight>) => Metrics) | undefined
  /** Called when all is closed, for what `connect` has opened beside the driver. */
  readonly closed: () => void
}

export class MessageBus implements Bus {
  readonly #parts: BusParts
  readonly #driver: Driver
  readonly #events: EventHub
  readonly #sender: Sender
  readonly #destinations: Destinations
  readonly #outlets: Outlets
  readonly #asking: Asking
  readonly #metrics: Metrics | undefined
  readonly #consumers: Consumers
  readonly #walks = new RunningWalks()
  /** Why the driver is down or blocked, as it last said. */
  #reason: string | undefined
  #downSince = 0
  #closing: Promise<void> | undefined

  constructor(parts: BusParts) {
    const { driver, events, limits, formats } = parts
    this.#parts = parts
    this.#driver = driver
    this.#events = events
    this.#sender = new Sender(driver, limits, events)
    this.#destinations = new Destinations(driver, limits.sendTimeoutMs)
    this.#outlets = new Outlets({
      destinations: this.#destinations,
      formats,
      capabilities: driver.capabilities,
      maxHeaderBytes: limits.maxHeaderBytes,
      attributes: ownAttributes(parts.name),
      middleware: parts.outgoing,
      sender: this.#sender,
      events,
    })
    this.#asking = new Asking({
      driver,
      outlets: this.#outlets,
      events,
      incoming: parts.incoming,
      scope: name => this.#consumers.scope({ kind: 'reply', name }),
    })
    this.#consumers = new Consumers({
      ...parts,
      destinations: this.#destinations,
      outlets: this.#outlets,
      asking: this.#asking,
      refuseWhenClosing: () => this.#refuseWhenClosing(),
    })
    this.#metrics = parts.metrics?.(() => this.#consumers.handling)
    driver.onState(change => this.#stateChanged(change.state, change.reason))
  }

  get capabilities(): Capabilities {
    return this.#driver.capabilities
  }

  get inspector(): Inspector | undefined {
    return this.#driver.inspector
  }

  send(to: CommandContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    return this.#outlets.send('command', to, body, options)
  }

  publish(to: EventContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    return this.#outlets.send('event', to, body, options)
  }

  sendBatch(to: CommandContract | string, bodies: Bodies<unknown>, options?: SendBatchOptions): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.send(to, body, each), 'sendBatch()')
  }

  publishBatch(
    to: EventContract | string,
    bodies: Bodies<unknown>,
    options?: SendBatchOptions,
  ): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.publish(to, body, each), 'publishBatch()')
  }

  request<RO>(
    to: RequestContract<unknown, unknown, unknown, RO> | string,
    body: unknown,
    options?: RequestOptions,
  ): Promise<RO> {
    if (this.#closing !== undefined) return Promise.reject(closedError())
    return this.#asking.requests.request(to, body, options) as Promise<RO>
  }

  stream<RO>(
    to: StreamContract<unknown, unknown, unknown, RO> | string,
    body: unknown,
    options?: StreamOptions,
  ): AsyncGenerator<RO, void, void> {
    this.#refuseWhenClosing()
    return this.#asking.streams.stream(to, body, options) as AsyncGenerator<RO, void, void>
  }

  async handle(
    from: AnyContract | string | readonly Route<AnyContract>[],
    second?: unknown,
    third?: ConsumeOptions,
  ): Promise<Consumer> {
    const kinds = ['command', 'request'] as const
    if (isRouteList(from)) {
      const queue = commonDestination(from, kinds, 'handle()')
      const options = (second ?? {}) as ConsumeOptions
      return this.#consumers.handle({ kind: 'queue', name: queue }, from, options, lanesOf(from), `handle('${queue}')`)
    }
    checkHandler(second, 'handle()')
    const { name, contract } = this.#origin(from, kinds, 'handle()')
    const routes = [{ contract, handler: second as GivenRoute['handler'] }]
    return this.#consumers.handle({ kind: 'queue', name }, routes, third ?? {}, contract?.lanes, `handle('${name}')`)
  }

  async subscribe(
    to: AnyContract | string,
    subscription: string,
    third: unknown,
    options: ConsumeOptions = {},
  ): Promise<Consumer> {
    const kinds = ['event'] as const
    const where = 'subscribe()'
    const { name: topic, contract } = this.#origin(to, kinds, where)
    checkSubscription(topic, subscription)
    const source: Source = { kind: 'subscription', topic, name: subscription }
    if (!isRouteList(third)) {
      checkHandler(third, where)
      const routes = [{ contract, handler: third as GivenRoute['handler'] }]
      return this.#consumers.handle(
        source,
        routes,
        options,
        contract?.lanes,
        `subscribe('${topic}', '${subscription}')`,
      )
    }
    const common = commonDestination(third, kinds, where)
    if (common !== topic) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: the routes belong to the topic "${common}", not to "${topic}".`,
      )
    }
    return this.#consumers.handle(source, third, options, lanesOf(third), `subscribe('${topic}', '${subscription}')`)
  }

  async handleBatch<C extends CommandContract | string>(
    from: C,
    handler: BatchHandler<C>,
    options: BatchOptions = {},
  ): Promise<Consumer> {
    const { name, contract } = this.#origin(from, ['command'], 'handleBatch()')
    return this.#consumers.handleBatch({ kind: 'queue', name }, contract, handler, options, `handleBatch('${name}')`)
  }

  async subscribeBatch<C extends EventContract | string>(
    to: C,
    subscription: string,
    handler: BatchHandler<C>,
    options: BatchOptions = {},
  ): Promise<Consumer> {
    const { name: topic, contract } = this.#origin(to, ['event'], 'subscribeBatch()')
    checkSubscription(topic, subscription)
    const source: Source = { kind: 'subscription', topic, name: subscription }
    return this.#consumers.handleBatch(
      source,
      contract,
      handler,
      options,
      `subscribeBatch('${topic}', '${subscription}')`,
    )
  }

  async *receive<C extends CommandContract | EventContract | string>(
    from: C,
    options: ReceiveOptions = {},
  ): AsyncGenerator<Delivery<BodyOf<C>>, void, void> {
    this.#refuseWhenClosing()
    checkOptions(receiveOptions, options, 'receive()')
    const { subscription } = options
    const kinds = subscription === undefined ? (['command'] as const) : (['event'] as const)
    const { name, contract } = this.#origin(from, kinds, 'receive()')
    if (subscription !== undefined) checkSubscription(name, subscription)
    const source: Source =
      subscription === undefined ? { kind: 'queue', name } : { kind: 'subscription', topic: name, name: subscription }
    yield* this.#consumers.receive(source, contract, options) as AsyncGenerator<Delivery<BodyOf<C>>, void, void>
  }

  async plan(needs: readonly Need[]): Promise<readonly Change[]> {
    this.#refuseWhenClosing()
    return await this.#driver.plan({ destinations: destinationsFor(needs, 'plan()') })
  }

  async declare(needs: readonly Need[]): Promise<void> {
    this.#refuseWhenClosing()
    await this.#destinations.declare(destinationsFor(needs, 'declare()'))
  }

  async cancel(at: DelayedAt, id: string): Promise<boolean> {
    this.#refuseWhenClosing()
    return await cancelDelayed(this.#driver, at, id)
  }

  deadLetters(of: DeadLetterSource): DeadLetters {
    this.#refuseWhenClosing()
    const { driver, events, formats, limits, name } = this.#parts
    return deadLettersOf({ driver, events, formats, limits, name, running: this.#walks }, of)
  }

  async health(): Promise<Health> {
    const { state } = this.#driver
    const closed = this.#closing !== undefined
    const reason = closed
      ? 'the bus is closed'
      : state === 'up'
        ? undefined
        : (this.#reason ?? `the engine is ${state}`)
    const details = [detail('connection', reason)]
    for (const { name, failure } of this.#consumers.all) details.push(detail(name, failure))
    return { ok: details.every(one => one.ok), details }
  }

  observe(listener: EventListener, kinds: readonly EventKind[] = eventKinds): () => void {
    if (typeof listener !== 'function') throw new ChasquiError('option-invalid', 'observe() takes a function.')
    const unknown = kinds.find(kind => !eventKinds.includes(kind))
    if (unknown !== undefined) {
      throw new ChasquiError('option-invalid', `There is no event "${unknown}". Known are ${eventKinds.join(', ')}.`)
    }
    return this.#events.listen(listener, kinds)
  }

  get metricsRegistry(): Registry | undefined {
    return this.#metrics?.registry
  }

  async metrics(): Promise<string> {
    if (this.#metrics !== undefined) return this.#metrics.registry.metrics()
    throw new ChasquiError('option-invalid', 'This bus counts nothing. Ask for it: connect(url, { metrics: true }).')
  }

  close(options: { readonly deadlineMs?: number } = {}): Promise<void> {
    if (this.#closing !== undefined) return this.#closing
    try {
      checkOptions(closeOptions, options, 'close()')
    } catch (error) {
      return Promise.reject(error)
    }
    this.#closing = this.#close(options.deadlineMs ?? closeOptions.deadlineMs.default)
    return this.#closing
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** The destination and, unless a plain name was given, the contract. */
  #origin(
    from: AnyContract | string,
    kinds: readonly AnyContract['kind'][],
    where: string,
  ): { name: string; contract: AnyContract | undefined } {
    if (typeof from === 'string') {
      checkSourceName(kinds.includes('event') ? 'topic' : 'queue', from)
      return { name: from, contract: undefined }
    }
    if (!isContract(from)) {
      throw new ChasquiError(
        'option-invalid',
        `${where} takes a name, or what event(), command() or request() returned.`,
      )
    }
    checkKind(from, kinds, where)
    return { name: from.destination, contract: from }
  }

  #stateChanged(state: Driver['state'], reason: string | undefined): void {
    if (this.#closing !== undefined) return
    this.#reason = reason
    this.#events.emit({ kind: 'state', state, reason })
    if (state === 'down' && this.#downSince === 0) this.#downSince = performance.now()
    if (state === 'up' && this.#downSince > 0) {
      this.#events.emit({ kind: 'reconnected', downMs: Math.round(performance.now() - this.#downSince) })
      this.#downSince = 0
    }
  }

  #refuseWhenClosing(): void {
    if (this.#closing !== undefined) throw closedError()
  }

  async #close(deadlineMs: number): Promise<void> {
    const startedAt = performance.now()
    const walks = settledWithin(this.#walks.end(), deadlineMs)
    await this.#consumers.stop(deadlineMs)
    await walks
    this.#asking.streams.end(closedError())
    const drained = this.#sender.close()
    await settledWithin(drained, deadlineMs - (performance.now() - startedAt))
    await this.#asking.close(closedError())
    // Settles what the engine has not taken by now (it is away, or blocks senders): with `closed`, in doubt where it was sent.
    await this.#driver.close()
    await drained
    this.#events.emit({ kind: 'closed', durationMs: performance.now() - startedAt })
    this.#parts.closed()
  }
}

/** Resolves when the promise does, or after that many milliseconds. */
async function settledWithin(promise: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, Math.max(timeoutMs, 0))
  })
  await Promise.race([promise, late])
  clearTimeout(timer)
}

function isRouteList(value: unknown): value is readonly Route<AnyContract>[] {
  return Array.isArray(value)
}

/** The lanes that the first route asks for which asks for any. */
function lanesOf(routes: readonly Route<AnyContract>[]): number | undefined {
  return routes.find(route => route.contract.lanes !== undefined)?.contract.lanes
}

function detail(name: string, reason: string | undefined): Health['details'][number] {
  return reason === undefined ? { name, ok: true } : { name, ok: false, reason }
}
