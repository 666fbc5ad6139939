/**
 * The answering half of requests: what a handler returns goes back to the queue that the message names, validated by the
 * contract's reply schema; what it fails with goes back as a typed error. Replies live as short as their requesters wait.
 */
import type { Headers } from '@chasqui/driver'
import { headerPrefix } from '@chasqui/driver'
import type { Attempt } from '../consume/incoming.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { EventHub } from '../observe/events.ts'
import type { Failure } from '../retry/dead-letter.ts'
import type { Outlets } from '../send/outlet.ts'
import { bodyInvalid } from '../validate/validate.ts'

/** How long a reply is worth delivering, in milliseconds; requesters that wait longer are rare. */
const replyTtlMs = 300_000
const maxSentence = 1000
/** The longest JSON of an error's details that travels, in characters; longer details stay here. */
const maxDetails = 4000

/** The headers by which a requester knows a failure from a reply. */
export const replyErrorCode = `${headerPrefix.chasqui}error_code`
export const replyErrorMessage = `${headerPrefix.chasqui}error_message`
/** JSON of the error's `details`. */
export const replyErrorDetails = `${headerPrefix.chasqui}error_details`

export class Replies {
  readonly #outlets: Outlets
  readonly #formats: PipelineFormats
  readonly #events: EventHub
  readonly #sourceName: string

  constructor(outlets: Outlets, formats: PipelineFormats, events: EventHub, sourceName: string) {
    this.#outlets = outlets
    this.#formats = formats
    this.#events = events
    this.#sourceName = sourceName
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
    await this.#send(attempt, result, undefined)
    if (this.#events.heard.replied) {
      this.#events.emit({ kind: 'replied', source: this.#sourceName, id, type, replyTo })
    }
  }

  /** Tells the requester that its request failed for good. Never rejects: the dead letter has the whole story. */
  async replyFailure(attempt: Attempt, failure: Failure): Promise<void> {
    const { contract } = attempt
    if (attempt.wire.replyTo === undefined || (contract !== undefined && contract.kind !== 'request')) return
    const message = failure.error instanceof Error ? String(failure.error.message) : failure.reason
    const details = detailsOf(failure.error)
    const headers: Headers = {
      [replyErrorCode]: failure.code,
      [replyErrorMessage]: message.slice(0, maxSentence).toWellFormed(),
      ...(details === undefined ? {} : { [replyErrorDetails]: details }),
    }
    try {
      await this.#send(attempt, null, headers)
    } catch (error) {
      this.#events.emit({ kind: 'driver-failed', doing: 'replying with a failure', error })
    }
  }

  async #send(attempt: Attempt, body: unknown, headers: Headers | undefined): Promise<void> {
    const { contract, wire } = attempt
    const format =
      headers !== undefined
        ? this.#formats.json
        : contract === undefined
          ? undefined
          : this.#formats.registry.named(contract.format ?? 'json')
    const correlationId = wire.correlationId ?? wire.id
    try {
      await this.#outlets.reply({
        replyTo: wire.replyTo!,
        correlationId,
        type: contract === undefined ? undefined : `${contract.type}.reply`,
        format,
        body,
        headers,
        carried: attempt.carried,
        ttlMs: replyTtlMs,
      })
    } catch (error) {
      if (!gone(error)) throw error
    }
  }
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

function gone(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  return code === 'unroutable' || code === 'destination-missing'
}
