/**
 * Taking a delayed message back, for clients that speak nothing but AMQP: a publish to the default exchange with a routing
 * key that is no queue's. `message_id` says which message, the header `queue` where it waits. Mandatory, it is returned where no such
 * message waits; under confirms it is confirmed either way. An extension of this broker; on RabbitMQ it is unroutable.
 */
import { AmqpError } from '@chasqui/amqp'
import type { BrokerMessage } from '../message.ts'
import type { Channel } from './channel.ts'
import { sendReturn } from './methods/return.ts'

/** Reserved for brokers by its beginning (AMQP 0-9-1, domain queue-name and section 3.1.10). */
export const cancelDelayedName = 'amq.chasqui.cancel'

export function answerCancelDelayed(channel: Channel, request: BrokerMessage, mandatory: boolean): void {
  const { messageId, headers } = request.properties
  const queue = headers?.queue
  if (typeof messageId !== 'string' || messageId === '' || typeof queue !== 'string') {
    throw AmqpError.of('precondition-failed', `${cancelDelayedName} wants a message_id and the header queue`)
  }
  const cancelled = channel.session.cancelDelayed(queue, messageId)
  if (!cancelled && mandatory) sendReturn(channel, request)
  channel.confirms?.taken(0)
}
