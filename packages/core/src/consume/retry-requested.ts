/** What a handler fails with that asks for another attempt, wherever it runs. */
import { ChasquiError } from '@chasqui/driver'
import { maxTimerMs } from '../options/option.ts'

/** Throws `option-invalid`. */
export function retryRequested(
  { delayMs, cause }: { readonly delayMs?: number; readonly cause?: unknown },
  where: string,
): ChasquiError {
  if (delayMs !== undefined && !(delayMs >= 0 && delayMs <= maxTimerMs)) {
    throw new ChasquiError('option-invalid', `${where}: \`delayMs\` must be a number from 0 to ${maxTimerMs}.`)
  }
  return new ChasquiError('retry-requested', 'The handler asked for another attempt.', { cause, details: { delayMs } })
}
