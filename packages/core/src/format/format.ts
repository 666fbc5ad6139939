/**
 * A format turns a body into bytes and back. It is chosen by name or content type on the way out, and by the message's
 * content type on the way in. Formats of one's own are given to `connect({ formats })`; the three that come along are
 * beside this file.
 */
import { ChasquiError } from '@chasqui/driver'
import { nearest } from '../options/option.ts'
import { bytesFormat } from './bytes.ts'
import { jsonFormat } from './json.ts'
import { textFormat } from './text.ts'

/** What follows the media type, by lower-case name: `charset`, `version`... */
export type ContentTypeParameters = Readonly<Record<string, string>>

export interface Format {
  /** The short name that contracts may use: `json`. */
  readonly name: string
  /** What is written on the message, parameters included. Received messages are matched without the parameters. */
  readonly contentType: string
  /** The body's bytes. Throws when the value has no place in this format; the core makes it `body-not-encodable`. */
  encode(value: unknown): Uint8Array
  /**
   * The value that the bytes stand for. Must survive any bytes in bounded time: throws when they are not what the content
   * type says, and the core makes it `body-not-decodable`. The bytes are not the format's: it neither writes to nor keeps them.
   */
  decode(bytes: Uint8Array, parameters: ContentTypeParameters): unknown
}

/** The format for a received content type, with the parameters already read. */
export interface FormatChoice {
  readonly format: Format
  readonly parameters: ContentTypeParameters
}

/** How many content types are remembered; foreign senders may write anything there. */
const maxRemembered = 256
const noParameters: ContentTypeParameters = Object.freeze({})

export class Formats {
  readonly #byName = new Map<string, Format>()
  readonly #byMediaType = new Map<string, Format>()
  readonly #choices = new Map<string, FormatChoice>()

  /** The built-in formats and then `more`; a later one of the same name or media type replaces an earlier one. */
  constructor(more: readonly Format[] = []) {
    for (const format of [jsonFormat, textFormat, bytesFormat, ...more]) {
      this.#byName.set(format.name, format)
      this.#byMediaType.set(parseContentType(format.contentType).mediaType, format)
    }
  }

  /** The format that bears this name or content type. Throws `format-unknown`. */
  named(nameOrContentType: string): Format {
    const format = this.#byName.get(nameOrContentType) ?? this.#match(parseContentType(nameOrContentType).mediaType)
    if (format !== undefined) return format
    const known = [...this.#byName.keys()]
    const near = nearest(nameOrContentType, known)
    throw new ChasquiError(
      'format-unknown',
      `No format answers to "${nameOrContentType.slice(0, 100)}". ${near === undefined ? `Known are ${known.join(', ')}` : `Did you mean \`${near}\``}? Others are given to connect({ formats }).`,
      { details: { format: nameOrContentType.slice(0, 100) } },
    )
  }

  /** The format of a received message. Throws `format-unknown`. */
  choose(contentType: string): FormatChoice {
    const known = this.#choices.get(contentType)
    if (known !== undefined) return known
    const { mediaType, parameters } = parseContentType(contentType)
    const format = this.#match(mediaType)
    if (format === undefined) {
      throw new ChasquiError(
        'format-unknown',
        `No format reads the content type "${contentType.slice(0, 100)}". Give one to connect({ formats }).`,
        { details: { contentType: contentType.slice(0, 100) } },
      )
    }
    const choice = { format, parameters }
    if (this.#choices.size < maxRemembered) this.#choices.set(contentType, choice)
    return choice
  }

  /** By media type, else by its structured suffix: `application/vnd.acme+json` is JSON (RFC 6838 section 4.2.8). */
  #match(mediaType: string): Format | undefined {
    const exact = this.#byMediaType.get(mediaType)
    if (exact !== undefined) return exact
    const plus = mediaType.lastIndexOf('+')
    return plus < 0 ? undefined : this.#byMediaType.get(`application/${mediaType.slice(plus + 1)}`)
  }
}

/** Takes a content type apart (RFC 9110 section 8.3.1), forgivingly: what is no parameter is passed over. */
function parseContentType(contentType: string): { mediaType: string; parameters: ContentTypeParameters } {
  const [mediaType = '', ...rest] = contentType.split(';')
  if (rest.length === 0) return { mediaType: mediaType.trim().toLowerCase(), parameters: noParameters }
  const parameters: Record<string, string> = Object.create(null)
  for (const part of rest) {
    const equals = part.indexOf('=')
    if (equals < 0) continue
    const value = part.slice(equals + 1).trim()
    parameters[part.slice(0, equals).trim().toLowerCase()] = value.startsWith('"') ? value.slice(1, -1) : value
  }
  return { mediaType: mediaType.trim().toLowerCase(), parameters }
}
