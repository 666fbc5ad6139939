/** A delayed message taken back as our own broker lets AMQP clients do it: a publish to a routing key that is no queue's. */
import { type Connection, PublishError } from '@chasqui/amqp/client'
import { refusal } from './failures.ts'

/** The same name as in @chasqui/broker, which knows nothing of drivers. */
const cancelDelayedName = 'amq.chasqui.cancel'

const nothing = new Uint8Array(0)

/** Resolves false where no message of this id waits in the queue. Rejects with `destination-missing` where there is no such queue. */
export async function cancelDelayed(connection: Connection, queue: string, id: string): Promise<boolean> {
  const channel = await connection.openChannel()
  try {
    await channel.confirmSelect()
    await channel.publishAndConfirm('', cancelDelayedName, { messageId: id, headers: { queue } }, nothing, {
      mandatory: true,
    })
    return true
  } catch (error) {
    if (error instanceof PublishError && error.code === 'returned') return false
    // A refusal closes the channel, so that the publish is lost with it.
    throw refusal(error instanceof PublishError ? (error.cause ?? error) : error, `queue '${queue}'`)
  } finally {
    if (!channel.closed) await channel.close()
  }
}
