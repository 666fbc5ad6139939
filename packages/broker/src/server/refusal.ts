/** What channel.close and connection.close say. */
import { AmqpError, EncodingError, type Method } from '@chasqui/amqp'

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

/** What a connection is closed with for whatever was thrown. What nobody foresaw is warned of: it is ours to mend. */
export function asRefusal(error: unknown): AmqpError {
  if (error instanceof AmqpError) return error
  // A message from elsewhere whose headers do not fit the frames that this client takes.
  if (error instanceof EncodingError) return AmqpError.of('frame-error', error.message, { cause: error })
  process.emitWarning(error instanceof Error ? error : String(error), 'ChasquiWarning')
  return AmqpError.of('internal-error', 'the broker failed at this; its standard error says more', { cause: error })
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
