/**
 * The runs of a bus that answer by streams: what requesters say to them arrives at the bus's reply queue. Runs that have been
 * silent say now and then that they are there, by which those whose requester is gone find out.
 */
import type { ChasquiError, WireMessage } from '@chasqui/driver'
import type { Recipient, ReplyQueue } from './reply-queue.ts'
import { countOf, runOf, streamHeader } from './stream-protocol.ts'
import type { StreamEnd, StreamRunParts } from './stream-run.ts'
import { StreamRun } from './stream-run.ts'

/** After so long in silence a run says that it is there, in milliseconds: a requester that is gone is found within twice that. */
const silenceMs = 3000

export class StreamRuns implements Recipient {
  readonly #queue: ReplyQueue
  readonly #runs = new Map<string, StreamRun>()
  #clock: NodeJS.Timeout | undefined

  constructor(queue: ReplyQueue) {
    this.#queue = queue
    queue.join(this)
  }

  /** The queue that takes credit and cancellations. */
  get control(): string {
    return this.#queue.name
  }

  /** Answers a request item by item. */
  async answer(
    parts: StreamRunParts,
    items: AsyncIterable<unknown>,
  ): Promise<{ readonly end: StreamEnd; readonly sent: number }> {
    await this.#queue.open()
    const run = new StreamRun(parts)
    parts.attempt.streamRun = run
    this.#runs.set(run.id, run)
    this.#clock ??= setInterval(() => {
      for (const one of this.#runs.values()) one.beHeard()
    }, silenceMs).unref()
    try {
      const end = await run.run(items)
      return { end, sent: run.sent }
    } finally {
      this.#runs.delete(run.id)
      if (this.#runs.size === 0) {
        clearInterval(this.#clock)
        this.#clock = undefined
      }
    }
  }

  // Recipient

  take({ headers }: WireMessage): boolean {
    const credit = countOf(headers[streamHeader.credit])
    const cancelled = headers[streamHeader.cancel] !== undefined
    if (credit === undefined && !cancelled) return false
    const run = this.#runs.get(runOf(headers) ?? '')
    // One that has ended meanwhile needs neither.
    if (cancelled) run?.leave()
    else run?.grant(credit!)
    return true
  }

  /** Credit under way is lost; whoever waits for it says so when it is silent for long, and gets it again. */
  interrupted(): void {}

  ended(_error: ChasquiError): void {}
}
