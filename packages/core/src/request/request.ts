/**
 * The asking half of requests: one reply queue a bus, made at the first request; replies find their caller by the request's
 * id. What waits is bounded by the sender's bound on messages, and each wait by its time limit.
 */
import { randomUUID } from 'node:crypto'
import type {
  Batch,
  ChasquiError as ChasquiErrorType,
  Driver,
  Headers,
  HeaderValue,
  Incoming,
  Receiver,
  Sink,
} from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import type { Carried } from '../encode/attributes.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { EventHub } from '../observe/events.ts'
import { requestOptions } from '../options.ts'
import type { Outlets, RequestOptions } from '../send/outlet.ts'
import { abortedError, closedError } from '../send/sender.ts'
import { OpenDelivery, Settlements } from '../settle/settlement.ts'
import { validated } from '../validate/validate.ts'
import { replyErrorCode, replyErrorDetails, replyErrorMessage } from './replies.ts'

/** How many replies may be unsettled at the reply queue. They are settled as they come. */
const replyWindow = 1000

interface Waiting {
  readonly contract: AnyContract | undefined
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: unknown) => void
}

export class Requests implements Sink {
  readonly #driver: Driver
  readonly #outlets: Outlets
  readonly #formats: PipelineFormats
  readonly #settlements: Settlements
  readonly #queue = `reply-${randomUUID()}`
  readonly #waiting = new Map<string, Waiting>()
  #receiver: Promise<Receiver> | undefined
  #closed = false

  constructor(driver: Driver, outlets: Outlets, formats: PipelineFormats, events: EventHub) {
    this.#driver = driver
    this.#outlets = outlets
    this.#formats = formats
    this.#settlements = new Settlements(this.#queue, events)
  }

  async request(
    to: AnyContract | string,
    body: unknown,
    options: RequestOptions | undefined,
    carried?: Carried,
  ): Promise<unknown> {
    if (this.#closed) throw closedError()
    const timeoutMs = options?.timeoutMs ?? requestOptions.timeoutMs.default
    const name = typeof to === 'string' ? to : to.destination
    const limit = Promise.withResolvers<never>()
    const timer = setTimeout(() => limit.reject(timeoutError(name, timeoutMs)), timeoutMs)
    const signal = options?.signal
    const abort = () => limit.reject(abortedError(signal!, name))
    signal?.addEventListener('abort', abort, { once: true })
    const reply = Promise.withResolvers<unknown>()
    let id: string | undefined
    try {
      await Promise.race([this.#open(), limit.promise])
      const sent = this.#outlets.request(to, body, options, carried, this.#queue, draftId => {
        id = draftId
        this.#waiting.set(draftId, {
          contract: typeof to === 'string' ? undefined : to,
          resolve: reply.resolve,
          reject: reply.reject,
        })
      })
      // The reply may overtake the confirm, and a failed send ends the wait.
      sent.catch(reply.reject)
      return await Promise.race([reply.promise, limit.promise])
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
      if (id !== undefined) this.#waiting.delete(id)
      // Whoever loses the race must not be an unhandled rejection.
      limit.promise.catch(ignored)
      reply.promise.catch(ignored)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    for (const { reject } of this.#waiting.values()) reject(closedError())
    this.#waiting.clear()
    const receiver = await this.#receiver?.catch(ignored)
    await this.#settlements.flushed()
    await receiver?.stop()
  }

  // Sink

  deliver(batch: Batch): void {
    for (const item of batch.items) {
      this.#answer(item.message)
      void this.#settlements.settle(new OpenDelivery(batch.lane, batch.epoch, item), 'ack')
    }
  }

  async revoke(): Promise<void> {
    // Replies under way are lost with their connection; the time limit of their requests ends the wait.
  }

  fail(error: ChasquiErrorType): void {
    this.#receiver = undefined
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  #open(): Promise<Receiver> {
    this.#receiver ??= this.#driver
      .receive({ kind: 'reply', name: this.#queue }, this, { window: replyWindow, order: 'none' })
      .then(receiver => {
        this.#settlements.attach(receiver)
        return receiver
      })
      .catch((error: unknown) => {
        this.#receiver = undefined
        // A reply queue is made by receiving from it; a driver that looks for one instead cannot do this yet.
        if (isChasquiError(error) && error.code === 'destination-missing') throw noReplies(this.#driver, error)
        throw error
      })
    return this.#receiver
  }

  /** A reply that nobody waits for (any more) is dropped: its requester has been told of its time limit. */
  #answer(message: Incoming['message']): void {
    const waiting = this.#waiting.get(message.correlationId ?? '')
    if (waiting === undefined) return
    const code = message.headers[replyErrorCode]
    if (code !== undefined) waiting.reject(remoteError(String(code), message.headers))
    else this.#decode(message, waiting.contract).then(waiting.resolve, waiting.reject)
  }

  async #decode(message: Incoming['message'], contract: AnyContract | undefined): Promise<unknown> {
    const { registry, bytes } = this.#formats
    const choice = message.contentType === undefined ? undefined : registry.choose(message.contentType)
    const format = choice?.format ?? (contract === undefined ? bytes : registry.named(contract.format ?? 'json'))
    let value: unknown
    try {
      value = format.decode(message.body, choice?.parameters ?? {})
    } catch (cause) {
      if (isChasquiError(cause)) throw cause
      throw new ChasquiError('body-not-decodable', `The reply is not ${message.contentType ?? format.contentType}.`, {
        cause,
      })
    }
    if (contract?.replySchema === undefined) return value
    return validated(contract.replySchema, value, `${contract.type} (its reply)`)
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

function noReplies(driver: Driver, cause: ChasquiErrorType): ChasquiErrorType {
  const { engine } = driver.capabilities
  return new ChasquiError(
    'unsupported',
    `The driver of the engine ${engine} makes no reply queues yet: requests cannot be sent.`,
    {
      cause,
      details: { engine },
    },
  )
}

function remoteError(code: string, headers: Headers): ChasquiErrorType {
  const message = String(headers[replyErrorMessage] ?? '')
  const details = remoteDetails(headers[replyErrorDetails])
  return new ChasquiError('request-failed', `The handler of the request failed: ${message}`, {
    details: {
      remoteCode: code,
      remoteMessage: message,
      ...(details === undefined ? {} : { remoteDetails: details }),
    },
  })
}

function remoteDetails(json: HeaderValue | undefined): unknown {
  if (typeof json !== 'string') return undefined
  try {
    return JSON.parse(json)
  } catch {
    // A foreign handler wrote what is no JSON: it stays readable as it came.
    return json
  }
}

function ignored(): undefined {
  return undefined
}
