/**
 * Delayed messages whose place was gone when they were due, brought back once the place is there again: its queue was
 * declared anew, or the broker was killed before it had written down where the queue is bound (RabbitMQ 3.10 does so
 * about a second after it answered).
 */
import type { BasicProperties } from '@chasqui/amqp'
import type { Channel, Connection, GetDelivery } from '@chasqui/amqp/client'
import type { Address } from '@chasqui/driver-amqp'

/** How many orphans are looked at in one go. Those of other places among them go back. */
const maxLooks = 10_000

export interface Orphanage {
  readonly queue: string
  /** Where an orphan belongs to; `undefined` for that of another place. */
  addressOf(routingKey: string): Address | undefined
  /** As it was before its detour. */
  restored(properties: BasicProperties): BasicProperties
}

/** Publishes them, and lets go of each once it is confirmed: a loss of the connection between the two leaves both. */
export async function bringBack(connection: Connection, orphanage: Orphanage): Promise<void> {
  const channel = await connection.openChannel()
  try {
    await channel.confirmSelect()
    const sent: Promise<void>[] = []
    for (let looks = 0; looks < maxLooks; looks++) {
      const orphan = await channel.get(orphanage.queue)
      if (orphan === undefined) break
      const address = orphanage.addressOf(orphan.routingKey)
      if (address !== undefined) sent.push(move(channel, orphan, address, orphanage.restored(orphan.properties)))
      if (orphan.messageCount === 0) break
    }
    await Promise.all(sent)
  } finally {
    // What belongs elsewhere goes back in its place.
    if (!channel.closed) await channel.close()
  }
}

function move(channel: Channel, orphan: GetDelivery, to: Address, properties: BasicProperties): Promise<void> {
  return new Promise(resolve => {
    channel.publishConfirmed(to.exchange, to.routingKey, properties, orphan.body, { mandatory: true }, outcome => {
      // Else it stays where it is.
      if (outcome === 'ack' && !channel.closed) channel.ack(orphan.deliveryTag)
      resolve()
    })
  })
}
