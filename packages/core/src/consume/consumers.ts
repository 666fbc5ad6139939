/** The consumers of a bus: each put together from its parts, and known until it ends. */
import type { Driver, Source } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import { BatchConsumer } from '../batch/batch-consumer.ts'
import type { BatchOptions } from '../batch/batch-options.ts'
import { batchSettings } from '../batch/batch-options.ts'
import { Gatherer } from '../batch/gatherer.ts'
import type { BatchHandler } from '../batch/handle-batch.ts'
import type { AnyContract } from '../contract/contract.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { EventHub } from '../observe/events.ts'
import type { Logger } from '../observe/logging.ts'
import type { Asking } from '../request/asking.ts'
import { Replies } from '../request/replies.ts'
import { sourceName } from '../retry/dead-letter.ts'
import { DeadLetterMover } from '../retry/mover.ts'
import { PutAside } from '../retry/put-aside.ts'
import type { Destinations, Wanted } from '../send/destinations.ts'
import type { Outlets } from '../send/outlet.ts'
import { Settlements } from '../settle/settlement.ts'
import type { GivenRoute } from '../worker/stations.ts'
import { checkedRoutes, routeParts, withThreads } from '../worker/stations.ts'
import type { Consumer } from './consumer.ts'
import { MessageConsumer } from './consumer.ts'
import type { IncomingMiddleware, Scope } from './incoming.ts'
import type { ConsumeDefaults, ConsumeOptions, ConsumeSettings, ReceiveOptions } from './options.ts'
import { consumeSettings, receiveSettings } from './options.ts'
import type { Delivery } from './receive.ts'
import { ReceiveLoop } from './receive.ts'
import type { RouteParts } from './routes.ts'
import { Routes } from './routes.ts'
import type { Station } from './station.ts'

export interface ConsumersParts {
  readonly driver: Driver
  /** The application's name. */
  readonly name: string
  readonly events: EventHub
  readonly logger: Logger
  readonly formats: PipelineFormats
  readonly limits: { readonly sendTimeoutMs: number }
  readonly incoming: readonly IncomingMiddleware[]
  /** Defaults of the bus. */
  readonly consume: ConsumeDefaults
  readonly destinations: Destinations
  readonly outlets: Outlets
  readonly asking: Asking
  /** Throws once the bus is being closed. */
  readonly refuseWhenClosing: () => void
}

export class Consumers {
  readonly #parts: ConsumersParts
  readonly #consumers = new Set<MessageConsumer>()
  readonly #loops = new Set<ReceiveLoop>()

  constructor(parts: ConsumersParts) {
    this.#parts = parts
  }

  /** Those that run handlers. */
  get handling(): Iterable<MessageConsumer> {
    return this.#consumers
  }

  /** Those and the loops that receive by hand. */
  get all(): readonly (MessageConsumer | ReceiveLoop)[] {
    return [...this.#consumers, ...this.#loops]
  }

  async stop(deadlineMs: number): Promise<void> {
    const consumers = [...this.#consumers].map(consumer => consumer.stop({ deadlineMs }))
    const loops = [...this.#loops].map(loop => loop.stop(deadlineMs))
    await Promise.all([...consumers, ...loops])
  }

  async handle(
    source: Source,
    handlers: readonly GivenRoute[],
    options: ConsumeOptions,
    lanes: number | undefined,
    where: string,
  ): Promise<Consumer> {
    this.#parts.refuseWhenClosing()
    const checked = checkedRoutes(handlers, where)
    const given = withThreads(checked, options)
    const settings = consumeSettings(given, this.#parts.consume, this.#parts.driver.capabilities, lanes, where)
    const { timeoutMs } = settings
    const parts = { sourceName: sourceName(source), timeoutMs, events: this.#parts.events }
    return this.#run(source, routeParts(checked, parts), settings)
  }

  async handleBatch(
    source: Source,
    contract: AnyContract | undefined,
    handler: BatchHandler<never>,
    options: BatchOptions,
    where: string,
  ): Promise<Consumer> {
    this.#parts.refuseWhenClosing()
    if (typeof handler !== 'function') {
      throw new ChasquiError('option-invalid', `${where} takes a function as its handler.`)
    }
    const settings = batchSettings(
      options,
      this.#parts.consume,
      this.#parts.driver.capabilities,
      contract?.lanes,
      where,
    )
    const gatherer = new Gatherer({ ...settings, handler, scope: this.scope(source), events: this.#parts.events })
    const routes = [{ contract, handler: gatherer.gather, station: gatherer }]
    const consumer = await this.#run(source, routes, settings.consume)
    return new BatchConsumer(consumer, gatherer, settings.size, where)
  }

  /** The options have been checked. */
  async *receive(
    source: Source,
    contract: AnyContract | undefined,
    options: ReceiveOptions,
  ): AsyncGenerator<Delivery<unknown>, void, void> {
    const { window, wanted, signal } = receiveSettings(options, this.#parts.consume, contract?.lanes)
    const routes = this.#routes([{ contract, handler: (body: unknown) => body }])
    await this.#declare(source, wanted)
    this.#parts.refuseWhenClosing()
    const scope = this.scope(source)
    const settlements = new Settlements(scope.sourceName, this.#parts.events)
    const loop = new ReceiveLoop({
      driver: this.#parts.driver,
      scope,
      routes,
      window,
      signal,
      settlements,
      mover: this.#mover(source, settlements, wanted, false),
      events: this.#parts.events,
      ended: ended => this.#loops.delete(ended),
    })
    this.#loops.add(loop)
    yield* loop.deliveries()
  }

  /** What all messages of one source have in common. */
  scope(source: Source): Scope {
    return {
      source,
      sourceName: sourceName(source),
      application: this.#parts.name,
      formats: this.#parts.formats,
      logger: this.#parts.logger,
      outlets: this.#parts.outlets,
      requests: this.#parts.asking.requests,
      streams: this.#parts.asking.streams,
    }
  }

  async #run(source: Source, handlers: readonly RouteParts[], settings: ConsumeSettings): Promise<Consumer> {
    const routes = this.#routes(handlers)
    await this.#declare(source, settings.wanted)
    const stations = handlers.flatMap(({ station }) => station ?? [])
    try {
      for (const station of stations) await station.open()
      this.#parts.refuseWhenClosing()
      return await this.#started(source, routes, settings, stations)
    } catch (error) {
      for (const station of stations) await station.close()
      throw error
    }
  }

  async #started(
    source: Source,
    routes: Routes,
    settings: ConsumeSettings,
    stations: readonly Station[],
  ): Promise<Consumer> {
    const scope = this.scope(source)
    const settlements = new Settlements(scope.sourceName, this.#parts.events)
    const consumer = new MessageConsumer({
      driver: this.#parts.driver,
      scope,
      routes,
      settings,
      settlements,
      mover: this.#mover(source, settlements, settings.wanted, settings.faults),
      putAside: new PutAside({
        driver: this.#parts.driver,
        settlements,
        source,
        sendTimeoutMs: this.#parts.limits.sendTimeoutMs,
      }),
      replies: new Replies(
        this.#parts.outlets,
        this.#parts.formats,
        this.#parts.events,
        this.#parts.asking.runs,
        scope.sourceName,
      ),
      events: this.#parts.events,
      stations,
      ended: ended => this.#consumers.delete(ended),
    })
    this.#consumers.add(consumer)
    try {
      await consumer.start()
    } catch (error) {
      this.#consumers.delete(consumer)
      throw error
    }
    return consumer
  }

  #routes(handlers: ConstructorParameters<typeof Routes>[0]): Routes {
    return new Routes(handlers, this.#parts.incoming, this.#parts.formats)
  }

  #mover(source: Source, settlements: Settlements, wanted: Wanted, faults: boolean): DeadLetterMover {
    return new DeadLetterMover({
      driver: this.#parts.driver,
      destinations: this.#parts.destinations,
      settlements,
      events: this.#parts.events,
      source,
      consumer: this.#parts.name,
      sendTimeoutMs: this.#parts.limits.sendTimeoutMs,
      faults,
      create: wanted.create,
    })
  }

  async #declare(source: Source, wanted: Wanted): Promise<void> {
    const ready =
      source.kind === 'subscription'
        ? this.#parts.destinations.subscription(source.topic, source.name, wanted)
        : this.#parts.destinations.queue(source.name, wanted)
    // Looked for anew by each consumer: somebody may have deleted it since the last one started.
    await ready.wait()
  }
}
