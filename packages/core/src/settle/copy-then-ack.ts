/**
 * The move of a message to another destination: send the copy, await its confirm, acknowledge the original. A crash between the
 * two leaves both, with one id; never none. Where the engine can do it in one step it does.
 */
import type { ChasquiError, Driver, Outgoing, Receiver } from '@chasqui/driver'
import type { OpenDelivery, Settlements } from './settlement.ts'

/**
 * Resolves when the copies are confirmed and the original is acknowledged, or rejects with what kept a copy from being
 * confirmed; the original is open then. `void` says that the delivery was lost meanwhile and the engine hands it out again.
 */
export async function copyThenAck(
  driver: Driver,
  receiver: Receiver | undefined,
  settlements: Settlements,
  delivery: OpenDelivery,
  copies: readonly Outgoing[],
  deadlineMs: number,
): Promise<'moved' | 'void'> {
  const { lane, epoch, item } = delivery
  if (receiver?.transfer !== undefined && driver.capabilities.operations.transfer !== 'unsupported') {
    const settled = await receiver.transfer(lane, epoch, [item.tag], copies)
    if (settled === 'stale' || delivery.state !== 'open') return 'void'
    settlements.settledElsewhere(delivery)
    return 'moved'
  }
  const results = await driver.send(copies, Date.now() + deadlineMs)
  const refused = results.find((result): result is { ok: false; error: ChasquiError; inDoubt: boolean } => !result.ok)
  if (refused !== undefined) throw refused.error
  if (delivery.state !== 'open') return 'void'
  return (await settlements.settle(delivery, 'ack')) === 'done' ? 'moved' : 'void'
}
