/** Takes delayed messages back, where the engine lets go of one by its id. */
import type { Driver, Target } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { CommandContract, EventContract } from '../contract/contract.ts'
import { targetOf } from './topology.ts'

/** Where a delayed message waits: a queue, by its contract or name, or one subscription of a topic. */
export type DelayedAt =
  | CommandContract
  | string
  | { readonly topic: string | EventContract; readonly subscription: string }

/** False where no message of this id waits there. Rejects with `unsupported` where the engine cannot take one back. */
export async function cancelDelayed(driver: Driver, at: DelayedAt, id: string): Promise<boolean> {
  const target: Target = targetOf(typeof at === 'string' ? { queue: at } : at, 'cancel()')
  if (target.kind === 'topic') {
    throw new ChasquiError(
      'option-invalid',
      `cancel(): the topic "${target.name}" keeps no messages; say of which subscription: { topic, subscription }.`,
    )
  }
  if (typeof id !== 'string' || id === '') {
    throw new ChasquiError('option-invalid', 'cancel() takes the id of the message, as the receipt of `send` has it.')
  }
  if (driver.cancelDelayed !== undefined) return await driver.cancelDelayed(target, id)
  const { engine } = driver.capabilities
  throw new ChasquiError(
    'unsupported',
    `The engine ${engine} cannot take a delayed message back. Let its handler find out that it is not wanted any more.`,
    { details: { engine, operation: 'cancel' } },
  )
}
