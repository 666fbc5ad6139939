/** The list of all queues as our own broker gives it to AMQP clients: one message got from a queue that is none. */
import type { Connection } from '@chasqui/amqp/client'
import { ChasquiError, type QueueInfo } from '@chasqui/driver'

/** The same name as in @chasqui/broker, which knows nothing of drivers. */
const queueListName = 'amq.chasqui.queues'

/** In the order of their names. Rejects with the client's error where the broker is another one. */
export async function getQueueList(connection: Connection): Promise<readonly QueueInfo[]> {
  const channel = await connection.openChannel()
  try {
    const got = await channel.get(queueListName, { noAck: true })
    const list: unknown = JSON.parse(Buffer.from(got?.body ?? '').toString('utf8'))
    if (Array.isArray(list)) return list as QueueInfo[]
    throw new ChasquiError('protocol-error', `The broker answered ${queueListName} with something that is no list.`)
  } finally {
    if (!channel.closed) await channel.close()
  }
}
