/** The face of batches on the receiving side. */
import type { Consumer } from '../consume/consumer.ts'
import type { BodyOf } from '../consume/routes.ts'
import type { CommandContract, EventContract } from '../contract/contract.ts'
import type { BatchOptions } from './batch-options.ts'
import type { BatchContext } from './batch-run.ts'
import type { BatchItem } from './gathered.ts'

/**
 * Handles a batch. Returning acknowledges what it has not settled itself, throwing fails it: the batch is then split until what
 * fails stands alone, and the rest is handled again without it.
 */
export type BatchHandler<C = unknown> = (items: readonly BatchItem<BodyOf<C>>[], ctx: BatchContext) => unknown

/** The part of `Bus` that handles batches. */
export interface BatchConsumers {
  /**
   * Handles the messages of a queue in batches, in order. A batch is closed when it holds `size` messages, or when the oldest of them has
   * waited for `maxAgeMs`. Resolves when the consumer is up. Rejects as `handle` does.
   *
   *     await bus.handleBatch(ChargeCard, async items => insert(items.map(item => item.body)), { size: 500, maxAgeMs: 200 })
   */
  handleBatch<C extends CommandContract | string>(
    from: C,
    handler: BatchHandler<C>,
    options?: BatchOptions,
  ): Promise<Consumer>
  /** Handles the messages of a topic's subscription in batches. Otherwise as `handleBatch`. */
  subscribeBatch<C extends EventContract | string>(
    to: C,
    subscription: string,
    handler: BatchHandler<C>,
    options?: BatchOptions,
  ): Promise<Consumer>
}
