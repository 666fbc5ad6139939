/** The queues that this driver creates: those of the RabbitMQ driver, so that a URL can change and nothing else. */
import type { FieldTable } from '@chasqui/amqp'
import type { QueueArguments } from '@chasqui/driver-amqp'

/** Returns of one message after which the broker itself dead-letters it. The core's own retries stay far below. */
const deliveryLimit = 20
/** Where the broker would have to drop them, as for dead letters that wait for a person: practically never. */
const noDeliveryLimit = 1_000_000

/**
 * How long the queue of a subscription that is not durable waits for its consumer to come back, in milliseconds: nobody
 * else would ever delete it.
 */
const forgottenAfterMs = 1_800_000

export const queueArguments: QueueArguments = ({ role, durable, deadLetter }): FieldTable => {
  // The arguments that pika's `queue_declare('hello')` sends: none. The queue of a subscription is ours alone.
  if (!durable) return role === 'subscription' ? { 'x-expires': forgottenAfterMs } : {}
  return {
    'x-queue-type': 'quorum',
    'x-delivery-limit': deadLetter === undefined ? noDeliveryLimit : deliveryLimit,
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
