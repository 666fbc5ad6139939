/** What a message's properties say of its key, of when it is due and of when it expires. */
import { AmqpError, type BasicProperties } from '@chasqui/amqp'

/** CloudEvents' attribute `partitionkey`, in the AMQP binding's notation. */
const keyHeader = 'cloudEvents_partitionkey'
/** Milliseconds since the epoch; an extension of this broker. */
export const notBeforeHeader = 'chasqui_not_before'
/** RabbitMQ's upper end for times to live, in milliseconds: ten years. */
export const longestTimeMs = 315_360_000_000

export function keyIn({ headers }: BasicProperties): string | undefined {
  const key = headers?.[keyHeader]
  return key === undefined || key === null ? undefined : String(key)
}

/** When the message was sent, in milliseconds since the epoch, to the second; undefined where nobody says. */
export function sentAtIn({ timestamp }: BasicProperties): number | undefined {
  return timestamp === undefined ? undefined : Number(timestamp) * 1000
}

/** In milliseconds since the epoch; 0 when it is due at once. */
export function notBeforeIn({ headers }: BasicProperties): number {
  const at = headers?.[notBeforeHeader]
  return typeof at === 'number' || typeof at === 'bigint' ? Math.max(0, Number(at)) : 0
}

/** In milliseconds from its publishing on; undefined when it never expires. What `checkExpiration` refuses says nothing. */
export function expiryOf({ expiration }: BasicProperties): number | undefined {
  return expiration === undefined || !/^\+?\d+$/.test(expiration) ? undefined : Number(expiration)
}

/** Refuses an expiration that is none, in RabbitMQ's words. */
export function checkExpiration(expiration: string): void {
  const [, digits, rest] = /^([+-]?\d+)?(.*)$/s.exec(expiration)!
  let wrong: string
  if (digits === undefined) wrong = 'no_integer'
  else if (rest !== '') wrong = `{leftover_string,"${rest}"}`
  else if (Number(digits) < 0) wrong = `{value_negative,${Number(digits)}}`
  else if (Number(digits) > longestTimeMs) wrong = `{value_too_large,${digits}}`
  else return
  throw AmqpError.of('precondition-failed', `invalid expiration '${expiration}': ${wrong}`)
}
