/**
 * A contract: a message type declared once, shared by sender and receiver. It carries the type's name, where its
 * messages go, the schema of the body, its format and its key; the types of handler and body are inferred from it.
 *
 * Contracts hold no state and open nothing: they may be made before any bus and used on several.
 */
import { ChasquiError } from '@chasqui/driver'
import type { StandardSchemaV1 } from '@standard-schema/spec'
import { checkOptions } from '../options/option.ts'
import { contractOptions } from '../options/sending.ts'
import { checkName } from './names.ts'

export interface ContractOptions<I = unknown> {
  /** The queue (command, request) or topic (event) of this type's messages. Default: the type's name. */
  readonly destination?: string
  /** Units of order of the destination, fixed when it is created: 1 to 1024. Default: the engine's. */
  readonly lanes?: number
  /** The key of a message: messages of one key keep their order. Called with the body as given to `send` or `publish`. */
  readonly key?: (body: I) => string
  /** A content type, or the short name of a format (`json`, `text`, `bytes`). Default: `json`. */
  readonly format?: string
  /** The version of the contract, from 1. Default: none. */
  readonly version?: number
  /** For requests: the reply is a stream of items, each of the reply schema. Default `false`. */
  readonly stream?: boolean
}

/** What all contracts have. `~types` exists for the compiler alone. */
export interface Contract<K extends string = string, I = unknown, O = unknown> {
  readonly kind: K
  /** The type's name, which travels with each message. */
  readonly type: string
  readonly destination: string
  readonly schema?: StandardSchemaV1
  /** The schema of the reply, for a request. */
  readonly replySchema?: StandardSchemaV1
  readonly key?: (body: never) => string
  readonly format?: string
  readonly lanes?: number
  readonly version?: number
  /** The reply is a stream of items, each of the reply schema. */
  readonly stream?: boolean
  readonly '~types'?: { readonly in: I; readonly out: O }
}
export interface EventContract<I = unknown, O = I> extends Contract<'event', I, O> {}
export interface CommandContract<I = unknown, O = I> extends Contract<'command', I, O> {}
export interface RequestContract<I = unknown, O = unknown, RI = unknown, RO = unknown>
  extends Contract<'request', I, O> {
  readonly stream?: false
  readonly '~reply'?: { readonly in: RI; readonly out: RO }
}
/** A request that is answered by a stream of items. */
export interface StreamContract<I = unknown, O = unknown, RI = unknown, RO = unknown>
  extends Contract<'request', I, O> {
  readonly stream: true
  readonly '~items'?: { readonly in: RI; readonly out: RO }
}
export type AnyContract = EventContract | CommandContract | RequestContract | StreamContract

type Schema = StandardSchemaV1
type In<S extends Schema> = StandardSchemaV1.InferInput<S>
type Out<S extends Schema> = StandardSchemaV1.InferOutput<S>

/**
 * Declares an event: published to a topic, for any number of subscriptions. With a schema that transforms, the wire
 * carries the schema's input and handlers get its output. Throws `name-invalid` and `option-invalid`.
 *
 *     const OrderPlaced = event('order.placed', z.object({ orderId: z.string() }), { key: order => order.orderId })
 */
export function event<S extends Schema>(
  type: string,
  schema: S,
  options?: ContractOptions<In<S>>,
): EventContract<In<S>, Out<S>>
/** Declares an event whose body nobody checks at run time. */
export function event<T = unknown>(type: string, options?: ContractOptions<T>): EventContract<T>
export function event(type: string, second?: Schema | ContractOptions, third?: ContractOptions): EventContract {
  return isSchema(second) ? declare('event', type, third, second) : declare('event', type, second)
}

/** Declares a command: sent to one queue, handled once. Otherwise as `event`. */
export function command<S extends Schema>(
  type: string,
  schema: S,
  options?: ContractOptions<In<S>>,
): CommandContract<In<S>, Out<S>>
/** Declares a command whose body nobody checks at run time. */
export function command<T = unknown>(type: string, options?: ContractOptions<T>): CommandContract<T>
export function command(type: string, second?: Schema | ContractOptions, third?: ContractOptions): CommandContract {
  return isSchema(second) ? declare('command', type, third, second) : declare('command', type, second)
}

/** Declares a request: sent to one queue, answered by its handler. Both schemas are checked on both sides. */
export function request<S extends Schema, R extends Schema>(
  type: string,
  schema: S,
  reply: R,
  options?: ContractOptions<In<S>> & { readonly stream?: false },
): RequestContract<In<S>, Out<S>, In<R>, Out<R>>
/**
 * Declares a request that is answered by a stream: its handler is an async generator, and `item` is the schema of each item.
 *
 *     const Rows = request('reports.rows', z.object({ year: z.number() }), z.object({ total: z.number() }), { stream: true })
 */
export function request<S extends Schema, R extends Schema>(
  type: string,
  schema: S,
  item: R,
  options: ContractOptions<In<S>> & { readonly stream: true },
): StreamContract<In<S>, Out<S>, In<R>, Out<R>>
export function request(type: string, schema: Schema, reply: Schema, options?: ContractOptions): AnyContract {
  return declare('request', type, options, schema, reply) as AnyContract
}

/** True for what `event`, `command` and `request` return. */
export function isContract(value: unknown): value is AnyContract {
  return value instanceof DeclaredContract
}

class DeclaredContract<K extends 'event' | 'command' | 'request'> implements Contract<K> {
  readonly kind: K
  readonly type: string
  readonly destination: string
  readonly schema?: StandardSchemaV1
  readonly replySchema?: StandardSchemaV1
  readonly key?: (body: never) => string
  readonly format?: string
  readonly lanes?: number
  readonly version?: number
  readonly stream: boolean

  constructor(kind: K, type: string, options: ContractOptions, schema?: Schema, reply?: Schema) {
    this.kind = kind
    this.type = type
    this.destination = options.destination ?? type
    this.schema = schema
    this.replySchema = reply
    this.key = options.key
    this.format = options.format
    this.lanes = options.lanes
    this.version = options.version
    this.stream = options.stream ?? false
    Object.freeze(this)
  }
}

function declare<K extends 'event' | 'command' | 'request'>(
  kind: K,
  type: string,
  options: ContractOptions<never> = {},
  schema?: Schema,
  reply?: Schema,
): Contract<K> {
  checkName('type', type)
  checkOptions(contractOptions, options, `${kind}('${type}')`)
  if (options.destination !== undefined) checkName(kind === 'event' ? 'topic' : 'queue', options.destination)
  if (kind !== 'request' && options.stream !== undefined) {
    throw new ChasquiError('option-invalid', `${kind}('${type}'): only a request can be answered by a stream.`)
  }
  if (kind === 'request' && (!isSchema(schema) || !isSchema(reply))) {
    throw new ChasquiError(
      'option-invalid',
      `request('${type}') takes two schemas, the request's and the reply's, of a library that follows Standard Schema.`,
    )
  }
  return new DeclaredContract(kind, type, options as ContractOptions, schema, reply)
}

function isSchema(value: unknown): value is Schema {
  // Some libraries' schemas are functions (arktype).
  return (
    ((typeof value === 'object' && value !== null) || typeof value === 'function') &&
    '~standard' in value &&
    typeof value['~standard'] === 'object'
  )
}
