/**
 * Opens the embedded broker: in this process where nobody has the directory yet, else through the process that has.
 *
 * Who owns a data directory is decided by the lock that its broker takes (see @chasqui/broker). An owner that has
 * the lock and does not answer is starting, or frozen: it is waited for within the connect timeout, never overruled.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BrokerError } from '@chasqui/broker'
import { ChasquiError, type Driver, isChasquiError, type OpenDriver, type OpenOptions } from '@chasqui/driver'
import { memoryCapabilities, ownerCapabilities } from './capabilities.ts'
import { LocalDriver } from './local-driver.ts'
import { placeOf } from './options.ts'
import { shareBroker } from './shared-broker.ts'

/** Between two attempts to become the owner or to reach it, in milliseconds. */
const retryMs = 50

export const open: OpenDriver = async (options: OpenOptions): Promise<Driver> => {
  const place = placeOf(options)
  if (place.kind === 'memory') return new LocalDriver(await shareBroker(place), memoryCapabilities)
  const deadline = Date.now() + options.connectTimeoutMs
  for (;;) {
    try {
      return new LocalDriver(await shareBroker(place), ownerCapabilities)
    } catch (error) {
      if (!(error instanceof BrokerError) || error.code !== 'directory-in-use') throw error
    }
    try {
      // Loaded when it is needed: the owner and `memory:` want no AMQP client.
      const { openGuest } = await import('./guest.ts')
      return await openGuest(place.path, options, Math.max(1, deadline - Date.now()))
    } catch (error) {
      // Gone between our look at the lock and our knock at its door, or not listening yet: look again.
      if (!isChasquiError(error) || !error.retryable) throw error
      if (Date.now() + retryMs >= deadline) throw silentOwner(place.path, error)
    }
    await sleep(retryMs)
  }
}

function silentOwner(path: string, cause: unknown): ChasquiError {
  return new ChasquiError(
    'connect-timeout',
    `Another process owns the data directory ${path} and does not answer: it may be frozen or very busy. ` +
      'Let it go on, or stop it, and connect again.',
    { cause },
  )
}
