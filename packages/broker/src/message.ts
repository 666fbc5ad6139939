/**
 * What the engine carries. An interface, so that the AMQP server can keep the property bytes as they came and
 * decode them only when somebody looks, and the embedded driver can carry its own object by reference and encode
 * it only when it is stored or leaves through a socket.
 */
import type { BasicProperties } from '@chasqui/amqp'

/** One message as its publisher gave it. Nobody writes to its bytes after publish. */
export interface BrokerMessage {
  readonly exchange: string
  readonly routingKey: string
  readonly properties: BasicProperties
  /** The properties as AMQP 0-9-1 content header bytes, from the property flags on. */
  readonly propertyBytes: Uint8Array
  readonly body: Uint8Array
  /** Delivery mode 2: on a durable queue it is written to the store. */
  readonly persistent: boolean
  /** What a publisher of this process says beside the properties, so that they need not be encoded to be read. */
  readonly native?: NativeFields | undefined
  /** False: nothing in the properties says when it expires or is due. Absent: whoever wants to know looks. */
  readonly timed?: boolean | undefined
}

/** Moments are milliseconds since the epoch. */
interface NativeFields {
  readonly id?: string | undefined
  /** When it was sent. */
  readonly time?: number | undefined
  /** Messages of one key keep their order for consumers that ask for it. */
  readonly key?: string | undefined
  readonly notBefore?: number | undefined
  readonly expiresAt?: number | undefined
}

/** One attempt to hand one message to one consumer. */
export interface Delivery {
  /** Empty for a message taken with `get`. */
  readonly consumerTag: string
  /** Counts from 1 within the session. */
  readonly tag: number
  readonly message: BrokerMessage
  readonly redelivered: boolean
  /** How often the message came back from a consumer before this delivery. */
  readonly deliveryCount: number
}
