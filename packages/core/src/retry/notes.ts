/**
 * What a copy of a message carries of its past, so that attempts are counted over copies and crashes: headers under Chasqui's
 * prefix, written on copies that go back to their own source and left out of dead letters and faults.
 */
import type { Headers, HeaderValue, WireMessage } from '@chasqui/driver'
import { headerPrefix } from '@chasqui/driver'
import type { OpenDelivery } from '../settle/settlement.ts'

const attemptHeader = `${headerPrefix.chasqui}attempt`
const crashesHeader = `${headerPrefix.chasqui}crashes`
const firstFailedHeader = `${headerPrefix.chasqui}first_failed_at`

/** What RabbitMQ notes on dead letters of its own. Kept, it takes a second pass through the same queues for a loop and drops the message. */
const engineHistory = /^(?:x-death|x-first-death-.*|x-last-death-.*)$/

/** What is plausible: foreign programs may write these headers too. */
const maxCount = 1_000_000

/** True for a header that a copy elsewhere must not take along: the engine's own notes, and those of this file. */
export function isHistory(name: string): boolean {
  return name === attemptHeader || name === crashesHeader || name === firstFailedHeader || engineHistory.test(name)
}

/** Takes from the message's headers what earlier copies have been through: attempts made, and when the first one failed. */
export function recall(delivery: OpenDelivery): void {
  const { headers } = delivery.item.message
  const attempts = headers[attemptHeader]
  if (attempts === undefined) return
  delivery.attempt = count(attempts)
  const firstFailedAt = headers[firstFailedHeader]
  const at = typeof firstFailedAt === 'string' ? Date.parse(firstFailedAt) : Number.NaN
  if (delivery.attempt > 0 && at > 0) delivery.firstFailedAt = at
}

/** How many crashes earlier copies are known to have been in. */
export function notedCrashes(message: WireMessage): number {
  const noted = message.headers[crashesHeader]
  return noted === undefined ? 0 : count(noted)
}

/** The copy that goes back to its own source: the same message, with its past noted. */
export function notedCopy(delivery: OpenDelivery, crashes: number, notBefore: number | undefined): WireMessage {
  const { message } = delivery.item
  const headers: Record<string, HeaderValue> = {}
  const given: Headers = message.headers
  for (const name of Object.keys(given)) {
    if (!isHistory(name)) headers[name] = given[name]!
  }
  if (delivery.attempt > 0) headers[attemptHeader] = delivery.attempt
  if (delivery.firstFailedAt > 0) headers[firstFailedHeader] = new Date(delivery.firstFailedAt).toISOString()
  if (crashes > 0) headers[crashesHeader] = crashes
  return { ...message, headers, notBefore }
}

function count(value: HeaderValue): number {
  const number = typeof value === 'bigint' ? Number(value) : value
  return Number.isSafeInteger(number) && (number as number) >= 0 ? Math.min(number as number, maxCount) : 0
}
