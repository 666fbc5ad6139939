/** The same by hand on amqplib: confirms, persistent, a quorum queue; the consumer parses, checks the schema and acks. */
import amqp from 'amqplib'
import { measure, Order, parameters } from './order.ts'

const { url, messages, callers } = parameters()
const queue = 'bench.amqplib'
const connection = await amqp.connect(url)
const sending = await connection.createConfirmChannel()
const receiving = await connection.createChannel()
await sending.assertQueue(queue, { durable: true, arguments: { 'x-queue-type': 'quorum' } })
await receiving.prefetch(100)
let handled = 0
await receiving.consume(queue, message => {
  if (message === null) return
  const checked = Order.safeParse(JSON.parse(message.content.toString()))
  if (!checked.success) return receiving.nack(message, false, false)
  handled++
  receiving.ack(message)
})
await measure(
  {
    send: order =>
      new Promise<void>((resolve, reject) => {
        const body = Buffer.from(JSON.stringify(order))
        const options = { persistent: true, mandatory: true, contentType: 'application/json', messageId: order.orderId }
        sending.publish('', queue, body, options, error => (error ? reject(error) : resolve()))
      }),
    handled: () => handled,
    close: async () => {
      await sending.deleteQueue(queue)
      await connection.close()
    },
  },
  messages,
  callers,
)
