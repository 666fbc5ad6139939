/** The queues that this driver creates: those of the RabbitMQ driver, so that a URL can change and nothing else. */
import type { QueueArguments } from '@chasqui/driver-amqp'

/** Returns of one message after which the broker itself dead-letters it. The core's own retries stay far below. */
const deliveryLimit = 20
/** For dead-letter queues, whose messages wait for a person: practically never. */
const deadLetterDeliveryLimit = 1_000_000

export const queueArguments: QueueArguments = ({ role, durable, deadLetter }) => {
  // The arguments that pika's `queue_declare('hello')` sends: none.
  if (!durable) return {}
  return {
    'x-queue-type': 'quorum',
    'x-delivery-limit': role === 'dead-letter' ? deadLetterDeliveryLimit : deliveryLimit,
    ...(deadLetter === undefined
      ? {}
      : {
          'x-dead-letter-exchange': '',
          'x-dead-letter-routing-key': deadLetter,
          'x-dead-letter-strategy': 'at-least-once',
          'x-overflow': 'reject-publish',
        }),
  }
}
