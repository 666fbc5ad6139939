/**
 * The list of all queues, for clients that speak nothing but AMQP: `basic.get` with no-ack on a queue that is none answers
 * with one message, whose body is a JSON array with an object for each queue (see `QueueStatus`). An extension of this
 * broker; on RabbitMQ the name is refused like any that is not there.
 */
import { AmqpError, BASIC_GET_OK, type BasicGet, encodeProperties } from '@chasqui/amqp'
import type { Channel } from './channel.ts'

/** Reserved for brokers by its beginning (AMQP 0-9-1, domain queue-name and section 3.1.10). */
export const queueListName = 'amq.chasqui.queues'

const properties = encodeProperties({ contentType: 'application/json' })

export function answerQueueList(channel: Channel, method: BasicGet): void {
  if (!method.noAck) throw AmqpError.of('precondition-failed', `${queueListName} keeps no messages: get it with no_ack`)
  const { vhost } = channel
  const body = Buffer.from(
    JSON.stringify(
      vhost
        .queueNames()
        .sort()
        .map(name => ({ name, ...vhost.inspect(name) })),
    ),
  )
  channel.writer.content(
    channel.number,
    {
      id: BASIC_GET_OK,
      deliveryTag: 1,
      redelivered: false,
      exchange: '',
      routingKey: queueListName,
      messageCount: 0,
    },
    properties,
    body,
  )
}
