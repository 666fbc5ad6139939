/** Where Chasqui's targets and sources lie on an AMQP broker. */
import type { Source, Target } from '@chasqui/driver'

/** The queue of a subscription: TOPIC.SUBSCRIPTION. */
export function subscriptionQueue(topic: string, subscription: string): string {
  return `${topic}.${subscription}`
}

/** The queue that a source, or a target other than a topic, stands for. */
export function queueOf(place: Source | Target): string {
  return place.kind === 'subscription' ? subscriptionQueue(place.topic, place.name) : place.name
}
