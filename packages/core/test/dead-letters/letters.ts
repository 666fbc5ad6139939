/** Dead letters for a test: made by the real driver, as a consumer would have left them. */
import type { Driver, HeaderValue, WireMessage } from '@chasqui/driver'
import { alteredBus } from '../altered-driver.ts'
import { ownName } from '../fixture.ts'

export interface Given {
  readonly id?: string
  readonly type?: string
  readonly key?: string
  readonly error?: string
  readonly errorType?: string
  readonly failedAt?: Date
  readonly to?: string
  readonly headers?: Record<string, HeaderValue>
  readonly contentType?: string
  readonly body?: string | Uint8Array
}

export type Altering = Parameters<typeof alteredBus>[0]

/** A bus, a queue that exists, and its dead letters. */
export async function lettersIn(given: readonly Given[], altering: Altering = {}, queue = ownName()) {
  const altered = await alteredBus(altering)
  await altered.bus.declare([{ queue }])
  await fill(altered.driver, queue, given)
  return { ...altered, queue, letters: altered.bus.deadLetters(queue) }
}

export async function fill(driver: Driver, queue: string, given: readonly Given[]): Promise<void> {
  const to = { kind: 'queue', name: `${queue}.dead-letter` } as const
  const batch = given.map(one => ({ to, message: messageOf(queue, one) }))
  const results = await driver.send(batch, Date.now() + 10_000)
  for (const result of results) if (!result.ok) throw result.error
}

/** How many letters and how many messages there are. */
export async function depths(driver: Driver, queue: string): Promise<{ letters: number; messages: number }> {
  const ready = async (name: string) => (await driver.inspector!.depth({ kind: 'queue', name }))?.ready ?? -1
  return { letters: await ready(`${queue}.dead-letter`), messages: await ready(queue) }
}

export function numbered(count: number, each: (at: number) => Given = () => ({})): Given[] {
  return Array.from({ length: count }, (_, at) => ({ id: `m${at}`, ...each(at) }))
}

function messageOf(queue: string, given: Given): WireMessage {
  const { id, type = 'charge', key, error = 'handler-failed', errorType = 'Error', failedAt = new Date() } = given
  return {
    id,
    type,
    key,
    attributes: { source: 'shop' },
    headers: {
      mine: 'yes',
      chasqui_error_code: error,
      chasqui_error_type: errorType,
      chasqui_error_message: 'no',
      chasqui_attempts: 5,
      chasqui_first_failed_at: new Date(failedAt.getTime() - 60_000).toISOString(),
      chasqui_last_failed_at: failedAt.toISOString(),
      chasqui_original_destination: given.to ?? queue,
      chasqui_consumer: 'billing',
      chasqui_reason: 'the last of 5 attempts failed: no',
      ...given.headers,
    },
    contentType: given.contentType ?? 'application/json',
    time: Date.UTC(2026, 0, 1),
    durable: true,
    body: typeof given.body === 'string' ? Buffer.from(given.body) : (given.body ?? Buffer.from('{"amount":1}')),
  }
}
