/**
 * Opens the embedded broker: in this process where nobody has the directory yet, else through the process that has.
 *
 * Who owns a data directory is decided by the lock that its broker takes (see @chasqui/broker). An owner that has
 * the lock and does not answer is starting, or frozen: it is waited for within the connect timeout, never overruled.
 * Whoever joins another's directory may have to serve it later, see successor.ts; an owner stays it to its end.
 */
import { realpath } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError, ownerOf } from '@chasqui/broker'
import { ChasquiError, type Driver, isChasquiError, type OpenDriver, type OpenOptions } from '@chasqui/driver'
import { memoryCapabilities, ownerCapabilities } from './capabilities.ts'
import { LocalDriver } from './local-driver.ts'
import { placeOf } from './options.ts'
import { shareBroker } from './shared-broker.ts'
import { retryMs, SuccessorDriver, silentOwner } from './successor.ts'

export const open: OpenDriver = async (options: OpenOptions): Promise<Driver> => {
  const place = placeOf(options)
  const { onWarning } = options
  if (place.kind === 'memory') return new LocalDriver(await shareBroker(place, onWarning), memoryCapabilities)
  const deadline = Date.now() + options.connectTimeoutMs
  for (;;) {
    try {
      return new LocalDriver(await shareBroker(place, onWarning), ownerCapabilities)
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== 'directory-in-use') throw error
    }
    try {
      // Loaded when it is needed: the owner and `memory:` want no AMQP client.
      const { openGuest } = await import('./guest.ts')
      const guest = await openGuest(place.path, options, Math.max(1, deadline - Date.now()))
      return new SuccessorDriver({
        path: await realpath(place.path),
        guest,
        onWarning,
        owner: () => ownerOf(place.path),
      })
    } catch (error) {
      // Gone between our look at the lock and our knock at its door, or not listening yet: look again.
      if (!isChasquiError(error) || !error.retryable) throw error
      if (Date.now() + retryMs >= deadline) throw notAnswering(place.path, error)
    }
    await sleep(retryMs)
  }
}

function notAnswering(path: string, cause: unknown): ChasquiError {
  const why = silentOwner(path, ownerOf(path))
  return new ChasquiError(
    'connect-timeout',
    `${why[0]!.toUpperCase()}${why.slice(1)}. Let it go on, or stop it, and connect again.`,
    { cause, details: { owner: ownerOf(path) } },
  )
}
