/** The bus as an application sees it: everything that can be done with a connection to an engine. */
import type { Capabilities, Change, Inspector } from '@chasqui/driver'
import type { Registry } from 'prom-client'
import type { BatchConsumers } from './batch/handle-batch.ts'
import type { Consumer } from './consume/consumer.ts'
import type { ConsumeOptions, ReceiveOptions } from './consume/options.ts'
import type { Delivery } from './consume/receive.ts'
import type { BodyOf, Handler, Route } from './consume/routes.ts'
import type { CommandContract, EventContract, RequestContract, StreamContract } from './contract/contract.ts'
import type { DeadLetterSource, DeadLetters } from './dead-letters/dead-letters.ts'
import type { EventKind, EventListener } from './observe/events.ts'
import type { DelayedAt } from './send/cancel.ts'
import type { Senders } from './send/senders.ts'
import type { Need } from './send/topology.ts'
import type { WorkerHandler } from './worker/worker-handler.ts'

/** What `health()` answers. */
export interface Health {
  /** Everything is. */
  readonly ok: boolean
  /** The connection, and each consumer by the name of its source. */
  readonly details: readonly { readonly name: string; readonly ok: boolean; readonly reason?: string }[]
}

/** A connection to an engine. `await using` closes it. */
export interface Bus extends Senders, BatchConsumers, AsyncDisposable {
  /** What the engine can do, as data. */
  readonly capabilities: Capabilities
  /**
   * Handles the messages of a queue, each by one of the competing consumers. Resolves when the consumer is up. A handler that keeps
   * the processor busy runs in threads: `{ worker: new URL('./resize.ts', import.meta.url) }` (`worker-invalid`).
   *
   *     await bus.handle(ChargeCard, async (charge, ctx) => { ... })
   */
  handle<C extends CommandContract | RequestContract | StreamContract | string>(
    from: C,
    handler: Handler<C> | WorkerHandler,
    options?: ConsumeOptions,
  ): Promise<Consumer>
  /** Handles several types that share one queue. A type without a route is dead-lettered. */
  handle(
    routes: readonly Route<CommandContract | RequestContract | StreamContract>[],
    options?: ConsumeOptions,
  ): Promise<Consumer>
  /** Handles a topic's messages: each subscription gets its own copy, consumers of one subscription compete. */
  subscribe<C extends EventContract | string>(
    to: C,
    subscription: string,
    handler: Handler<C> | WorkerHandler,
    options?: ConsumeOptions,
  ): Promise<Consumer>
  /** Handles several types of one topic. A type without a route is acknowledged and counted (`unrouted`). */
  subscribe(
    topic: string,
    subscription: string,
    routes: readonly Route<EventContract>[],
    options?: ConsumeOptions,
  ): Promise<Consumer>
  /**
   * Receives the messages of a queue, or of a topic's subscription, one by one, to be settled by hand. Receiving begins with
   * the loop and ends with it.
   */
  receive<C extends CommandContract | string>(
    from: C,
    options?: ReceiveOptions,
  ): AsyncGenerator<Delivery<BodyOf<C>>, void, void>
  receive<C extends EventContract>(
    from: C,
    options: ReceiveOptions & { readonly subscription: string },
  ): AsyncGenerator<Delivery<BodyOf<C>>, void, void>
  /**
   * What `declare` would do, without doing it: a line for each queue, topic and subscription. `none`: it is there as
   * wanted; `create`: it is absent; `conflict`: it is there and differs, as the line says.
   */
  plan(needs: readonly Need[]): Promise<readonly Change[]>
  /**
   * Creates what is absent of the destinations of these contracts, queues, topics and subscriptions, with their
   * dead-letter queues; what is there stays as it is. Rejects with `name-invalid`, `option-invalid`,
   * `destination-kind`, `lanes-differ`, `destination-not-ordered`, `access-refused`.
   *
   *     await bus.declare([ChargeCard, { queue: 'orders', lanes: 8 }, { topic: OrderPlaced, subscription: 'billing' }])
   */
  declare(needs: readonly Need[]): Promise<void>
  /**
   * Takes back a message that was sent with `delayMs` or `at` and is not due yet, by the id in its receipt; an event from one of
   * its subscriptions. `false`: no message of this id waits there. Rejects with `destination-missing`, and
   * `unsupported` where the engine cannot (RabbitMQ).
   *
   *     const { id } = await bus.send(ChargeCard, charge, { delayMs: 60_000 })
   *     await bus.cancel(ChargeCard, id)
   */
  cancel(at: DelayedAt, id: string): Promise<boolean>
  /**
   * The dead letters of a queue or a subscription: to be looked at, sent back, changed, discarded. Throws `name-invalid`,
   * `option-invalid`, `destination-kind`.
   *
   *     await bus.deadLetters({ topic: OrderPlaced, subscription: 'billing' }).redrive()
   */
  deadLetters(of: DeadLetterSource): DeadLetters
  /** How the connection and the consumers are. Never throws. */
  health(): Promise<Health>
  /** Looks into the engine; absent where it cannot be looked into. */
  readonly inspector: Inspector | undefined
  /** Calls the listener for each event of these kinds (default: all); the returned function ends that. */
  observe(listener: EventListener, kinds?: readonly EventKind[]): () => void
  /**
   * The metrics of this bus in Prometheus' text format. Rejects with `option-invalid` where `connect` was not asked for them
   * (`metrics: true`).
   */
  metrics(): Promise<string>
  /**
   * The prom-client registry of these metrics, to be merged with an application's own (`Registry.merge`); `undefined` where `connect`
   * was not asked for metrics.
   */
  readonly metricsRegistry: Registry | undefined
  /**
   * Drains and closes: intake stops, handlers finish and what was sent is confirmed until the deadline (default 30,000
   * ms), then the connection closes; a send that the engine has not taken by then rejects. May be called twice.
   */
  close(options?: { readonly deadlineMs?: number }): Promise<void>
}
