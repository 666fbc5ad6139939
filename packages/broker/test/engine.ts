/** A running engine for tests: sessions that note what they get, and messages that say who they are. */

import { type BasicProperties, encodeProperties } from '@chasqui/amqp'
import { Broker, type BrokerMessage, type BrokerOptions, type Delivery, type Session } from '@chasqui/broker'
import { expect, onTestFinished } from 'vitest'

export interface Client {
  readonly session: Session
  readonly owner: object
  readonly deliveries: Delivery[]
  readonly batches: (readonly Delivery[])[]
  readonly cancelled: string[]
  /** Bodies of the deliveries so far, as text. */
  bodies(): string[]
}

export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const broker = new Broker(options)
  await broker.start()
  onTestFinished(() => broker.close())
  return broker
}

export function openClient(
  broker: Broker,
  onDelivery?: (delivery: Delivery, session: Session) => void,
  owner: object = {},
): Client {
  const deliveries: Delivery[] = []
  const batches: (readonly Delivery[])[] = []
  const cancelled: string[] = []
  const session: Session = broker.vhost.openSession({
    owner,
    onDeliveries(batch) {
      batches.push(batch)
      for (const delivery of batch) {
        deliveries.push(delivery)
        onDelivery?.(delivery, session)
      }
    },
    onCancelled: tag => cancelled.push(tag),
  })
  return { session, owner, deliveries, batches, cancelled, bodies: () => deliveries.map(bodyOf) }
}

export function message(
  body: string,
  where: { exchange?: string; routingKey: string },
  properties: BasicProperties = { deliveryMode: 2 },
): BrokerMessage {
  return {
    exchange: where.exchange ?? '',
    routingKey: where.routingKey,
    properties,
    propertyBytes: encodeProperties(properties),
    body: Buffer.from(body),
    persistent: properties.deliveryMode === 2,
  }
}

export function bodyOf(delivery: Delivery): string {
  return Buffer.from(delivery.message.body).toString()
}

/** Waits until the dispatch that a publish set off is over. */
export function dispatched(): Promise<void> {
  return new Promise(resolve => setImmediate(resolve))
}

/** Everything in the queue, taken and acknowledged. */
export function drain(session: Session, queue: string): Delivery[] {
  const taken: Delivery[] = []
  for (let got = session.get(queue, true); got !== undefined; got = session.get(queue, true)) taken.push(got)
  return taken
}

export function refused(
  call: () => unknown,
  code: number,
  text: string | RegExp,
  scope: 'channel' | 'connection',
): void {
  let error: unknown
  try {
    call()
  } catch (thrown) {
    error = thrown
  }
  expect(error).toMatchObject({ name: 'AmqpError', replyCode: code, scope })
  const { replyText } = error as { replyText: string }
  if (typeof text === 'string') expect(replyText).toBe(text)
  else expect(replyText).toMatch(text)
}
