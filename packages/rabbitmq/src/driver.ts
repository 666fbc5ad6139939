/** The RabbitMQ driver: RabbitMQ's URLs, queues and capabilities on the driver for AMQP 0-9-1. */
import type { Driver, OpenOptions } from '@chasqui/driver'
import { openAmqpDriver } from '@chasqui/driver-amqp'
import { capabilitiesOf } from './capabilities.ts'
import { delayRoutes } from './delay.ts'
import { readOptions } from './options.ts'
import { queueArgumentsFor } from './queue-arguments.ts'

/**
 * Opens RabbitMQ (3.10 or later), or any `chasqui broker`, by `amqp://` and `amqps://` URLs; several URLs, or hosts in
 * one, are nodes of one cluster and tried in turn. The options of this engine are `RabbitmqOptions`.
 *
 * Rejects with `url-invalid`, `option-invalid`, `connect-failed`, `connect-timeout`, `authentication-failed`,
 * `access-refused`, `certificate-untrusted` or `protocol-error`.
 */
export async function open(options: OpenOptions): Promise<Driver> {
  const { endpoints, engine } = readOptions(options)
  return await openAmqpDriver({
    endpoints,
    connectTimeoutMs: options.connectTimeoutMs,
    capabilities: serverProperties => capabilitiesOf(serverProperties.product),
    queueArguments: queueArgumentsFor(engine),
    orderArgument: 'x-chasqui-order',
    delays: delayRoutes,
    maxUnconfirmed: engine.maxUnconfirmed,
  })
}
