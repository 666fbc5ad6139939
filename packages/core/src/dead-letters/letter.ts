/** A dead letter as people look at it, and the message that it becomes again when it is sent back. */
import type { Headers, HeaderValue, WireMessage } from '@chasqui/driver'
import { headerPrefix } from '@chasqui/driver'
import { decoded } from '../encode/encode.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { Format } from '../format/format.ts'
import { isHistory } from '../retry/notes.ts'

/** Why a letter is there. All of it is absent where the engine itself put the letter aside. */
export interface DeadLetterError {
  /** A code of the error table: `handler-failed` for what bears no code of its own. */
  readonly code: string | undefined
  /** The error's name, as its class gives it. */
  readonly type: string | undefined
  readonly message: string | undefined
  readonly stack: string | undefined
}

/** One entry of a dead-letter queue. */
export interface DeadLetter {
  readonly id: string | undefined
  readonly type: string | undefined
  readonly key: string | undefined
  /** The queue, or TOPIC.SUBSCRIPTION, whose consumer gave it up: where it goes when it is sent back. */
  readonly originalDestination: string
  readonly error: DeadLetterError
  /** Why it was given up, as a sentence; the engine's word for it where the engine did so by itself. */
  readonly reason: string | undefined
  /** How often it was tried. */
  readonly attempts: number | undefined
  readonly firstFailedAt: Date | undefined
  readonly lastFailedAt: Date | undefined
  /** The application whose consumer gave it up. */
  readonly consumer: string | undefined
  /** When it was sent. */
  readonly time: Date | undefined
  readonly contentType: string | undefined
  /** As the sender wrote them, without what tells of the failure. */
  readonly headers: Headers
  /** The bytes as they came; not to be written to. */
  readonly body: Uint8Array
  /** The body as its content type says. Throws `body-not-decodable` and `format-unknown`. */
  decode(): unknown
}

const { chasqui } = headerPrefix

/** What is written on a dead letter (retry/dead-letter.ts), by its header without the prefix. */
const failureHeaders = [
  'error_code',
  'error_type',
  'error_message',
  'error_stack',
  'attempts',
  'last_failed_at',
  'original_destination',
  'consumer',
  'reason',
] as const
const ofFailure: ReadonlySet<string> = new Set(failureHeaders.map(name => chasqui + name))

/** Where bodies are decoded by. */
export interface Decoding {
  readonly formats: PipelineFormats
  /** For letters without a content type. */
  readonly format: Format | undefined
}

/** A letter read from its message. Fields are made when they are asked for: most are only compared with a filter. */
export class ReadLetter implements DeadLetter {
  readonly wire: WireMessage
  readonly #source: string
  readonly #decoding: Decoding

  /** `source` is where a letter belongs that does not say so itself. */
  constructor(wire: WireMessage, source: string, decoding: Decoding) {
    this.wire = wire
    this.#source = source
    this.#decoding = decoding
  }

  get id(): string | undefined {
    return this.wire.id
  }

  get type(): string | undefined {
    return this.wire.type
  }

  get key(): string | undefined {
    return this.wire.key
  }

  get originalDestination(): string {
    return this.#text('original_destination') ?? this.#source
  }

  get error(): DeadLetterError {
    return {
      code: this.#text('error_code'),
      type: this.#text('error_type'),
      message: this.#text('error_message'),
      stack: this.#text('error_stack'),
    }
  }

  get reason(): string | undefined {
    return this.#text('reason') ?? textOf(this.wire.headers['x-first-death-reason'])
  }

  get attempts(): number | undefined {
    const attempts = this.wire.headers[`${chasqui}attempts`]
    return typeof attempts === 'number' ? attempts : undefined
  }

  get firstFailedAt(): Date | undefined {
    return this.#moment('first_failed_at')
  }

  get lastFailedAt(): Date | undefined {
    return this.#moment('last_failed_at') ?? engineMoment(this.wire.headers)
  }

  get consumer(): string | undefined {
    return this.#text('consumer')
  }

  get time(): Date | undefined {
    const { time } = this.wire
    return time === undefined ? undefined : new Date(time)
  }

  get contentType(): string | undefined {
    return this.wire.contentType
  }

  get headers(): Headers {
    return withoutFailure(this.wire.headers)
  }

  get body(): Uint8Array {
    return this.wire.body
  }

  decode(): unknown {
    return decoded(this.wire, this.#decoding.formats, this.#decoding.format)
  }

  /** The same entry, not only the same message: one that failed again has another moment. */
  get identity(): string | undefined {
    const { id } = this.wire
    return id === undefined ? undefined : `${id} ${this.#text('last_failed_at') ?? ''}`
  }

  #text(name: (typeof failureHeaders)[number]): string | undefined {
    return textOf(this.wire.headers[chasqui + name])
  }

  #moment(name: 'first_failed_at' | 'last_failed_at'): Date | undefined {
    const written = textOf(this.wire.headers[chasqui + name])
    const date = written === undefined ? undefined : new Date(written)
    return date === undefined || Number.isNaN(date.getTime()) ? undefined : date
  }
}

/** The message as it was before it failed: nothing is left of attempts, and none were made. */
export function redrivenCopy(wire: WireMessage): WireMessage {
  // One that died of its time to live would die of it again at once.
  return { ...wire, headers: withoutFailure(wire.headers), expiresAt: undefined, notBefore: undefined, durable: true }
}

function withoutFailure(headers: Headers): Record<string, HeaderValue> {
  const kept: Record<string, HeaderValue> = {}
  for (const name of Object.keys(headers)) {
    if (!ofFailure.has(name) && !isHistory(name)) kept[name] = headers[name]!
  }
  return kept
}

/** When the engine put it aside (RabbitMQ, "Dead Letter Exchanges: Effects on Messages"). */
function engineMoment(headers: Headers): Date | undefined {
  const deaths = headers['x-death']
  const latest = Array.isArray(deaths) ? (deaths[0] as HeaderValue | undefined) : undefined
  if (typeof latest !== 'object' || latest === null || !('time' in latest)) return undefined
  return latest.time instanceof Date ? latest.time : undefined
}

function textOf(value: HeaderValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}
