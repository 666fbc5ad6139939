/**
 * How many share the lanes of a source. RabbitMQ tells of a queue with a single active consumer that it has one
 * consumer, however many wait, so each member consumes from a queue beside the lanes, where nothing is ever sent and
 * where all are counted.
 */
import type { Channel, Connection } from '@chasqui/amqp/client'

/** The queue goes with its last member; after a restart of the broker, which forgets that, after this time, in milliseconds. */
const expiresMs = 60_000

export class Members {
  readonly #queue: string
  #channel: Channel | undefined

  constructor(queue: string) {
    this.#queue = queue
  }

  /** Joins them on this connection if need be, and resolves with their number. Rejects where the broker does not allow that. */
  async count(connection: Connection): Promise<number> {
    let channel = this.#channel
    if (channel === undefined || channel.closed) {
      channel = await connection.openChannel()
      this.#channel = channel
      // Deleted underneath: the next count joins anew.
      channel.onCancel(() => void this.leave())
      await channel.declareQueue(this.#queue, {
        durable: true,
        autoDelete: true,
        arguments: { 'x-queue-type': 'classic', 'x-expires': expiresMs },
      })
      await channel.consume(this.#queue, {}, () => undefined)
    }
    const { consumerCount } = await channel.declareQueue(this.#queue, { passive: true })
    return consumerCount
  }

  async leave(): Promise<void> {
    const channel = this.#channel
    this.#channel = undefined
    if (channel !== undefined && !channel.closed) await channel.close()
  }
}
