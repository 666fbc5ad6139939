/** The asking half of streams of replies: `for await (const item of bus.stream(...))`. Asking begins with the loop and ends with it. */
import type { ChasquiError as ChasquiErrorType, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import type { Carried } from '../encode/attributes.ts'
import { streamOptions } from '../options/sending.ts'
import type { Outlets } from '../send/outlet.ts'
import type { StreamOptions } from '../send/senders.ts'
import type { Control } from './control.ts'
import type { Recipient, ReplyQueue } from './reply-queue.ts'
import type { ReplyReader } from './reply-reader.ts'
import { runHeader, runOf } from './run-protocol.ts'
import { StreamReader } from './stream-reader.ts'

export class Streams implements Recipient {
  readonly #outlets: Outlets
  readonly #queue: ReplyQueue
  readonly #reader: ReplyReader
  readonly #control: Control
  /** By the id of the request. */
  readonly #readers = new Map<string, StreamReader>()

  constructor(outlets: Outlets, queue: ReplyQueue, reader: ReplyReader, control: Control) {
    this.#outlets = outlets
    this.#queue = queue
    this.#reader = reader
    this.#control = control
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
      grant: (run, credit) => this.#control.grant(id, run, credit),
      cancel: run => this.#control.cancel(id, run),
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
      const asking = { replyTo: this.#queue.name, began, headers: { [runHeader.window]: window } }
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
    // What was on its way when its reader left, or a run that begins only now: of a request that was given up, too.
    if (replyTo !== undefined) this.#control.cancel(correlationId, { id, control: replyTo })
    return true
  }

  interrupted(): void {
    for (const reader of this.#readers.values()) reader.interrupted()
  }

  ended(error: ChasquiErrorType): void {
    this.end(error)
  }
}

function streamAborted(signal: AbortSignal, destination: string): ChasquiErrorType {
  return new ChasquiError('aborted', `The signal of the stream from "${destination}" fired.`, {
    cause: signal.reason,
    details: { destination },
  })
}
