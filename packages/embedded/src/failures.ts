/** Why the broker of this process did not take a message. */
import { ChasquiError, type Target } from '@chasqui/driver'

export function fullError(to: Target): ChasquiError {
  return new ChasquiError(
    'destination-full',
    `The queue "${to.name}" is full and refuses messages. Consume some, or raise its limit.`,
  )
}

export function unroutable(to: Target): ChasquiError {
  return new ChasquiError(
    'unroutable',
    `The ${to.kind} "${to.name}" does not exist any more. Was it deleted underneath?`,
  )
}
