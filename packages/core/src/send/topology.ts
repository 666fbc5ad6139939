/**
 * What an application needs to be there, named at one place: contracts, and destinations by their names. Becomes the
 * topology that drivers plan and declare, the dead-letter queues included that consumers will want.
 */
import type { Destination, Target } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract, EventContract } from '../contract/contract.ts'
import { isContract } from '../contract/contract.ts'
import { checkSourceName, checkSubscription } from '../contract/names.ts'
import { checkOptions } from '../options/option.ts'
import { destinationOptions } from '../options/sending.ts'
import type { Wanted } from './destinations.ts'
import { queueAndDeadLetters, subscriptionAndDeadLetters, topicAlone } from './destinations.ts'

/** A queue, a topic, or a subscription of a topic. */
export type DestinationNeed =
  | { readonly queue: string; readonly lanes?: number; readonly durable?: boolean }
  | {
      readonly topic: string | EventContract
      /** Absent: the topic alone. */
      readonly subscription?: string
      /** Of the topic; its subscriptions have as many. */
      readonly lanes?: number
      readonly durable?: boolean
    }

/** A contract stands for its destination: the queue of a command or request, the topic of an event. */
export type Need = AnyContract | DestinationNeed

interface Place {
  readonly kind: 'queue' | 'topic' | 'subscription'
  /** The queue or the topic. */
  readonly name: string
  readonly subscription: string | undefined
  readonly lanes: number | undefined
  readonly durable: boolean
}

/**
 * The destinations in the order in which they can be made, each once. Throws `name-invalid`, `option-invalid`, and
 * `destination-kind` or `lanes-differ` where the needs contradict one another.
 */
export function destinationsFor(needs: readonly Need[], where: string): readonly Destination[] {
  if (!Array.isArray(needs) || needs.length === 0) {
    throw new ChasquiError('option-invalid', `${where} takes a list of contracts, queues, topics and subscriptions.`)
  }
  const places = needs.map(need => placeOf(need, where))
  const lanes = lanesOf(places, where)
  const destinations = new Map<string, Destination>()
  for (const place of places) {
    const wanted: Wanted = { durable: place.durable, create: true, lanes: lanes.get(place.name) }
    for (const destination of destinationsOf(place, wanted)) {
      const key = `${destination.kind} ${'topic' in destination ? destination.topic : ''} ${destination.name}`
      if (!destinations.has(key)) destinations.set(key, destination)
    }
  }
  // Those of more than one need are made once, and what others hang on comes first.
  return [...destinations.values()].toSorted((a, b) => order[a.kind] - order[b.kind])
}

/** The one place that is meant. Throws `name-invalid` and `option-invalid`. */
export function targetOf(need: Need, where: string): Target {
  const { kind, name, subscription } = placeOf(need, where)
  return kind === 'subscription' ? { kind, topic: name, name: subscription! } : { kind, name }
}

const order = { topic: 0, queue: 1, subscription: 2 } as const

function destinationsOf({ kind, name, subscription }: Place, wanted: Wanted): readonly Destination[] {
  if (kind === 'queue') return queueAndDeadLetters(name, wanted)
  // The topic outlives a subscription that does not.
  const topic = topicAlone(name, kind === 'topic' ? wanted : { ...wanted, durable: true })
  return subscription === undefined ? [topic] : [topic, ...subscriptionAndDeadLetters(name, subscription, wanted)]
}

function placeOf(need: Need, where: string): Place {
  if (isContract(need)) {
    const { destination: name, lanes } = need
    return { kind: need.kind === 'event' ? 'topic' : 'queue', name, subscription: undefined, lanes, durable: true }
  }
  const given = withTopicName(need)
  checkOptions(destinationOptions, given, where)
  const { queue, topic, subscription, lanes, durable = true } = given
  if ((queue === undefined) === (topic === undefined) || (subscription !== undefined && topic === undefined)) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: give each as a contract, { queue }, { topic } or { topic, subscription }.`,
    )
  }
  if (queue !== undefined) {
    checkSourceName('queue', queue)
    return { kind: 'queue', name: queue, subscription, lanes, durable }
  }
  const name = topic ?? ''
  if (subscription === undefined) checkSourceName('topic', name)
  else checkSubscription(name, subscription)
  return { kind: subscription === undefined ? 'topic' : 'subscription', name, subscription, lanes, durable }
}

interface Given {
  readonly queue?: string
  readonly topic?: string
  readonly subscription?: string
  readonly lanes?: number
  readonly durable?: boolean
}

/** The contract of a topic replaced by what is read of it. */
function withTopicName(need: DestinationNeed): Given {
  if (typeof need !== 'object' || need === null || !('topic' in need)) return need as Given
  const { topic, ...rest } = need
  if (!isContract(topic)) return need as Given
  if (topic.kind === 'event') return { lanes: topic.lanes, ...rest, topic: topic.destination }
  throw new ChasquiError('option-invalid', `"${topic.type}" is a ${topic.kind}: it has a queue and no topic.`)
}

/** By the name of the queue or topic, which must be one of the two and of one number of lanes. */
function lanesOf(places: readonly Place[], where: string): ReadonlyMap<string, number> {
  const queues = new Map<string, boolean>()
  const lanes = new Map<string, number>()
  for (const place of places) {
    const { name } = place
    const isQueue = place.kind === 'queue'
    if ((queues.get(name) ?? isQueue) !== isQueue) {
      throw new ChasquiError(
        'destination-kind',
        `${where}: "${name}" is asked for as a queue and as a topic. Rename one.`,
      )
    }
    queues.set(name, isQueue)
    const known = lanes.get(name)
    if (known !== undefined && place.lanes !== undefined && place.lanes !== known) {
      throw new ChasquiError(
        'lanes-differ',
        `${where}: "${name}" is asked for with ${known} lanes and with ${place.lanes}. Agree on one number.`,
        { details: { destination: name } },
      )
    }
    if (place.lanes !== undefined) lanes.set(name, place.lanes)
  }
  return lanes
}
