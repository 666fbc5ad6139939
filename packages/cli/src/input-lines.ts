/** The lines of a stream as the bytes that they are, so that nothing is changed on its way through. */
import { ChasquiError } from '@chasqui/core'

/** A line longer than this is no message: bodies are far smaller (`maxBodyBytes`). */
const maxLineBytes = 16 * 1024 * 1024
const newline = 0x0a
const carriageReturn = 0x0d

/**
 * Without their ends, which are `\n` or `\r\n`; what follows the last end is a line unless it is empty. Ends early when
 * the signal fires.
 */
export async function* inputLines(
  stream: AsyncIterable<Uint8Array> & { destroy(): unknown },
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, void> {
  const stop = () => stream.destroy()
  signal.addEventListener('abort', stop, { once: true })
  let rest: Buffer = Buffer.alloc(0)
  try {
    if (signal.aborted) return
    for await (const chunk of stream) {
      rest = rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([rest, chunk])
      let from = 0
      for (let end = rest.indexOf(newline); end !== -1; end = rest.indexOf(newline, from)) {
        yield rest.subarray(from, rest[end - 1] === carriageReturn && end > from ? end - 1 : end)
        from = end + 1
      }
      rest = rest.subarray(from)
      if (rest.length > maxLineBytes) throw tooLong()
    }
    if (rest.length > 0) yield rest
  } catch (error) {
    // Reading from a stream that was destroyed fails: that is the end we asked for.
    if (!signal.aborted) throw error
  } finally {
    signal.removeEventListener('abort', stop)
    stream.destroy()
  }
}

function tooLong(): ChasquiError {
  return new ChasquiError('body-too-large', `A line of standard input is longer than ${maxLineBytes} bytes.`)
}
