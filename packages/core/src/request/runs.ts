/**
 * The runs of a bus that answer requests and listen to their requesters: what those say arrives at the bus's reply queue. Streams
 * that have been silent say now and then that they are there, by which those whose requester is gone find out.
 */
import { randomUUID } from 'node:crypto'
import type { Headers, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { Attempt } from '../consume/incoming.ts'
import type { Recipient, ReplyQueue } from './reply-queue.ts'
import { countOf, runHeader, runOf } from './run-protocol.ts'
import type { StreamEnd, StreamRunParts } from './stream-run.ts'
import { StreamRun } from './stream-run.ts'

/** After so long in silence a stream says that it is there, in milliseconds: a requester that is gone is found within twice that. */
const silenceMs = 3000

/** An attempt that is through before is not worth a message of its own, in milliseconds. */
const helloAfterMs = 20

interface Run {
  /** So many items may be sent in all. */
  grant(credit: number): void
  /** The requester wants no more. */
  leave(): void
  /** Says that the run is there, unless something was sent since the last time. */
  beHeard(): void
}

export class Runs implements Recipient {
  readonly #queue: ReplyQueue
  readonly #runs = new Map<string, Run>()
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
  async stream(
    parts: StreamRunParts,
    items: AsyncIterable<unknown>,
  ): Promise<{ readonly end: StreamEnd; readonly sent: number }> {
    await this.#queue.open()
    const run = new StreamRun(parts)
    parts.attempt.streamRun = run
    this.#enter(run.id, run)
    try {
      const end = await run.run(items)
      return { end, sent: run.sent }
    } finally {
      this.#leave(run.id)
    }
  }

  /**
   * Lets the requester cancel an attempt that runs. `hello` tells it where; its failure is told to nobody, for then there is nobody who
   * would cancel. The returned function ends that.
   */
  listen(attempt: Attempt, hello: (headers: Headers) => Promise<unknown>): () => void {
    const id = randomUUID()
    const timer = setTimeout(() => {
      const opened = this.#queue.open().then(() => (this.#runs.has(id) ? hello({ [runHeader.run]: id }) : undefined))
      opened.catch(ignored)
    }, helloAfterMs)
    this.#enter(id, {
      grant: ignored,
      beHeard: ignored,
      leave: () => attempt.cancel(new ChasquiError('aborted', 'The requester has cancelled the request.')),
    })
    return () => {
      clearTimeout(timer)
      this.#leave(id)
    }
  }

  // Recipient

  take({ headers }: WireMessage): boolean {
    const credit = countOf(headers[runHeader.credit])
    const cancelled = headers[runHeader.cancel] !== undefined
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

  #enter(id: string, run: Run): void {
    this.#runs.set(id, run)
    this.#clock ??= setInterval(() => {
      for (const one of this.#runs.values()) one.beHeard()
    }, silenceMs).unref()
  }

  #leave(id: string): void {
    this.#runs.delete(id)
    if (this.#runs.size > 0) return
    clearInterval(this.#clock)
    this.#clock = undefined
  }
}

function ignored(): void {}
