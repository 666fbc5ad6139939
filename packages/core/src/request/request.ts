/**
 * The asking half of requests: replies find their caller by the request's id. What waits is bounded by the sender's bound on
 * messages, and each wait by its time limit.
 */
import type { ChasquiError as ChasquiErrorType, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import type { Carried } from '../encode/attributes.ts'
import { requestOptions } from '../options/sending.ts'
import type { Outlets } from '../send/outlet.ts'
import { abortedError } from '../send/sender.ts'
import type { RequestOptions } from '../send/senders.ts'
import type { Control, RunAddress } from './control.ts'
import type { Recipient, ReplyQueue } from './reply-queue.ts'
import type { ReplyReader } from './reply-reader.ts'
import { remoteFailure } from './reply-reader.ts'
import { countOf, runHeader, runOf } from './run-protocol.ts'

interface Waiting {
  readonly contract: AnyContract | undefined
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: unknown) => void
  /** The attempt that works on it, where it can be cancelled. */
  run: RunAddress | undefined
}

export class Requests implements Recipient {
  readonly #outlets: Outlets
  readonly #queue: ReplyQueue
  readonly #reader: ReplyReader
  readonly #control: Control
  readonly #waiting = new Map<string, Waiting>()

  constructor(outlets: Outlets, queue: ReplyQueue, reader: ReplyReader, control: Control) {
    this.#outlets = outlets
    this.#queue = queue
    this.#reader = reader
    this.#control = control
    queue.join(this)
  }

  async request(
    to: AnyContract | string,
    body: unknown,
    options: RequestOptions | undefined,
    carried?: Carried,
  ): Promise<unknown> {
    const timeoutMs = options?.timeoutMs ?? requestOptions.timeoutMs.default
    const name = typeof to === 'string' ? to : to.destination
    const limit = Promise.withResolvers<never>()
    let gaveUp = false
    const giveUp = (error: ChasquiErrorType) => {
      gaveUp = true
      limit.reject(error)
    }
    const timer = setTimeout(() => giveUp(timeoutError(name, timeoutMs)), timeoutMs)
    const signal = options?.signal
    const abort = () => giveUp(abortedError(signal!, name))
    signal?.addEventListener('abort', abort, { once: true })
    const reply = Promise.withResolvers<unknown>()
    let id: string | undefined
    try {
      await Promise.race([this.#queue.open(), limit.promise])
      const began = (draftId: string) => {
        id = draftId
        this.#waiting.set(draftId, {
          contract: typeof to === 'string' ? undefined : to,
          resolve: reply.resolve,
          reject: reply.reject,
          run: undefined,
        })
      }
      const asking = {
        replyTo: this.#queue.name,
        began,
        ...(signal === undefined ? {} : { headers: { [runHeader.cancellable]: true } }),
      }
      const sent = this.#outlets.request('request', to, body, options, carried, asking)
      // The reply may overtake the confirm, and a failed send ends the wait.
      sent.catch(reply.reject)
      return await Promise.race([reply.promise, limit.promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      if (id !== undefined) this.#forget(id, gaveUp)
      // Whoever loses the race must not be an unhandled rejection.
      limit.promise.catch(ignored)
      reply.promise.catch(ignored)
    }
  }

  #forget(id: string, gaveUp: boolean): void {
    const run = this.#waiting.get(id)?.run
    // An attempt that makes itself known only later is told then: nobody waits for it.
    if (gaveUp && run !== undefined) this.#control.cancel(id, run)
    this.#waiting.delete(id)
  }

  // Recipient

  take(message: WireMessage): boolean {
    const waiting = this.#waiting.get(message.correlationId ?? '')
    if (waiting === undefined) return false
    const failure = remoteFailure(message)
    const run = runOf(message.headers)
    if (failure !== undefined) waiting.reject(failure)
    else if (run !== undefined && countOf(message.headers[runHeader.sequence]) === undefined)
      waiting.run = { id: run, control: message.replyTo ?? '' }
    else if (run !== undefined) waiting.reject(streamedError(waiting.contract))
    else this.#reader.read(message, waiting.contract).then(waiting.resolve, waiting.reject)
    return true
  }

  /** Replies under way are lost with their connection; the time limit of their requests ends the wait. */
  interrupted(): void {}

  ended(error: ChasquiErrorType): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

function timeoutError(name: string, timeoutMs: number): ChasquiErrorType {
  return new ChasquiError(
    'request-timeout',
    `No reply from "${name}" came within ${timeoutMs} ms. Is its handler running?`,
    {
      details: { destination: name, timeoutMs },
    },
  )
}

function streamedError(contract: AnyContract | undefined): ChasquiErrorType {
  const whose = contract === undefined ? 'The request' : `"${contract.type}"`
  return new ChasquiError('reply-kind', `${whose} was answered by a stream. Ask for it with stream().`)
}

function ignored(): undefined {
  return undefined
}
