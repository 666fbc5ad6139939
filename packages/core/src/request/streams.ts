/** The asking half of streams of replies: `for await (const item of bus.stream(...))`. Asking begins with the loop and ends with it. */
import type { ChasquiError as ChasquiErrorType, Headers, WireMessage } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import type { Carried } from '../encode/attributes.ts'
import type { EventHub } from '../observe/events.ts'
import { streamOptions } from '../options.ts'
import type { Outlets, StreamOptions } from '../send/outlet.ts'
import type { Recipient, ReplyQueue } from './reply-queue.ts'
import type { ReplyReader } from './reply-reader.ts'
import { runOf, streamHeader } from './stream-protocol.ts'
import type { Run } from './stream-reader.ts'
import { StreamReader } from './stream-reader.ts'
import { isGone } from './stream-run.ts'

/** A run that nobody reads is told so once in this time, in milliseconds: its last items must not cost a message each. */
const toldForMs = 1000
/** How many such runs are remembered. */
const maxTold = 10_000

export class Streams implements Recipient {
  readonly #outlets: Outlets
  readonly #queue: ReplyQueue
  readonly #reader: ReplyReader
  readonly #events: EventHub
  /** By the id of the request. */
  readonly #readers = new Map<string, StreamReader>()
  /** When runs were told that nobody reads them (`performance.now()`). */
  readonly #told = new Map<string, number>()

  constructor(outlets: Outlets, queue: ReplyQueue, reader: ReplyReader, events: EventHub) {
    this.#outlets = outlets
    this.#queue = queue
    this.#reader = reader
    this.#events = events
    queue.join(this)
  }

  async *stream(
    to: AnyContract | string,
    body: unknown,
    options: StreamOptions = {},
    carried?: Carried,
  ): AsyncGenerator<unknown, void, void> {
    const name = typeof to === 'string' ? to : to.destination
    const contract = typeof to === 'string' ? undefined : to
    const window = options.window ?? streamOptions.window.default
    let id = ''
    const reader = new StreamReader({
      name,
      window,
      timeoutMs: options.timeoutMs ?? streamOptions.timeoutMs.default,
      grant: (run, credit) => this.#say(id, run, { [streamHeader.credit]: credit }),
      cancel: run => this.#cancel(id, run),
    })
    const { signal, ...others } = options
    const abort = () => reader.fail(streamAborted(signal!, name))
    try {
      await this.#queue.open()
      signal?.addEventListener('abort', abort, { once: true })
      if (signal?.aborted) abort()
      const began = (draftId: string) => {
        id = draftId
        this.#readers.set(id, reader)
      }
      const asking = { replyTo: this.#queue.name, began, headers: { [streamHeader.window]: window } }
      // Items may overtake the confirm, and a failed send ends the wait. The reader has the signal: it tells the handler too.
      this.#outlets.request('stream', to, body, others, carried, asking).catch(error => reader.fail(error))
      for (let item = await reader.next(); item !== undefined; item = await reader.next()) {
        yield await this.#reader.read(item, contract)
        reader.done()
      }
    } finally {
      signal?.removeEventListener('abort', abort)
      this.#readers.delete(id)
      reader.leave()
    }
  }

  /** No more is wanted of any stream; those who read get the error. */
  end(error: ChasquiErrorType): void {
    for (const reader of this.#readers.values()) reader.fail(error)
  }

  // Recipient

  take(message: WireMessage): boolean {
    const { correlationId = '', headers, replyTo } = message
    const reader = this.#readers.get(correlationId)
    if (reader !== undefined) {
      reader.take(message)
      return true
    }
    const id = runOf(headers)
    if (id === undefined) return false
    // What was on its way when its reader left, or a run that begins only now.
    if (replyTo !== undefined) this.#cancel(correlationId, { id, control: replyTo })
    return true
  }

  interrupted(): void {
    for (const reader of this.#readers.values()) reader.interrupted()
  }

  ended(error: ChasquiErrorType): void {
    this.end(error)
  }

  #cancel(id: string, run: Run): void {
    const now = performance.now()
    if (now - (this.#told.get(run.id) ?? Number.NEGATIVE_INFINITY) < toldForMs) return
    if (this.#told.size >= maxTold) this.#told.clear()
    this.#told.set(run.id, now)
    this.#say(id, run, { [streamHeader.cancel]: true })
  }

  #say(id: string, run: Run, headers: Headers): void {
    if (run.control === '') return
    const said = this.#outlets.control(run.control, id, { ...headers, [streamHeader.run]: run.id })
    said.catch((error: unknown) => {
      // Whoever took it is gone, or this bus is: nobody is left to be told.
      if (isGone(error) || (isChasquiError(error) && error.code === 'closed')) return
      this.#events.emit({ kind: 'driver-failed', doing: 'telling a stream of credit or its end', error })
    })
  }
}

function streamAborted(signal: AbortSignal, destination: string): ChasquiErrorType {
  return new ChasquiError('aborted', `The signal of the stream from "${destination}" fired.`, {
    cause: signal.reason,
    details: { destination },
  })
}
