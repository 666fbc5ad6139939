/**
 * Gathers what callers send in one tick into one batch for the driver, and gives each caller the answer for its own
 * message. Adds no delay: a tick's batch leaves with the tick.
 *
 * A draft is, in this order: waiting for its destination -> pending (this tick) -> with the driver -> settled. It counts
 * against the bounds from the first to the last, and is settled once, by the engine, an error or its caller's signal.
 */
import type { Driver, SendResult } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import type { Draft, OutgoingMessage, Ready, Receipt } from './outgoing.ts'

export interface SenderLimits {
  readonly sendTimeoutMs: number
  readonly maxBodyBytes: number
  readonly maxBufferedMessages: number
  readonly maxBufferedBytes: number
}

/**
 * After this many messages the next batch waits for the event loop to come round: callers that send as soon as the last
 * send resolved would otherwise never let timers, sockets and consumers of the same process have their turn.
 */
const messagesPerTurn = 1000

export class Sender {
  readonly #driver: Driver
  readonly #limits: SenderLimits
  readonly #maxBodyBytes: number
  readonly #events: EventHub
  #pending: Draft[] = []
  #scheduled = false
  /** Messages and bytes from acceptance to settlement. */
  #messages = 0
  #bytes = 0
  readonly #waiting = new Map<Ready, Draft[]>()
  #idle: (() => void)[] = []
  #closed = false
  /** Messages sent since the event loop last had its turn on our account. */
  #sinceYield = 0
  readonly #flush = () => this.#send()
  readonly #flushNextTurn = () => {
    this.#sinceYield = 0
    this.#send()
  }

  constructor(driver: Driver, limits: SenderLimits, events: EventHub) {
    this.#driver = driver
    this.#limits = limits
    this.#maxBodyBytes = Math.min(limits.maxBodyBytes, driver.capabilities.maxBodyBytes ?? Number.POSITIVE_INFINITY)
    this.#events = events
  }

  /** The end of the outgoing chain: takes an encoded message and resolves when the engine has taken responsibility for it. */
  accept(message: OutgoingMessage): Promise<Receipt> {
    const draft = message as Draft
    const bytes = draft.bytes
    if (bytes === undefined) {
      throw new ChasquiError(
        'body-not-encodable',
        'No outgoing middleware encoded the body. Add encodeBody to `outgoing`.',
      )
    }
    if (bytes.byteLength > this.#maxBodyBytes) throw this.#tooLarge(draft, bytes.byteLength)
    if (this.#closed) throw closedError()
    if (
      this.#messages >= this.#limits.maxBufferedMessages ||
      this.#bytes + bytes.byteLength > this.#limits.maxBufferedBytes
    ) {
      throw this.#full()
    }
    draft.seal(bytes)
    this.#messages += 1
    this.#bytes += bytes.byteLength
    if (this.#events.heard.sent) draft.enteredAt = performance.now()
    return new Promise<Receipt>((resolve, reject) => {
      draft.resolve = resolve
      draft.reject = reject
      if (draft.signal !== undefined) this.#listen(draft, draft.signal)
      const destination = draft.destination
      if (destination === undefined || (destination.ready && this.#waiting.size === 0)) this.#enqueue(draft)
      else this.#await(draft, destination)
    })
  }

  /** Resolves when nothing waits and nothing is with the driver. */
  drained(): Promise<void> {
    if (this.#messages === 0) return Promise.resolve()
    return new Promise(resolve => this.#idle.push(resolve))
  }

  /** Refuses what comes from now on; what was accepted still settles. */
  close(): Promise<void> {
    this.#closed = true
    return this.drained()
  }

  #enqueue(draft: Draft): void {
    this.#pending.push(draft)
    if (this.#scheduled) return
    this.#scheduled = true
    if (this.#sinceYield < messagesPerTurn) queueMicrotask(this.#flush)
    else setImmediate(this.#flushNextTurn)
  }

  /** Keeps the order of one destination: whoever comes while it is being declared stands behind those who wait. */
  #await(draft: Draft, destination: Ready): void {
    const line = this.#waiting.get(destination)
    if (line !== undefined) {
      line.push(draft)
      return
    }
    if (destination.ready) {
      this.#enqueue(draft)
      return
    }
    const drafts = [draft]
    this.#waiting.set(destination, drafts)
    destination.wait().then(
      () => {
        this.#waiting.delete(destination)
        for (const waited of drafts) if (!waited.settled) this.#enqueue(waited)
      },
      (error: ChasquiError) => {
        this.#waiting.delete(destination)
        for (const waited of drafts) this.#fail(waited, error, false)
      },
    )
  }

  #send(): void {
    this.#scheduled = false
    let batch = this.#pending
    this.#pending = []
    if (batch.some(draft => draft.settled)) batch = batch.filter(draft => !draft.settled)
    if (batch.length === 0) return
    this.#sinceYield += batch.length
    const failed = (cause: unknown) => {
      // The contract says that it does not fail as a whole; if it does, nobody knows what arrived.
      const error = new ChasquiError('internal', `The driver failed to send: ${String(cause)}`, { cause })
      for (const draft of batch) this.#fail(draft, error, true)
    }
    try {
      this.#driver
        .send(batch, Date.now() + this.#limits.sendTimeoutMs)
        .then(results => this.#settle(batch, results), failed)
    } catch (cause) {
      failed(cause)
    }
  }

  #settle(batch: readonly Draft[], results: readonly SendResult[]): void {
    const heard = this.#events.heard.sent
    for (let i = 0; i < batch.length; i++) {
      const draft = batch[i]!
      const result = results[i]
      if (result === undefined) {
        this.#fail(draft, new ChasquiError('internal', 'The driver gave fewer results than messages.'), true)
      } else if (!result.ok) {
        if (result.error.code === 'unroutable' || result.error.code === 'destination-missing')
          draft.destination?.forget()
        this.#fail(draft, result.error, result.inDoubt)
      } else if (!draft.settled) {
        this.#release(draft)
        if (heard) this.#tellSent(draft, result.durable)
        draft.resolve({ id: draft.id, durable: result.durable })
      }
    }
  }

  #fail(draft: Draft, error: ChasquiError, inDoubt: boolean): void {
    if (draft.settled) return
    this.#release(draft)
    if (this.#events.heard['send-failed']) {
      const { id, type, to } = draft
      this.#events.emit({ kind: 'send-failed', id, type, destination: to.name, target: to.kind, error, inDoubt })
    }
    draft.reject(error)
  }

  #release(draft: Draft): void {
    draft.settled = true
    this.#messages -= 1
    this.#bytes -= draft.message.body.byteLength
    if (this.#messages > 0 || this.#idle.length === 0) return
    const idle = this.#idle
    this.#idle = []
    for (const tell of idle) tell()
  }

  #tellSent(draft: Draft, durable: boolean): void {
    const { id, type, to, message } = draft
    const durationMs = performance.now() - draft.enteredAt
    const bytes = message.body.byteLength
    this.#events.emit({ kind: 'sent', id, type, destination: to.name, target: to.kind, bytes, durable, durationMs })
  }

  #listen(draft: Draft, signal: AbortSignal): void {
    const abort = () => this.#fail(draft, abortedError(signal, draft.to.name), true)
    signal.addEventListener('abort', abort, { once: true })
    const { resolve, reject } = draft
    draft.resolve = receipt => {
      signal.removeEventListener('abort', abort)
      resolve(receipt)
    }
    draft.reject = error => {
      signal.removeEventListener('abort', abort)
      reject(error)
    }
  }

  #tooLarge(draft: Draft, bytes: number): ChasquiError {
    return new ChasquiError(
      'body-too-large',
      `The body for "${draft.to.name}" has ${bytes} bytes; at most ${this.#maxBodyBytes} are allowed. Raise maxBodyBytes, or send a reference to where it lies.`,
      { details: { bytes, maxBodyBytes: this.#maxBodyBytes } },
    )
  }

  #full(): ChasquiError {
    const { maxBufferedMessages, maxBufferedBytes } = this.#limits
    return new ChasquiError(
      'buffer-full',
      `${this.#messages} messages (${this.#bytes} bytes) wait to be sent. Await your sends, or raise maxBufferedMessages (${maxBufferedMessages}) or maxBufferedBytes (${maxBufferedBytes}).`,
      { details: { messages: this.#messages, bytes: this.#bytes } },
    )
  }
}

export function closedError(): ChasquiError {
  return new ChasquiError('closed', 'The bus was closed. Connect again to send or receive.')
}

export function abortedError(signal: AbortSignal, destination: string): ChasquiError {
  return new ChasquiError('aborted', `The caller's signal fired before "${destination}" had confirmed the message.`, {
    cause: signal.reason,
    details: { destination },
  })
}
