/** A message of ours inside the broker: carried by reference, written as AMQP only when a store or a socket asks. */
import { AmqpError, type BasicProperties, encodeProperties } from '@chasqui/amqp'
import type { BrokerMessage } from '@chasqui/broker'
import type { Outgoing, WireMessage } from '@chasqui/driver'
import { fromDelivery, toProperties } from '@chasqui/driver-amqp'
import { routingKeyOf } from './local-topology.ts'

export class CarriedMessage implements BrokerMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly persistent: boolean
  readonly wire: WireMessage
  /** Id, key and moments are read from it without encoding anything. */
  readonly native: WireMessage
  #properties: BasicProperties | undefined
  #propertyBytes: Uint8Array | undefined

  constructor(exchange: string, routingKey: string, wire: WireMessage) {
    this.exchange = exchange
    this.routingKey = routingKey
    this.persistent = wire.durable
    this.wire = wire
    this.native = wire
  }

  get body(): Uint8Array {
    return this.wire.body
  }

  get properties(): BasicProperties {
    this.#properties ??= toProperties(this.wire)
    return this.#properties
  }

  get propertyBytes(): Uint8Array {
    this.#propertyBytes ??= encodeProperties(this.properties)
    return this.#propertyBytes
  }
}

/** The message with its address in the broker. */
export function carried({ to, message }: Outgoing): CarriedMessage {
  return new CarriedMessage(to.kind === 'topic' ? to.name : '', routingKeyOf(to, message.type), message)
}

/** The message as the core knows it, whoever sent it. */
export function wireOf(message: BrokerMessage): WireMessage {
  return message instanceof CarriedMessage ? message.wire : fromDelivery(counted(readable(message)), message.body)
}

/** The counts of `x-death` as numbers, which they are for a client that reads them from the wire. */
function counted(properties: BasicProperties): BasicProperties {
  const deaths = properties.headers?.['x-death']
  if (!Array.isArray(deaths)) return properties
  const numbered = deaths.map(death => (isCounted(death) ? { ...death, count: Number(death.count) } : death))
  return { ...properties, headers: { ...properties.headers, 'x-death': numbered } }
}

function isCounted(death: unknown): death is { count: bigint } {
  return typeof death === 'object' && death !== null && 'count' in death && typeof death.count === 'bigint'
}

/** An AMQP client may have written what cannot be read, and the broker carries it as it is: then the body is all there is. */
function readable(message: BrokerMessage): BasicProperties {
  try {
    return message.properties
  } catch (error) {
    if (error instanceof AmqpError) return {}
    throw error
  }
}
