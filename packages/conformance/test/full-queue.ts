import { connect } from '@chasqui/amqp/client'

/** A queue that refuses what comes beyond its one message, which is there. */
export async function makeFullQueue(url: string, queue: string): Promise<void> {
  const { hostname: host, port } = new URL(url)
  const connection = await connect({ host, port: Number(port) })
  const channel = await connection.openChannel()
  await channel.declareQueue(queue, {
    durable: true,
    // RabbitMQ takes the limit of a quorum queue for a rough one.
    arguments: { 'x-queue-type': 'classic', 'x-max-length': 1, 'x-overflow': 'reject-publish' },
  })
  await channel.confirmSelect()
  await new Promise<void>((resolve, reject) => {
    channel.publishConfirmed('', queue, { deliveryMode: 2 }, Buffer.from('fills it'), {}, outcome =>
      outcome === 'ack' ? resolve() : reject(new Error(`the filling message was not taken: ${String(outcome)}`)),
    )
  })
  await connection.close()
}
