/**
 * One run of a handler that answers by a stream: pulls items from its generator as the requester's credit allows, checks and sends
 * them, and ends the generator when the requester has left or the attempt is taken away.
 *
 *     running -> finished                the generator returned, and all that was sent is confirmed
 *             -> left | gone             the requester wants no more, or its queue is no more
 *             -> aborted                 the attempt is over: its lane was lost, its time is up
 *             -> failed (run() rejects)  the generator threw, an item does not fit, an item could not be sent
 */
import { randomUUID } from 'node:crypto'
import type { Headers, HeaderValue } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { Attempt } from '../consume/incoming.ts'
import { bodyInvalid } from '../validate/validate.ts'
import { runHeader } from './run-protocol.ts'

export type StreamEnd = 'finished' | 'left' | 'gone' | 'aborted'

/** How many items may wait for their confirm. More would fill the sender's buffer without making the stream faster. */
const maxUnconfirmed = 64

export interface StreamRunParts {
  readonly attempt: Attempt
  /** How many items may be sent before the requester grants more. */
  readonly window: number
  /** Sends an answer; without a body it speaks of the run alone. Rejects as a send does. */
  readonly answer: (headers: Headers, body?: { readonly value: unknown }) => Promise<unknown>
  /** The generator of a stream that nobody reads any more failed as it ended. */
  readonly cleanupFailed: (error: unknown) => void
}

export class StreamRun {
  readonly id = randomUUID()
  /** How many items have been sent. */
  sent = 0
  readonly #parts: StreamRunParts
  #credit: number
  #unconfirmed = 0
  #ending: StreamEnd | 'failed' | undefined
  #failure: unknown
  /** Something was sent since the last `beHeard`. */
  #heard = false
  #wake: (() => void) | undefined
  #leave: (() => void) | undefined
  readonly #aborted = () => this.#end('aborted')

  constructor(parts: StreamRunParts) {
    this.#parts = parts
    this.#credit = parts.window
  }

  /** Resolves when the stream has ended, and its generator with it. */
  async run(items: AsyncIterable<unknown>): Promise<StreamEnd> {
    const { signal } = this.#parts.attempt
    signal.addEventListener('abort', this.#aborted, { once: true })
    if (signal.aborted) this.#aborted()
    this.beHeard()
    const iterator = items[Symbol.asyncIterator]()
    let exhausted = false
    try {
      while (this.#ending === undefined) {
        if (this.sent >= this.#credit || this.#unconfirmed >= maxUnconfirmed) {
          await this.#change()
          continue
        }
        const step = await this.#step(iterator).catch((error: unknown) => {
          exhausted = true
          throw error
        })
        if (step === undefined) break
        if (step.done) {
          exhausted = true
          this.#send({ [runHeader.sequence]: this.sent, [runHeader.end]: true })
          break
        }
        await this.#item(step.value)
      }
      while (exhausted && this.#ending === undefined && this.#unconfirmed > 0) await this.#change()
      if (this.#ending === 'failed') throw this.#failure
      return this.#ending ?? 'finished'
    } finally {
      this.#ending ??= 'finished'
      signal.removeEventListener('abort', this.#aborted)
      if (this.#ending === 'aborted') this.#tellOfTheBreak(signal.reason)
      if (!exhausted) {
        const ended = iterator.return?.().catch(this.#parts.cleanupFailed)
        // An attempt that is over waits for nothing any more.
        if (this.#ending !== 'aborted') await ended
      }
    }
  }

  /** So many items may be sent in all. */
  grant(credit: number): void {
    if (credit <= this.#credit) return
    this.#credit = credit
    this.#wakeUp()
  }

  /** The requester wants no more. */
  leave(): void {
    this.#unwanted('left', 'The requester has left the stream: nobody takes the rest.')
  }

  /** Says that the run is there, unless something was sent since the last time; a queue that is no more is found by it. */
  beHeard(): void {
    if (!this.#heard && this.#ending === undefined) this.#send({})
    this.#heard = false
  }

  /** The headers that put the failure of this run behind its items. */
  get failureHeaders(): Headers {
    return this.#headers({ [runHeader.sequence]: this.sent })
  }

  async #item(value: unknown): Promise<void> {
    const { contract } = this.#parts.attempt
    if (contract?.replySchema !== undefined) {
      const checked = await contract.replySchema['~standard'].validate(value)
      if (checked.issues !== undefined) throw bodyInvalid(`${contract.type} (an item of its reply)`, checked.issues)
      if (this.#ending !== undefined) return
    }
    const sequence = this.sent
    this.sent += 1
    this.#send({ [runHeader.sequence]: sequence }, { value })
  }

  #send(headers: Readonly<Record<string, HeaderValue>>, body?: { readonly value: unknown }): void {
    this.#heard = true
    this.#unconfirmed += 1
    this.#parts.answer(this.#headers(headers), body).then(
      () => {
        this.#unconfirmed -= 1
        this.#wakeUp()
      },
      (error: unknown) => {
        this.#unconfirmed -= 1
        if (isGone(error)) {
          this.#unwanted('gone', 'The requester of the stream is gone, and its queue with it.')
        } else {
          // An item that is missing would be a hole in the stream.
          this.#failure ??= error
          this.#end('failed')
        }
        this.#wakeUp()
      },
    )
  }

  #headers(headers: Readonly<Record<string, HeaderValue>>): Headers {
    return { ...headers, [runHeader.run]: this.id }
  }

  /** The next item, or `undefined` when the run ended meanwhile. What the generator still does then nobody waits for here. */
  #step(iterator: AsyncIterator<unknown>): Promise<IteratorResult<unknown> | undefined> {
    return new Promise((resolve, reject) => {
      this.#leave = () => resolve(undefined)
      iterator.next().then(resolve, reject)
    })
  }

  /** Resolves when there is new credit, a confirm, or an end. */
  #change(): Promise<void> {
    return new Promise(resolve => {
      this.#wake = resolve
    })
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #unwanted(end: 'left' | 'gone', sentence: string): void {
    if (this.#ending !== undefined) return
    this.#end(end)
    this.#parts.attempt.abort(new ChasquiError('aborted', sentence))
  }

  #end(end: StreamEnd | 'failed'): void {
    if (this.#ending !== undefined) return
    this.#ending = end
    this.#leave?.()
    this.#wakeUp()
  }

  /** A requester that has had items cannot go on with another attempt's: better that it knows at once. */
  #tellOfTheBreak(reason: unknown): void {
    // Of a time limit it is told as of any failure.
    if (isChasquiError(reason) && reason.code === 'handler-timeout') return
    this.#send({ [runHeader.broken]: true })
  }
}

/** The queue for the replies is no more: its requester has left. */
export function isGone(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'unroutable' || code === 'destination-missing'
}
