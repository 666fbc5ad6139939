/** queue.* (AMQP 0-9-1 section 1.7). */
import {
  type Method,
  QUEUE_BIND,
  QUEUE_BIND_OK,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
  QUEUE_DELETE,
  QUEUE_DELETE_OK,
  QUEUE_PURGE,
  QUEUE_PURGE_OK,
  QUEUE_UNBIND,
  QUEUE_UNBIND_OK,
} from '@chasqui/amqp'
import type { Channel } from '../channel.ts'
import { unimplemented } from './unimplemented.ts'

export function onQueueMethod(channel: Channel, method: Method): void {
  const { session } = channel
  switch (method.id) {
    case QUEUE_DECLARE: {
      const { queue, messageCount, consumerCount, commit } = session.declareQueue(method)
      if (!method.noWait) channel.reply({ id: QUEUE_DECLARE_OK, queue, messageCount, consumerCount }, commit)
      return
    }
    case QUEUE_BIND: {
      const { commit } = session.bindQueue(method)
      if (!method.noWait) channel.reply({ id: QUEUE_BIND_OK }, commit)
      return
    }
    case QUEUE_UNBIND: {
      const { commit } = session.unbindQueue(method)
      channel.reply({ id: QUEUE_UNBIND_OK }, commit)
      return
    }
    case QUEUE_PURGE: {
      const { messageCount, commit } = session.purgeQueue(method)
      if (!method.noWait) channel.reply({ id: QUEUE_PURGE_OK, messageCount }, commit)
      return
    }
    case QUEUE_DELETE: {
      const { messageCount, commit } = session.deleteQueue(method)
      if (!method.noWait) channel.reply({ id: QUEUE_DELETE_OK, messageCount }, commit)
      return
    }
    default:
      throw unimplemented()
  }
}
