/** What channel.close and connection.close say. */
import { AmqpError, type Method } from '@chasqui/amqp'

/** A short string's most bytes (AMQP 0-9-1 section 4.2.5.3). */
const mostBytes = 255

interface CloseFields {
  readonly replyCode: number
  readonly replyText: string
  readonly classId: number
  readonly methodId: number
}

/** The fields for an error that this method caused, or no method. */
export function closeFields(error: AmqpError, method: Method | undefined): CloseFields {
  return {
    replyCode: error.replyCode,
    replyText: shortened(error.replyText),
    classId: error.classId || (method === undefined ? 0 : method.id >>> 16),
    methodId: error.methodId || (method === undefined ? 0 : method.id & 0xffff),
  }
}

/** An error of ours, which is no fault of the client's. */
export function internalError(cause: unknown): AmqpError {
  return AmqpError.of('internal-error', 'the broker failed at this; its log says more', { cause })
}

/** A sentence may bear two names of 255 bytes each. */
function shortened(text: string): string {
  const bytes = Buffer.from(text)
  if (bytes.length <= mostBytes) return text
  let end = mostBytes - 3
  // Not within a character: bytes 10xxxxxx continue one.
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return `${bytes.toString('utf8', 0, end)}...`
}
