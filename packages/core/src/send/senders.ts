/** The face of sending: what a bus and the `ctx` of a handler have in common, and the options of each call. */
import type { BatchSenders } from '../batch/send-batch.ts'
import type { CommandContract, EventContract, RequestContract, StreamContract } from '../contract/contract.ts'
import type { UserHeaders } from './headers.ts'
import type { Receipt } from './outgoing.ts'

export interface SendOptions {
  /** Messages of one key keep their order. Default: the contract's key function. */
  readonly key?: string
  readonly headers?: UserHeaders
  /** Milliseconds before which the message is not delivered. Default 0. `unsupported` where the engine cannot. */
  readonly delayMs?: number
  /** The moment before which the message is not delivered; the past means now. */
  readonly at?: Date
  /** Milliseconds from now after which the message is not delivered any more; longer than its delay. Default: for ever. */
  readonly ttlMs?: number
  /** Gives up waiting for the confirm (`aborted`); a message that has left already may still arrive. */
  readonly signal?: AbortSignal
  /** `false`: the message, and the destination if this call creates it, need not survive a restart. Default `true`. */
  readonly durable?: boolean
  /** `'never'`: an absent destination is the error `destination-missing`. Default: it is created. */
  readonly declare?: 'never'
}

export interface RequestOptions extends SendOptions {
  /** How long to wait for the reply, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
}

export interface StreamOptions extends SendOptions {
  /** How long to wait for the first item, and for each one after it, in milliseconds. Default 30,000. */
  readonly timeoutMs?: number
  /** How many items the handler may be ahead of the loop that reads them: 1 to 10,000. Default 100. */
  readonly window?: number
}

/** What sends: a bus, or the `ctx` of a handler, which carries correlation, causation and tenant on. */
export interface Senders extends BatchSenders {
  /**
   * Sends to one queue. Resolves when the engine has taken responsibility for the message.
   * Rejects with `body-invalid`, `body-too-large`, `send-timeout`, `buffer-full` and the rest of the table.
   *
   *     await bus.send(ChargeCard, { orderId: '42', amount: 10 })
   */
  send<I>(to: CommandContract<I, unknown>, body: NoInfer<I>, options?: SendOptions): Promise<Receipt>
  send(queue: string, body: unknown, options?: SendOptions): Promise<Receipt>
  /** Publishes to a topic: each subscription gets its own copy. Otherwise as `send`. */
  publish<I>(to: EventContract<I, unknown>, body: NoInfer<I>, options?: SendOptions): Promise<Receipt>
  publish(topic: string, body: unknown, options?: SendOptions): Promise<Receipt>
  /**
   * Sends a request and resolves to its reply. Rejects with `request-timeout`, and `request-failed` when its handler failed. With a
   * `signal` it can be cancelled: the handler's signal fires when this one does, or the time is over.
   */
  request<I, RO>(to: RequestContract<I, unknown, unknown, RO>, body: NoInfer<I>, options?: RequestOptions): Promise<RO>
  request(queue: string, body: unknown, options?: RequestOptions): Promise<unknown>
  /**
   * Sends a request that is answered by a stream, and gives its items as they come. Asking begins with the loop; leaving the loop, or
   * the signal, ends the handler's generator. The loop throws `request-timeout`, `request-failed` when the handler failed, and
   * `stream-broken` when the handler was lost after some items were taken.
   *
   *     for await (const row of bus.stream(Rows, { year: 2026 })) console.log(row)
   */
  stream<I, RO>(
    to: StreamContract<I, unknown, unknown, RO>,
    body: NoInfer<I>,
    options?: StreamOptions,
  ): AsyncGenerator<RO, void, void>
  stream(queue: string, body: unknown, options?: StreamOptions): AsyncGenerator<unknown, void, void>
}
