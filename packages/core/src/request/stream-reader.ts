/**
 * One stream as its requester reads it: puts the items of one run in order, grants credit as they are taken, and tells a run that
 * began anew from one that goes on.
 *
 *     waiting -> reading run R -> ended                  end, error, broken, timeout, aborted, left
 *                   |  a new run, before anything was taken: read that one
 *                   |  a new run after that: broken
 */
import type { ChasquiError as ChasquiErrorType, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import { FifoQueue } from '../consume/queue.ts'
import type { RunAddress } from './control.ts'
import { remoteFailure } from './reply-reader.ts'
import { countOf, runHeader, runOf } from './run-protocol.ts'

export interface StreamReaderParts {
  /** Where the request went, for sentences. */
  readonly name: string
  /** How many items may be on their way or wait here. */
  readonly window: number
  /** How long to wait for the next item. */
  readonly timeoutMs: number
  /** Tells the run that so many items may be sent in all. */
  readonly grant: (run: RunAddress, credit: number) => void
  /** Tells the run that no more is wanted. */
  readonly cancel: (run: RunAddress) => void
}

/** How many runs that were given up are remembered; each is another attempt of one handler. */
const maxSuperseded = 20

export class StreamReader {
  readonly #parts: StreamReaderParts
  #run: RunAddress | undefined
  readonly #superseded = new Set<string>()
  /** In order, not yet taken. */
  #ready = new FifoQueue<WireMessage>()
  /** Came before others that belong before them. */
  readonly #early = new Map<number, WireMessage>()
  /** The sequence number of the next message in order. */
  #expected = 0
  #taken = 0
  #granted: number
  #failure: ChasquiErrorType | undefined
  #wake: (() => void) | undefined

  constructor(parts: StreamReaderParts) {
    this.#parts = parts
    this.#granted = parts.window
  }

  /** The next item's message; `undefined` at the end. Rejects with what ended the stream before. */
  async next(): Promise<WireMessage | undefined> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      const message = this.#ready.shift()
      if (message === undefined) {
        await this.#more()
        continue
      }
      const failure = remoteFailure(message)
      if (failure === undefined && message.headers[runHeader.end] === undefined) {
        this.#taken += 1
        return message
      }
      this.#run = undefined
      if (failure === undefined) return undefined
      this.fail(failure)
    }
  }

  /** What was taken is through: others may come. */
  done(): void {
    const credit = this.#taken + this.#parts.window
    // Half a window at a time, for each grant is a message.
    if (this.#run === undefined || credit - this.#granted < this.#parts.window / 2) return
    this.#granted = credit
    this.#parts.grant(this.#run, credit)
  }

  /** Ends the stream here. The first reason stands. */
  fail(error: ChasquiErrorType): void {
    this.#failure ??= error
    this.leave()
    this.#wakeUp()
  }

  /** Whoever sends is told that nothing more is wanted. May be called twice. */
  leave(): void {
    if (this.#run !== undefined) this.#parts.cancel(this.#run)
    this.#run = undefined
  }

  /** What was under way is lost. */
  interrupted(): void {
    if (this.#run !== undefined) this.fail(this.#broken('the connection to the engine was lost'))
  }

  take(message: WireMessage): void {
    const { headers, replyTo } = message
    const id = runOf(headers)
    if (id === undefined) {
      this.fail(remoteFailure(message) ?? this.#noStream())
      return
    }
    const run: RunAddress = { id, control: replyTo ?? '' }
    if (this.#failure !== undefined || this.#superseded.has(id)) {
      if (headers[runHeader.broken] === undefined) this.#parts.cancel(run)
      return
    }
    if (headers[runHeader.broken] !== undefined) {
      if (this.#run?.id === id) this.#forget('its handler was interrupted')
      return
    }
    if (this.#run?.id !== id) {
      if (this.#run !== undefined) this.#forget('its handler began anew')
      if (this.#failure !== undefined) {
        this.#parts.cancel(run)
        return
      }
      this.#run = run
    }
    this.#accept(message, run)
  }

  #accept(message: WireMessage, run: RunAddress): void {
    const sequence = countOf(message.headers[runHeader.sequence])
    if (sequence === undefined) {
      // The run says that it is there; credit may have been lost on its way.
      if (this.#granted > this.#parts.window) this.#parts.grant(run, this.#granted)
      return
    }
    if (sequence > this.#granted) {
      this.fail(this.#broken('its handler sent more than it was given credit for'))
      return
    }
    // Twice: the engine may deliver again what it was told late that it had delivered.
    if (sequence < this.#expected || this.#early.has(sequence)) return
    this.#early.set(sequence, message)
    let next = this.#early.get(this.#expected)
    while (next !== undefined) {
      this.#early.delete(this.#expected)
      this.#ready.push(next)
      this.#expected += 1
      next = this.#early.get(this.#expected)
    }
    this.#wakeUp()
  }

  /** The run is no more. As long as nothing of it was taken another may take its place. */
  #forget(why: string): void {
    if (this.#taken > 0) {
      this.fail(this.#broken(why))
      return
    }
    const id = this.#run?.id
    this.leave()
    if (id !== undefined && this.#superseded.size < maxSuperseded) this.#superseded.add(id)
    this.#ready = new FifoQueue()
    this.#early.clear()
    this.#expected = 0
  }

  async #more(): Promise<void> {
    const { name, timeoutMs } = this.#parts
    const timer = setTimeout(() => {
      this.fail(
        new ChasquiError(
          'request-timeout',
          `Nothing came from "${name}" within ${timeoutMs} ms. Is its handler running?`,
          { details: { destination: name, timeoutMs, items: this.#taken } },
        ),
      )
    }, timeoutMs)
    await new Promise<void>(resolve => {
      this.#wake = resolve
    })
    clearTimeout(timer)
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  #broken(why: string): ChasquiErrorType {
    const { name } = this.#parts
    return new ChasquiError(
      'stream-broken',
      `The stream from "${name}" broke after ${this.#taken} items: ${why}. Ask again.`,
      { details: { destination: name, items: this.#taken } },
    )
  }

  #noStream(): ChasquiErrorType {
    const { name } = this.#parts
    return new ChasquiError('reply-kind', `"${name}" answered by one reply, not by a stream. Ask with request().`, {
      details: { destination: name },
    })
  }
}
