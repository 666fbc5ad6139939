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
 * Quorum queues hand what exceeds their delivery limit to the dead-letter queue and let go of it once that has
 * confirmed (`at-least-once`), which RabbitMQ does only where a full queue refuses (`reject-publish`; RabbitMQ, "Quorum
 * Queues: Activating at-least-once dead-lettering"). A queue that is not durable gets no arguments: programs in other
 * languages declare the same queue by its name alone, and an unequal declaration would be refused.
 */
export function queueArgumentsFor(
  options: Required<Pick<RabbitmqOptions, 'queueType' | 'deliveryLimit'>>,
): QueueArguments {
  return ({ durable, deadLetter }): FieldTable => {
    if (!durable) return {}
    if (options.queueType === 'classic') {
      return deadLetter === undefined
        ? { 'x-queue-type': 'classic' }
        : { 'x-queue-type': 'classic', 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': deadLetter }
    }
    if (deadLetter === undefined) return { 'x-queue-type': 'quorum', 'x-delivery-limit': noDeliveryLimit }
    return {
      'x-queue-type': 'quorum',
      'x-delivery-limit': options.deliveryLimit,
      'x-dead-letter-exchange': '',
      'x-dead-letter-routing-key': deadLetter,
      'x-dead-letter-strategy': 'at-least-once',
      'x-overflow': 'reject-publish',
    }
  }
}
