/**
 * CloudEvents attributes in and out (CloudEvents 1.0.2, binary content mode). `id`, `type`, `time` and the key are fields
 * of the message; the others stand in `attributes` under their bare names.
 */
import type { WireMessage } from '@chasqui/driver'

type Attributes = WireMessage['attributes']

/** What a message carries on from the one whose handler sends it. */
export interface Carried {
  readonly correlationId?: string
  readonly attributes: Attributes
}

/** The attributes of each message that an application sends of its own accord. */
export function ownAttributes(source: string): Attributes {
  return Object.freeze({ specversion: '1.0', source })
}

/**
 * What goes on from a received message: its correlation (or its own id, when it began the chain), itself as the cause, and
 * its tenant.
 */
export function carryOn(source: string, received: WireMessage): Carried {
  const attributes: Record<string, string> = { specversion: '1.0', source }
  if (received.id !== undefined) attributes.causationid = received.id
  const tenant = received.attributes.tenantid
  if (tenant !== undefined) attributes.tenantid = tenant
  return { correlationId: correlationOf(received) ?? received.id, attributes }
}

/**
 * The conversation that a message belongs to. Requests and replies need the field of that name to find each other (AMQP 0-9-1's
 * use of it): of a conversation that they did not begin they tell by the attribute (CloudEvents' correlation extension).
 */
export function correlationOf({ attributes, correlationId }: WireMessage): string | undefined {
  return attributes.correlationid ?? correlationId
}

/** The same attributes, with the conversation among them. */
export function correlated({ attributes, correlationId }: Carried): Attributes {
  return correlationId === undefined ? attributes : { ...attributes, correlationid: correlationId }
}
