/** exchange.* (AMQP 0-9-1 section 1.6; bind and unbind are RabbitMQ's "Exchange to Exchange Bindings"). */
import {
  EXCHANGE_BIND,
  EXCHANGE_BIND_OK,
  EXCHANGE_DECLARE,
  EXCHANGE_DECLARE_OK,
  EXCHANGE_DELETE,
  EXCHANGE_DELETE_OK,
  EXCHANGE_UNBIND,
  EXCHANGE_UNBIND_OK,
  type Method,
} from '@chasqui/amqp'
import type { Channel } from '../channel.ts'
import { unimplemented } from './unimplemented.ts'

export function onExchangeMethod(channel: Channel, method: Method): void {
  const { session } = channel
  switch (method.id) {
    case EXCHANGE_DECLARE: {
      const { commit } = session.declareExchange(method)
      if (!method.noWait) channel.reply({ id: EXCHANGE_DECLARE_OK }, commit)
      return
    }
    case EXCHANGE_DELETE: {
      const { commit } = session.deleteExchange(method)
      if (!method.noWait) channel.reply({ id: EXCHANGE_DELETE_OK }, commit)
      return
    }
    case EXCHANGE_BIND: {
      const { commit } = session.bindExchange(method)
      if (!method.noWait) channel.reply({ id: EXCHANGE_BIND_OK }, commit)
      return
    }
    case EXCHANGE_UNBIND: {
      const { commit } = session.unbindExchange(method)
      if (!method.noWait) channel.reply({ id: EXCHANGE_UNBIND_OK }, commit)
      return
    }
    default:
      throw unimplemented()
  }
}
