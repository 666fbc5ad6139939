/** The change of a letter before it is sent back, checked as what a sender gives is. */
import type { HeaderValue, WireMessage } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'
import { decoded, encoded, usualFormat } from '../encode/encode.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import { deadLetterChange } from '../options/dead-letters.ts'
import { checkOptions } from '../options/option.ts'
import { checkedHeaders } from '../send/headers.ts'
import { bodyInvalid } from '../validate/validate.ts'
import { redrivenCopy } from './letter.ts'

export interface DeadLetterChange {
  /**
   * The new body. A Uint8Array is taken for the bytes as they are to be; everything else is written in the format of the letter's
   * content type.
   */
  readonly body?: unknown
  /** Headers to set; `undefined` takes one off. The others stay. */
  readonly headers?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly key?: string
}

export interface EditRules {
  readonly formats: PipelineFormats
  /** Whose schema a letter of its type must fit, and whose format one without a content type has. */
  readonly contract: AnyContract | undefined
  readonly maxBodyBytes: number
  readonly maxHeaderBytes: number
}

/** Checks what does not depend on the letter. Throws `option-invalid`. */
export function checkChange(change: DeadLetterChange, where: string): void {
  checkOptions(deadLetterChange, change, `${where}: the change`)
  if (Object.values(change).every(value => value === undefined)) {
    throw new ChasquiError('option-invalid', `${where}: nothing is to be changed. Give a body, headers or a key.`)
  }
}

/** The message to send back. Rejects with `body-invalid`, `body-not-encodable`, `body-not-decodable`, `body-too-large`, `header-invalid`. */
export async function edited(
  wire: WireMessage,
  destination: string,
  change: DeadLetterChange,
  rules: EditRules,
): Promise<WireMessage> {
  let copy = redrivenCopy(wire)
  if (change.headers !== undefined) copy = { ...copy, headers: changedHeaders(copy, change.headers, rules) }
  if (change.key !== undefined) copy = { ...copy, key: change.key }
  if (change.body !== undefined) copy = await withBody(copy, destination, change.body, rules)
  return copy
}

async function withBody(
  wire: WireMessage,
  destination: string,
  body: unknown,
  { formats, contract, maxBodyBytes }: EditRules,
): Promise<WireMessage> {
  const isOfContract = contract !== undefined && (wire.type === undefined || wire.type === contract.type)
  const fallback = isOfContract ? formats.registry.named(contract.format ?? 'json') : undefined
  let message: WireMessage
  if (body instanceof Uint8Array) {
    message = { ...wire, body: Buffer.from(body), contentEncoding: undefined }
  } else {
    const format =
      wire.contentType === undefined
        ? (fallback ?? usualFormat(body, formats))
        : formats.registry.choose(wire.contentType).format
    const contentType = wire.contentType ?? format.contentType
    message = { ...wire, body: encoded(body, format, destination), contentType, contentEncoding: undefined }
  }
  const bytes = message.body.byteLength
  if (bytes > maxBodyBytes) {
    throw new ChasquiError(
      'body-too-large',
      `The body for "${destination}" has ${bytes} bytes; at most ${maxBodyBytes} are allowed. Raise maxBodyBytes.`,
      { details: { bytes, maxBodyBytes } },
    )
  }
  if (isOfContract && contract.schema !== undefined) {
    const value = body instanceof Uint8Array ? decoded(message, formats, fallback) : body
    const result = await contract.schema['~standard'].validate(value)
    if (result.issues !== undefined) throw bodyInvalid(contract.type, result.issues)
  }
  return message
}

function changedHeaders(
  wire: WireMessage,
  change: NonNullable<DeadLetterChange['headers']>,
  { maxHeaderBytes }: EditRules,
): WireMessage['headers'] {
  const given: Record<string, string | number | boolean> = {}
  for (const [name, value] of Object.entries(change)) if (value !== undefined) given[name] = value
  const headers: Record<string, HeaderValue> = { ...wire.headers, ...checkedHeaders(given, maxHeaderBytes) }
  for (const [name, value] of Object.entries(change)) if (value === undefined) delete headers[name]
  return headers
}
