/** tx.* (AMQP 0-9-1 section 1.9): what a transaction holds, and its one step, are the session's. */
import {
  AmqpError,
  type Method,
  TX_COMMIT,
  TX_COMMIT_OK,
  TX_ROLLBACK,
  TX_ROLLBACK_OK,
  TX_SELECT,
  TX_SELECT_OK,
} from '@chasqui/amqp'
import type { Channel } from '../channel.ts'
import { sendReturn } from './return.ts'
import { unimplemented } from './unimplemented.ts'

export function onTxMethod(channel: Channel, method: Method): void {
  const { session } = channel
  switch (method.id) {
    case TX_SELECT:
      if (channel.confirms !== undefined) {
        throw AmqpError.of('precondition-failed', 'cannot switch from confirm to tx mode')
      }
      session.selectTransaction()
      channel.reply({ id: TX_SELECT_OK })
      return
    case TX_COMMIT: {
      const { commit, unroutable } = session.commit()
      for (const message of unroutable) sendReturn(channel, message)
      channel.reply({ id: TX_COMMIT_OK }, commit)
      return
    }
    case TX_ROLLBACK:
      session.rollback()
      channel.reply({ id: TX_ROLLBACK_OK })
      return
    default:
      throw unimplemented()
  }
}
