/** The options of batches: those of consuming, seen from a batch, and what closes one. */
import type { Capabilities } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { ConsumeDefaults, ConsumeOptions, ConsumeSettings } from '../consume/options.ts'
import { consumeSettings } from '../consume/options.ts'
import { batchOptions, consumeOptions } from '../options/consuming.ts'
import { checkOptions } from '../options/option.ts'

export interface BatchOptions extends Omit<ConsumeOptions, 'concurrency' | 'ordered'> {
  /** How many messages a batch holds at most: 1 to 10,000. Default 100. */
  readonly size?: number
  /** How long the oldest message of a batch waits for more, in milliseconds: 0 to 3,600,000. Default 1,000. */
  readonly maxAgeMs?: number
  /** How many batches run at once: 1 to 1,000. Default 1. */
  readonly concurrency?: number
}

export interface BatchSettings {
  readonly size: number
  readonly maxAgeMs: number
  readonly concurrency: number
  readonly timeoutMs: number | undefined
  /** Those of the consumer, whose handlers at once are messages in batches. */
  readonly consume: ConsumeSettings
}

/** Checks and completes what was given. Throws what `consumeSettings` does. */
export function batchSettings(
  given: BatchOptions,
  defaults: ConsumeDefaults,
  capabilities: Capabilities,
  contractLanes: number | undefined,
  where: string,
): BatchSettings {
  if ((given as ConsumeOptions).ordered === true) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: \`ordered\` hands out one message at a time, so no batch would ever hold two. Use handle(), or \`orderBy: 'key'\`.`,
    )
  }
  checkOptions(batchOptions, given, where)
  const {
    size = batchOptions.size.default,
    maxAgeMs = batchOptions.maxAgeMs.default,
    concurrency = batchOptions.concurrency.default,
    ...rest
  } = given
  const messages = messagesOf(size, concurrency, where)
  if (given.window !== undefined && given.window < messages) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: a \`window\` of ${given.window} never fills ${concurrency === 1 ? 'a batch' : `${concurrency} batches`} of ${size}. Raise it to at least ${messages}, or lower \`size\`.`,
      { details: { window: given.window, size, concurrency } },
    )
  }
  const { concurrency: _, ...others } = defaults
  const consume = consumeSettings({ ...rest, concurrency: messages }, others, capabilities, contractLanes, where)
  // The next batches are fetched while these run.
  const window = given.window ?? Math.min(Math.max(consume.window, 2 * messages), consumeOptions.window.maximum)
  return { size, maxAgeMs, concurrency, timeoutMs: consume.timeoutMs, consume: { ...consume, window } }
}

/** How many messages are in batches at most. Throws `option-invalid` where no window could hold them. */
export function messagesOf(size: number, concurrency: number, where: string): number {
  const messages = size * concurrency
  const { maximum } = consumeOptions.window
  if (messages <= maximum) return messages
  throw new ChasquiError(
    'option-invalid',
    `${where}: ${concurrency} batches of ${size} are ${messages} messages at once; at most ${maximum} may be unsettled.`,
    { details: { size, concurrency } },
  )
}
