/** A fast AMQP 0-9-1 client connection: no reconnecting, no topology, no policy. */

export { Channel } from './channel.ts'
export type { ConsumeOptions, ExchangeOptions, PublishOptions, QueueOptions } from './channel-options.ts'
export type { ConfirmOutcome } from './confirms.ts'
export { Connection, connect } from './connection.ts'
export type { ConnectionErrorCode, PublishErrorCode } from './connection-error.ts'
export { ConnectionError, PublishError } from './connection-error.ts'
export type { Returned } from './delivery.ts'
export { Delivery, GetDelivery } from './delivery.ts'
export type { ConnectionOptions } from './options.ts'
