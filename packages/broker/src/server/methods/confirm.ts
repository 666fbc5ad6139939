/** confirm.select (RabbitMQ, "Publisher Confirms"). */
import { AmqpError, CONFIRM_SELECT, CONFIRM_SELECT_OK, type Method } from '@chasqui/amqp'
import type { Channel } from '../channel.ts'
import { unimplemented } from './unimplemented.ts'

export function onConfirmMethod(channel: Channel, method: Method): void {
  if (method.id !== CONFIRM_SELECT) throw unimplemented()
  if (channel.session.transactional) {
    throw AmqpError.of('precondition-failed', 'cannot switch from tx to confirm mode')
  }
  channel.confirmPublishes()
  if (!method.noWait) channel.reply({ id: CONFIRM_SELECT_OK })
}
