/** The driver of a process that uses a data directory through the process that owns it: AMQP over the local socket. */
import { localSocketPath } from '@chasqui/broker'
import { ChasquiError, type Driver, type OpenOptions } from '@chasqui/driver'
import { cancelDelayed, getQueueList, openAmqpDriver } from '@chasqui/driver-amqp'
import { guestCapabilities } from './capabilities.ts'
import { queueArguments } from './queue-arguments.ts'

/** Between two attempts to reach the owner, in milliseconds. */
const reconnectPauseMs = 50

/** An owner that says nothing for twice as long is not waited for with the connection that it has. Seconds. */
const ownersSilenceSeconds = 10

/** @throws ChasquiError, `retryable` when the owner cannot be reached for now. */
export function openGuest(
  directory: string,
  options: OpenOptions,
  connectTimeoutMs: number,
  heartbeatSeconds: number = ownersSilenceSeconds,
): Promise<Driver> {
  return openAmqpDriver({
    // Whoever may open the socket may use the broker: its folder is this user's alone.
    endpoints: [
      {
        socketPath: localSocketPath(directory),
        username: 'guest',
        password: 'guest',
        connectionName: options.name,
        heartbeatSeconds,
      },
    ],
    connectTimeoutMs,
    // The owner is on this machine, and so is its successor.
    reconnectPauseMs,
    capabilities: () => guestCapabilities,
    queueArguments,
    orderArgument: 'x-chasqui-order',
    confirmsBeforeClosing: true,
    listQueues: getQueueList,
    cancelDelayed,
    explain: failure =>
      new ChasquiError(
        failure.code,
        `The process that owns the data directory ${directory} cannot be reached: ${failure.message}`,
        { cause: failure },
      ),
  })
}
