/**
 * The answering half of requests: what a handler returns goes back to the queue that the message names, validated by the
 * contract's reply schema, as one reply or as a stream of them; what it fails with goes back as a typed error. Replies live as
 * short as their requesters wait.
 */
import type { Headers } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { Attempt } from '../consume/incoming.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { EventHub } from '../observe/events.ts'
import { streamOptions } from '../options/sending.ts'
import type { Failure } from '../retry/dead-letter.ts'
import type { Outlets } from '../send/outlet.ts'
import { bodyInvalid } from '../validate/validate.ts'
import { replyErrorCode, replyErrorDetails, replyErrorMessage } from './reply-reader.ts'
import { asksForStream, countOf, isCancellable, runHeader } from './run-protocol.ts'
import type { Runs } from './runs.ts'
import { isGone } from './stream-run.ts'

/** How long a reply is worth delivering, in milliseconds; requesters that wait longer are rare. */
const replyTtlMs = 300_000
const maxSentence = 1000
/** The longest JSON of an error's details that travels, in characters; longer details stay here. */
const maxDetails = 4000

export class Replies {
  readonly #outlets: Outlets
  readonly #formats: PipelineFormats
  readonly #events: EventHub
  readonly #runs: Runs
  readonly #sourceName: string

  constructor(outlets: Outlets, formats: PipelineFormats, events: EventHub, runs: Runs, sourceName: string) {
    this.#outlets = outlets
    this.#formats = formats
    this.#events = events
    this.#runs = runs
    this.#sourceName = sourceName
  }

  /**
   * Whether the result is a stream of replies. Throws `reply-kind` where the handler, its contract and the requester do not agree on
   * that, and for a generator that nobody would run.
   */
  streams(attempt: Attempt, result: unknown): result is AsyncIterable<unknown> {
    const { contract, wire } = attempt
    const asked = asksForStream(wire)
    if (!asked && contract?.stream !== true && !isGenerator(result)) return false
    if (!asked) throw replyKind(attempt, 'Its handler answers by a stream, and nobody asked for one')
    if (contract !== undefined && contract.stream !== true) {
      throw replyKind(attempt, 'A stream was asked for, and its contract is none (`stream: true`)')
    }
    if (!isAsyncIterable(result)) {
      throw replyKind(
        attempt,
        'A stream was asked for, and its handler returned no async generator (`async function*`)',
      )
    }
    return true
  }

  /** Lets the requester cancel an attempt that runs, where it asked for that. The returned function ends it. */
  listen(attempt: Attempt): (() => void) | undefined {
    if (!isCancellable(attempt.wire)) return undefined
    return this.#runs.listen(attempt, headers => this.#send(attempt, null, headers, true))
  }

  /** Whether the result is a reply: always for a request's handler, and for a plain one that returned something. */
  answers(attempt: Attempt, result: unknown): boolean {
    const { contract } = attempt
    return contract === undefined ? result !== undefined : contract.kind === 'request'
  }

  /** Resolves when the reply is confirmed. A requester that is gone (its queue is no more) is no failure of the handler's. */
  async reply(attempt: Attempt, result: unknown): Promise<void> {
    const { contract, id, type } = attempt
    const { replyTo } = attempt.wire
    if (replyTo === undefined) return
    if (contract?.replySchema !== undefined) {
      const checked = await contract.replySchema['~standard'].validate(result)
      if (checked.issues !== undefined) throw bodyInvalid(`${contract.type} (its reply)`, checked.issues)
    }
    await this.#sendUnlessGone(attempt, result, undefined)
    if (this.#events.heard.replied) {
      this.#events.emit({ kind: 'replied', source: this.#sourceName, id, type, replyTo })
    }
  }

  /** Resolves when the stream has ended, also when its requester left it or is gone. Rejects with what failed. */
  async stream(attempt: Attempt, items: AsyncIterable<unknown>): Promise<void> {
    const { id, type, wire } = attempt
    const ended = await this.#runs.stream(
      {
        attempt,
        window: Math.min(countOf(wire.headers[runHeader.window]) ?? 1, streamOptions.window.maximum),
        answer: (headers, body) =>
          this.#send(attempt, body === undefined ? null : body.value, headers, body === undefined),
        cleanupFailed: error =>
          this.#events.emit({ kind: 'hook-failed', hook: 'the end of a stream that its requester left', error }),
      },
      items,
    )
    if (this.#events.heard.streamed) {
      const { end, sent } = ended
      this.#events.emit({
        kind: 'streamed',
        source: this.#sourceName,
        id,
        type,
        replyTo: wire.replyTo!,
        end,
        items: sent,
      })
    }
  }

  /** Tells the requester that its request failed for good. Never rejects: the dead letter has the whole story. */
  async replyFailure(attempt: Attempt, failure: Failure): Promise<void> {
    const { contract } = attempt
    if (attempt.wire.replyTo === undefined || (contract !== undefined && contract.kind !== 'request')) return
    const message = failure.error instanceof Error ? String(failure.error.message) : failure.reason
    const details = detailsOf(failure.error)
    const headers: Headers = {
      ...attempt.streamRun?.failureHeaders,
      [replyErrorCode]: failure.code,
      [replyErrorMessage]: message.slice(0, maxSentence).toWellFormed(),
      ...(details === undefined ? {} : { [replyErrorDetails]: details }),
    }
    try {
      await this.#sendUnlessGone(attempt, null, headers)
    } catch (error) {
      this.#events.emit({ kind: 'driver-failed', doing: 'replying with a failure', error })
    }
  }

  async #sendUnlessGone(attempt: Attempt, body: unknown, headers: Headers | undefined): Promise<void> {
    try {
      await this.#send(attempt, body, headers, headers !== undefined)
    } catch (error) {
      if (!isGone(error)) throw error
    }
  }

  /** `empty`: what is said stands in the headers alone. */
  async #send(attempt: Attempt, body: unknown, headers: Headers | undefined, empty: boolean): Promise<void> {
    const { contract, wire } = attempt
    const format = empty
      ? this.#formats.json
      : contract === undefined
        ? undefined
        : this.#formats.registry.named(contract.format ?? 'json')
    await this.#outlets.reply({
      replyTo: wire.replyTo!,
      correlationId: wire.correlationId ?? wire.id,
      type: contract === undefined ? undefined : `${contract.type}.reply`,
      format,
      body,
      headers,
      carried: attempt.carried,
      ttlMs: replyTtlMs,
      answerTo: headers?.[runHeader.run] === undefined ? undefined : this.#runs.control,
    })
  }
}

function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

/** A generator does nothing until somebody runs it: returned where no stream is, its handler would not have run. */
function isGenerator(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const tag = (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
  return tag === 'AsyncGenerator' || tag === 'Generator'
}

function replyKind({ type, destination }: Attempt, what: string): ChasquiError {
  return new ChasquiError('reply-kind', `${what}: "${type ?? destination}" can be one reply or a stream, not both.`, {
    details: { type, destination },
  })
}

/** What the error says beside its sentence, as JSON; nothing where it has none, or where JSON cannot or may not carry it. */
function detailsOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('details' in error)) return undefined
  try {
    const json: string | undefined = JSON.stringify(error.details)
    return json === undefined || json === '{}' || json.length > maxDetails ? undefined : json.toWellFormed()
  } catch {
    // Circles, bigints, getters that throw: the code and the sentence have to do.
    return undefined
  }
}
