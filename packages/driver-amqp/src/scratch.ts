/**
 * Channels for looks and declarations. A refused one closes its channel (AMQP 0-9-1 section 1.7.2.1), so that they do
 * not share one with anything else.
 */
import type { Channel, Connection } from '@chasqui/amqp/client'

/** A channel that is opened again when a refusal has closed it. */
export class Scratch {
  readonly #connection: Connection
  #channel: Channel | undefined

  constructor(connection: Connection) {
    this.#connection = connection
  }

  /** Runs `work` with a scratch channel and closes that. */
  static async with<Result>(connection: Connection, work: (scratch: Scratch) => Promise<Result>): Promise<Result> {
    const scratch = new Scratch(connection)
    try {
      return await work(scratch)
    } finally {
      await scratch.close()
    }
  }

  async run<Result>(work: (channel: Channel) => Promise<Result>): Promise<Result> {
    if (this.#channel === undefined || this.#channel.closed) this.#channel = await this.#connection.openChannel()
    return await work(this.#channel)
  }

  async close(): Promise<void> {
    const channel = this.#channel
    this.#channel = undefined
    await channel?.close()
  }
}
