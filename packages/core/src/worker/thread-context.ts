/** `ctx` inside a thread: a copy of what is known of the message, and senders that ask the main thread. */
import { ChasquiError } from '@chasqui/driver'
import type { Bodies, SendBatchOptions, SendOutcome } from '../batch/send-batch.ts'
import { sendBatch } from '../batch/send-batch.ts'
import type { MessageInfo } from '../consume/incoming.ts'
import { InfoView } from '../consume/info-view.ts'
import { retryRequested } from '../consume/retry-requested.ts'
import type { AnyContract, CommandContract, EventContract, RequestContract } from '../contract/contract.ts'
import { isContract } from '../contract/contract.ts'
import type { Logger, LogLevel } from '../observe/logging.ts'
import { keyOf } from '../send/key.ts'
import type { Receipt } from '../send/outgoing.ts'
import type { RequestOptions, SendOptions } from '../send/senders.ts'
import { bodyInvalid } from '../validate/validate.ts'
import type { ContractFacts, FromThread, Outcome, ThreadCall } from './protocol.ts'
import { errorOf, notCloneable } from './protocol.ts'
import type { ThreadContext } from './worker-handler.ts'

/** The thread's side of its calls to the main thread, over all messages. */
export class MainThread {
  readonly #post: (message: FromThread) => void
  readonly #open = new Map<number, (outcome: Outcome) => void>()
  #last = 0

  constructor(post: (message: FromThread) => void) {
    this.#post = post
  }

  answered(call: number, outcome: Outcome): void {
    this.#open.get(call)?.(outcome)
    this.#open.delete(call)
  }

  /** Resolves to what the main thread's call does, and rejects with what it does. */
  async ask(asked: Pick<ThreadCall, 'method' | 'to' | 'body'>, options: SendOptions = {}): Promise<unknown> {
    const { signal, ...rest } = options
    if (signal?.aborted) {
      throw new ChasquiError('aborted', `The caller's signal had fired before ${asked.method}() was called.`, {
        cause: signal.reason,
      })
    }
    const call = ++this.#last
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    try {
      this.#post({ kind: 'call', call, ...asked, options: rest, signalled: signal !== undefined })
    } catch (cause) {
      throw notCloneable(`What was given to ${asked.method}()`, cause)
    }
    this.#open.set(call, resolve)
    const cancel = () => this.#post({ kind: 'cancel', call })
    signal?.addEventListener('abort', cancel, { once: true })
    const outcome = await promise
    signal?.removeEventListener('abort', cancel)
    if (!outcome.ok) throw errorOf(outcome.error)
    return outcome.value
  }

  log(level: LogLevel, fields: object, message: string | undefined): void {
    try {
      this.#post({ kind: 'log', level, fields, message })
    } catch {
      // What cannot be cloned is not worth losing the line for.
      const shown = Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, String(value)]))
      this.#post({ kind: 'log', level, fields: shown, message })
    }
  }
}

export class RemoteContext extends InfoView implements ThreadContext {
  readonly #main: MainThread
  readonly #controller = new AbortController()
  readonly log: Logger

  constructor(main: MainThread, info: MessageInfo) {
    super(info)
    this.#main = main
    const line = (level: LogLevel) => (fields: object, message?: string) => main.log(level, fields, message)
    this.log = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  abort(reason: unknown): void {
    this.#controller.abort(reason)
  }

  async send(to: CommandContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    return (await this.#ask('send', to, body, options)) as Receipt
  }

  async publish(to: EventContract | string, body: unknown, options?: SendOptions): Promise<Receipt> {
    return (await this.#ask('publish', to, body, options)) as Receipt
  }

  async request<RO>(
    to: RequestContract<unknown, unknown, unknown, RO> | string,
    body: unknown,
    options?: RequestOptions,
  ): Promise<RO> {
    const reply = await this.#ask('request', to, body, options)
    if (typeof to === 'string' || to.replySchema === undefined) return reply as RO
    const checked = await to.replySchema['~standard'].validate(reply)
    if (checked.issues !== undefined) throw bodyInvalid(`${to.type} (its reply)`, checked.issues)
    return checked.value as RO
  }

  sendBatch(to: CommandContract | string, bodies: Bodies<unknown>, options?: SendBatchOptions): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.send(to, body, each), 'ctx.sendBatch()')
  }

  publishBatch(
    to: EventContract | string,
    bodies: Bodies<unknown>,
    options?: SendBatchOptions,
  ): Promise<SendOutcome[]> {
    return sendBatch(bodies, options, (body, each) => this.publish(to, body, each), 'ctx.publishBatch()')
  }

  retry(options: { readonly delayMs?: number; readonly cause?: unknown } = {}): never {
    throw retryRequested(options, 'ctx.retry')
  }

  deadLetter(reason: string): never {
    throw new ChasquiError('dead-lettered', String(reason))
  }

  /** The contract's functions stay in the thread: the body is checked, and its key made, here. */
  async #ask(
    method: ThreadCall['method'],
    to: AnyContract | string,
    body: unknown,
    options: SendOptions | undefined,
  ): Promise<unknown> {
    if (!isContract(to)) return this.#main.ask({ method, to, body }, options)
    if (to.schema !== undefined) {
      const checked = await to.schema['~standard'].validate(body)
      if (checked.issues !== undefined) throw bodyInvalid(to.type, checked.issues)
    }
    const key = options?.key ?? (to.key === undefined ? undefined : keyOf(to, body))
    return this.#main.ask({ method, to: factsOf(to), body }, key === undefined ? options : { ...options, key })
  }
}

function factsOf({ kind, type, destination, format, lanes, version }: AnyContract): ContractFacts {
  return { kind, type, destination, format, lanes, version }
}
