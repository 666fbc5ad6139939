/**
 * Which handler takes which type. A plain handler takes every type; contracts' handlers take their own, and the only route
 * takes messages without type.
 */
import { ChasquiError } from '@chasqui/driver'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { AnyContract, Contract, RequestContract, StreamContract } from '../contract/contract.ts'
import { isContract } from '../contract/contract.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { Format } from '../format/format.ts'
import { chain } from '../middleware/chain.ts'
import type { WorkerHandler } from '../worker/worker-handler.ts'
import { isWorkerHandler } from '../worker/worker-handler.ts'
import type { Attempt, Context, IncomingMessage, IncomingMiddleware, RouteInfo } from './incoming.ts'
import type { Station } from './station.ts'

/** What a handler of this contract gets; `unknown` for plain names. */
export type BodyOf<C> = C extends Contract<string, unknown, infer O> ? O : unknown
/** What a handler of this contract returns: the reply for a request, its items one by one for a stream, else anything. */
export type ResultOf<C> =
  C extends StreamContract<unknown, unknown, infer RI, unknown>
    ? AsyncIterable<RI> | Promise<AsyncIterable<RI>>
    : C extends RequestContract<unknown, unknown, infer RI, unknown>
      ? RI | Promise<RI>
      : unknown
/**
 * Returning acknowledges the message, throwing retries it. `body` is the schema's output. A handler that returns no
 * promise costs no extra tick.
 */
export type Handler<C = unknown> = (body: BodyOf<C>, ctx: Context) => ResultOf<C>

/** What a route is made of. With a station, `handler` is its innermost step. */
export interface RouteParts {
  readonly contract: AnyContract | undefined
  readonly handler: AnyHandler
  readonly station?: Station
}

export type AnyHandler = (body: never, ctx: Context) => unknown

/** A contract and its handler, for `handle` and `subscribe` with several types on one destination. Made by `on`. */
export interface Route<C = unknown> {
  readonly contract: C
  readonly handler: AnyHandler | WorkerHandler
}

/** Binds a handler to its contract: `bus.handle([on(ChargeCard, ...), on(RefundCard, ...)])`. */
export function on<C extends AnyContract>(contract: C, handler: Handler<C> | WorkerHandler): Route<C> {
  checkHandler(handler, 'on()')
  if (!isContract(contract)) {
    throw new ChasquiError('option-invalid', 'on() takes what event(), command() or request() returned.')
  }
  return { contract, handler }
}

/** A route as the consumer runs it: the incoming chain with the handler at its end. */
export interface RunnableRoute extends RouteInfo {
  /** A station is its innermost step, which limits the time of its attempts itself. */
  readonly timed: boolean
  run(message: IncomingMessage): unknown
}

export class Routes {
  readonly #byType: ReadonlyMap<string, RunnableRoute>
  /** Takes what no other takes: the plain handler. */
  readonly #any: RunnableRoute | undefined
  /** Takes messages without type. */
  readonly #untyped: RunnableRoute | undefined

  constructor(routes: readonly RouteParts[], middleware: readonly IncomingMiddleware[], formats: PipelineFormats) {
    const byType = new Map<string, RunnableRoute>()
    for (const parts of routes) {
      const { contract } = parts
      const route = runnable(parts, middleware, formats)
      if (contract === undefined) {
        this.#any = route
      } else if (byType.has(contract.type)) {
        throw new ChasquiError(
          'option-invalid',
          `Two routes take the type "${contract.type}". Give each type one handler.`,
        )
      } else {
        byType.set(contract.type, route)
      }
    }
    this.#byType = byType
    this.#untyped = this.#any ?? (byType.size === 1 ? byType.values().next().value : undefined)
  }

  find(type: string | undefined): RunnableRoute | undefined {
    if (type === undefined) return this.#untyped
    return this.#byType.get(type) ?? this.#any
  }
}

/** The destination that all routes share. Throws `option-invalid` for none or several, and for a contract of another kind. */
export function commonDestination(
  routes: readonly Route<AnyContract>[],
  kinds: readonly AnyContract['kind'][],
  where: string,
): string {
  let common: string | undefined
  for (const route of routes) {
    const contract: unknown = route?.contract
    if (!isContract(contract)) throw new ChasquiError('option-invalid', `${where} takes a list of what on() returned.`)
    checkKind(contract, kinds, where)
    common ??= contract.destination
    if (contract.destination !== common) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: "${contract.type}" goes to "${contract.destination}", the routes before it to "${common}". One consumer reads one destination.`,
      )
    }
  }
  if (common === undefined) throw new ChasquiError('option-invalid', `${where} takes at least one route.`)
  return common
}

export function checkKind(contract: AnyContract, kinds: readonly AnyContract['kind'][], where: string): void {
  if (kinds.includes(contract.kind)) return
  const hint = contract.kind === 'event' ? 'Events are subscribed to.' : 'Commands and requests are handled.'
  throw new ChasquiError('option-invalid', `${where} does not take the ${contract.kind} "${contract.type}". ${hint}`)
}

export function checkHandler(handler: unknown, where: string): void {
  if (typeof handler === 'function' || isWorkerHandler(handler)) return
  throw new ChasquiError('option-invalid', `${where} takes a function as its handler, or { worker: URL }.`)
}

function runnable(
  { contract, handler, station }: RouteParts,
  middleware: readonly IncomingMiddleware[],
  formats: PipelineFormats,
): RunnableRoute {
  const schema: StandardSchemaV1 | undefined = contract?.schema
  const format: Format | undefined =
    contract === undefined ? undefined : formats.registry.named(contract.format ?? 'json')
  const run = chain<IncomingMessage, unknown>(middleware, message => {
    const attempt = message as Attempt
    if (attempt.startedAt > 0) attempt.handlerStartedAt = performance.now()
    return handler(message.body as never, message)
  })
  return { contract, schema, format, run, timed: station !== undefined }
}
