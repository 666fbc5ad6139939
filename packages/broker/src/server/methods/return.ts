/** basic.return: a mandatory message that no queue takes goes back to its publisher. */
import { BASIC_RETURN } from '@chasqui/amqp'
import type { BrokerMessage } from '../../message.ts'
import type { Channel } from '../channel.ts'

/** The definition lacks this reply code. */
const noRoute = 312

export function sendReturn(channel: Channel, message: BrokerMessage): void {
  const { exchange, routingKey } = message
  channel.writer.content(
    channel.number,
    { id: BASIC_RETURN, replyCode: noRoute, replyText: 'NO_ROUTE', exchange, routingKey },
    message.propertyBytes,
    message.body,
  )
}
