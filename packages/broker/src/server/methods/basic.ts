/** basic.*: publishing, consuming, settling (AMQP 0-9-1 section 1.8). The busy part: one call per message. */
import {
  AmqpError,
  BASIC_ACK,
  BASIC_CANCEL,
  BASIC_CANCEL_OK,
  BASIC_CONSUME,
  BASIC_CONSUME_OK,
  BASIC_DELIVER,
  BASIC_GET,
  BASIC_GET_EMPTY,
  BASIC_GET_OK,
  BASIC_NACK,
  BASIC_PUBLISH,
  BASIC_QOS,
  BASIC_QOS_OK,
  BASIC_RECOVER,
  BASIC_RECOVER_ASYNC,
  BASIC_RECOVER_OK,
  BASIC_REJECT,
  type ContentMethod,
  type FrameWriter,
  type Method,
} from '@chasqui/amqp'
import type { BrokerMessage, Delivery } from '../../message.ts'
import { DerivedMessage } from '../../queue/dead-letter.ts'
import { checkExpiration, notBeforeHeader } from '../../queue/timing.ts'
import { directReplyName } from '../../vhost/direct-replies.ts'
import { OutgoingDelivery } from '../../vhost/outgoing-delivery.ts'
import { answerCancelDelayed, cancelDelayedName } from '../cancel-delayed.ts'
import type { Channel } from '../channel.ts'
import { IncomingMessage } from '../incoming-message.ts'
import { checkProperties, HAS_EXPIRATION, HAS_USER_ID, MAY_WANT_DIRECT_REPLY, PERSISTENT } from '../property-check.ts'
import { answerQueueList, queueListName } from '../queue-list.ts'
import { sendReturn } from './return.ts'
import { unimplemented } from './unimplemented.ts'

export function onBasicMethod(channel: Channel, method: Method): void {
  const { session } = channel
  switch (method.id) {
    case BASIC_ACK:
      session.ack(method.deliveryTag, method.multiple)
      return
    case BASIC_NACK:
      session.nack(method.deliveryTag, method.multiple, method.requeue)
      return
    case BASIC_REJECT:
      session.nack(method.deliveryTag, false, method.requeue)
      return
    case BASIC_QOS:
      if (method.prefetchSize !== 0) {
        throw AmqpError.of('not-implemented', `prefetch_size!=0 (${method.prefetchSize})`)
      }
      session.qos(method.prefetchCount, method.global)
      channel.reply({ id: BASIC_QOS_OK })
      return
    case BASIC_CONSUME: {
      const consumerTag = session.consume(method)
      if (!method.noWait) channel.reply({ id: BASIC_CONSUME_OK, consumerTag })
      return
    }
    case BASIC_CANCEL:
      session.cancel(method.consumerTag)
      if (!method.noWait) channel.reply({ id: BASIC_CANCEL_OK, consumerTag: method.consumerTag })
      return
    case BASIC_CANCEL_OK:
      // An answer to our own basic.cancel, which asks for none: RabbitMQ's clients send it all the same.
      return
    case BASIC_GET: {
      if (method.queue === queueListName) {
        answerQueueList(channel, method)
        return
      }
      const got = session.get(method.queue, method.noAck)
      if (got === undefined) {
        channel.reply({ id: BASIC_GET_EMPTY })
        return
      }
      const message = onTheWire(got)
      const { tag: deliveryTag, redelivered, remaining: messageCount } = got
      const { exchange, routingKey } = message
      channel.writer.content(
        channel.number,
        { id: BASIC_GET_OK, deliveryTag, redelivered, exchange, routingKey, messageCount },
        message.propertyBytes,
        message.body,
      )
      return
    }
    case BASIC_RECOVER:
      session.recover(method.requeue)
      channel.reply({ id: BASIC_RECOVER_OK })
      return
    case BASIC_RECOVER_ASYNC:
      session.recover(method.requeue)
      return
    default:
      throw unimplemented()
  }
}

/** A publish: routed, returned where it must be, and confirmed where confirms were asked for. */
export function onPublish(
  channel: Channel,
  method: ContentMethod,
  header: Buffer,
  start: number,
  end: number,
  body: Buffer,
): void {
  if (method.id !== BASIC_PUBLISH) throw unimplemented()
  if (method.immediate) throw AmqpError.of('not-implemented', 'immediate=true')
  const found = checkProperties(header, start, end)
  const incoming = new IncomingMessage(
    method.exchange,
    method.routingKey,
    header,
    start,
    end,
    body,
    (found & PERSISTENT) !== 0,
    (found & HAS_EXPIRATION) !== 0 || header.indexOf(notBeforeHeader, start, 'latin1') >= 0,
  )
  const message = found > PERSISTENT ? withRareProperties(channel, incoming, found) : incoming
  if (method.routingKey === cancelDelayedName && method.exchange === '') {
    answerCancelDelayed(channel, message, method.mandatory)
    return
  }
  if (channel.session.transactional) {
    channel.session.publishLater(message, method.mandatory)
    return
  }
  const { routed, rejected, commit } = channel.session.publish(message)
  if (routed === 0 && method.mandatory) sendReturn(channel, message)
  if (channel.confirms === undefined) return
  if (rejected) channel.confirms.rejected()
  else channel.confirms.taken(commit)
}

/** Sends a batch of deliveries of one consumer. */
export function deliver(writer: FrameWriter, channel: number, deliveries: readonly Delivery[]): void {
  for (const delivery of deliveries) {
    const message = onTheWire(delivery)
    writer.content(
      channel,
      {
        id: BASIC_DELIVER,
        consumerTag: delivery.consumerTag,
        deliveryTag: delivery.tag,
        redelivered: delivery.redelivered,
        exchange: message.exchange,
        routingKey: message.routingKey,
      },
      message.propertyBytes,
      message.body,
    )
  }
}

function onTheWire(delivery: Delivery): BrokerMessage {
  return delivery instanceof OutgoingDelivery ? delivery.wireMessage : delivery.message
}

function withRareProperties(channel: Channel, message: IncomingMessage, found: number): BrokerMessage {
  const { expiration, userId, replyTo } = message.properties
  if ((found & HAS_USER_ID) !== 0 && userId !== channel.user) {
    throw AmqpError.of(
      'precondition-failed',
      `user_id property set to '${userId}' but authenticated user was '${channel.user}'`,
    )
  }
  if ((found & HAS_EXPIRATION) !== 0) checkExpiration(expiration!)
  if ((found & MAY_WANT_DIRECT_REPLY) === 0 || replyTo !== directReplyName) return message
  const { replyAddress } = channel.session
  if (replyAddress === undefined) throw AmqpError.of('precondition-failed', 'fast reply consumer does not exist')
  return new DerivedMessage(message, { properties: { ...message.properties, replyTo: replyAddress } })
}
