/** The refusals that occur in more than one place, in RabbitMQ's words. */
import { AmqpError } from '@chasqui/amqp'

export function queueMissing(queue: string, vhost: string): AmqpError {
  return AmqpError.of('not-found', `no queue '${queue}' in vhost '${vhost}'`)
}

export function exchangeMissing(exchange: string, vhost: string): AmqpError {
  return AmqpError.of('not-found', `no exchange '${exchange}' in vhost '${vhost}'`)
}

export function preconditionFailed(why: string): AmqpError {
  return AmqpError.of('precondition-failed', why)
}

export function inequivalent(name: string, described: string, received: unknown, current: unknown): AmqpError {
  return preconditionFailed(
    `inequivalent arg '${name}' for ${described}: received '${received}' but current is '${current}'`,
  )
}
