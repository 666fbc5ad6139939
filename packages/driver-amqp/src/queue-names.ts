/** Where Chasqui's targets and sources lie on an AMQP broker. */
import type { Source, Target } from '@chasqui/driver'

/** The queue of a subscription: TOPIC.SUBSCRIPTION. */
export function subscriptionQueue(topic: string, subscription: string): string {
  return `${topic}.${subscription}`
}

/** The queue that a source, or a target other than a topic, stands for; with several lanes, the stem of their names. */
export function queueOf(place: Source | Target): string {
  return place.kind === 'subscription' ? subscriptionQueue(place.topic, place.name) : place.name
}

/** The queue of one lane: NAME itself where it is the only one, else NAME.lane-0 and so on. */
export function laneQueue(name: string, lane: number, lanes: number): string {
  return lanes === 1 ? name : `${name}.lane-${lane}`
}

/** All lanes' queues, in their order; without lanes the queue alone. */
export function laneQueues(name: string, lanes: number | undefined): string[] {
  return Array.from({ length: lanes ?? 1 }, (_, lane) => laneQueue(name, lane, lanes ?? 1))
}

/** Routing keys that end in a lane's name reach that lane (AMQP 0-9-1 section 3.1.3.3). */
export function laneBinding(lane: number, lanes: number): string {
  return lanes === 1 ? '#' : `#.lane-${lane}`
}

/** The queue whose consumers are those who share the lanes of NAME. Nothing is ever sent there. */
export function membersQueue(name: string): string {
  return `${name}.lane-members`
}
