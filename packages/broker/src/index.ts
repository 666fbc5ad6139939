/** The embedded broker: AMQP 0-9-1 with RabbitMQ's extensions, crash-safe, in one process. */
export { Broker } from './broker.ts'
export type { Clock } from './clock.ts'
export type { BrokerErrorCode } from './errors.ts'
export { BrokerError } from './errors.ts'
export type {
  BrokerMessage,
  Delivery,
} from './message.ts'
export type { BrokerOptions } from './options.ts'
export { brokerDefaults } from './options.ts'
export type {
  Listener,
  ListenerAddress,
  ListenerTls,
} from './server/listener.ts'
export { localSocketPath, ownerOf } from './store/data-directory.ts'
export type { Files } from './store/files.ts'
export type { Damage } from './store/store.ts'
export type { Consume } from './vhost/consume.ts'
export type {
  Published,
  Transferred,
} from './vhost/placement.ts'
export type {
  Session,
  SessionOptions,
} from './vhost/session.ts'
export type {
  ExchangeDeclaration,
  QueueDeclaration,
} from './vhost/topology.ts'
export type {
  QueueStatus,
  VirtualHost,
} from './vhost/vhost.ts'
