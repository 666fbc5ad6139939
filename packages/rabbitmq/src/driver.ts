/** The RabbitMQ driver: RabbitMQ's URLs, queues and capabilities on the driver for AMQP 0-9-1. */
import { ChasquiError, type Driver, type OpenOptions } from '@chasqui/driver'
import { cancelDelayed, getQueueList, openAmqpDriver } from '@chasqui/driver-amqp'
import { capabilitiesOf, isChasqui } from './capabilities.ts'
import { DelayLevels } from './delay.ts'
import { listQueues } from './inspect.ts'
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
  const { endpoints, engine, management } = readOptions(options)
  return await openAmqpDriver({
    endpoints,
    connectTimeoutMs: options.connectTimeoutMs,
    capabilities: serverProperties => capabilitiesOf(serverProperties.product),
    queueArguments: queueArgumentsFor(engine),
    orderArgument: 'x-chasqui-order',
    delays: new DelayLevels(),
    cancelDelayed: async (connection, queue, id) => {
      if (isChasqui(connection.serverProperties.product)) return await cancelDelayed(connection, queue, id)
      throw new ChasquiError(
        'unsupported',
        'RabbitMQ cannot take a delayed message back. Let its handler find out that it is not wanted any more.',
      )
    },
    listQueues: async connection => {
      if (isChasqui(connection.serverProperties.product)) return await getQueueList(connection)
      try {
        return await listQueues(management)
      } catch (error) {
        if (management.isGiven) throw error
        return undefined
      }
    },
    maxUnconfirmed: engine.maxUnconfirmed,
  })
}
