/** The arguments of the queues that Chasqui creates on RabbitMQ. */
import type { FieldTable } from '@chasqui/amqp'
import type { QueueArguments } from '@chasqui/driver-amqp'
import type { RabbitmqOptions } from './options.ts'

/**
 * Practically never, for queues without a dead-letter queue: RabbitMQ would drop what exceeds the limit. It cannot be
 * left out, since RabbitMQ 4 limits to 20 by default, nor be -1, which 3.10 takes for a limit already exceeded.
 */
const noDeliveryLimit = 1_000_000
/**
 * How long the queue of a subscription that is not durable waits for its consumer to come back, in milliseconds: nobody
 * else would ever delete it.
 */
const forgottenAfterMs = 1_800_000

/**
 * Quorum queues hand what exceeds their delivery limit to the dead-letter queue and let go of it once that has
 * confirmed (`at-least-once`), which RabbitMQ does only where a full queue refuses (`reject-publish`; RabbitMQ, "Quorum
 * Queues: Activating at-least-once dead-lettering"). A queue that is not durable gets no arguments: programs in other
 * languages declare the same queue by its name alone, and an unequal declaration would be refused. That of a
 * subscription is ours alone.
 */
export function queueArgumentsFor(
  options: Required<Pick<RabbitmqOptions, 'queueType' | 'deliveryLimit'>>,
): QueueArguments {
  return ({ role, durable, deadLetter, ordered = false }): FieldTable => {
    if (!durable) return role === 'subscription' ? { 'x-expires': forgottenAfterMs } : {}
    if (options.queueType === 'classic') {
      return deadLetter === undefined
        ? { 'x-queue-type': 'classic' }
        : { 'x-queue-type': 'classic', 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': deadLetter }
    }
    if (deadLetter === undefined) return { 'x-queue-type': 'quorum', 'x-delivery-limit': noDeliveryLimit }
    return {
      'x-queue-type': 'quorum',
      // A lane's owner holds its messages and hands all of them back whenever the owner changes.
      'x-delivery-limit': ordered ? noDeliveryLimit : options.deliveryLimit,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': deadLetter,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    }
  }
}
