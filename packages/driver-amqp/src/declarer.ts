/**
 * One destination on the broker: created where it is absent, looked at, compared with what was asked for. Remembers nothing.
 *
 * One that is asked for exclusively by nobody answers an unequal declaration with 406 and the first argument that differs,
 * `durable` before all others: so one active declaration creates what is absent and tells the durability of what is there.
 * A refused declaration closes its channel (AMQP 0-9-1 section 1.7.2.1), hence `Scratch`.
 */
import type { FieldTable } from '@chasqui/amqp'
import type { ChasquiError, Destination } from '@chasqui/driver'
import {
  exchangeDifferences,
  exchangeDurability,
  exchangeExists,
  findExchangeDurability,
  findQueueDurability,
  type QueueShape,
  queueDifferences,
  queueExists,
  requireExchange,
  serves,
} from './existing.ts'
import { type Difference, describe, differenceOf, hasReplyCode, refusal, replyCode } from './failures.ts'
import {
  findLanes,
  laneArguments,
  laneObstacle,
  lanesDiffer,
  notOrdered,
  topicArguments,
  topicLanesIn,
  topicWithoutLanes,
} from './lanes.ts'
import { laneBinding, laneQueue, laneQueues, queueOf } from './queue-names.ts'
import type { Scratch } from './scratch.ts'

/** The arguments of the queues that a driver creates; by what a queue is for. */
export type QueueArguments = (queue: {
  readonly role: 'queue' | 'subscription' | 'dead-letter'
  readonly durable: boolean
  readonly deadLetter: string | undefined
  /** It is a lane: what comes back to it must not leave it, for then its order would be lost. Default false. */
  readonly ordered?: boolean
}) => FieldTable

/** What is there. */
export interface Found {
  /** Survives a restart of the broker, as far as we may see. */
  readonly durable: boolean
  /** Absent: none, so that several may consume at once. */
  readonly lanes: number | undefined
}

type QueueDestination = Extract<Destination, { kind: 'queue' | 'subscription' }>

export class Declarer {
  /** Makes lanes. Without it they are not looked at: the broker keeps the order of a queue itself. */
  keepsLanes = false
  readonly #queueArguments: QueueArguments

  constructor(queueArguments: QueueArguments) {
    this.#queueArguments = queueArguments
  }

  /** Creates it, with its dead-letter queue; what is there already is used as it is, if it keeps what was asked for. */
  async create(scratch: Scratch, destination: Destination): Promise<Found> {
    if (destination.kind === 'topic') return await this.#createExchange(scratch, destination)
    if (destination.deadLetter !== undefined) {
      await this.#createQueue(scratch, destination.deadLetter, this.#deadLetterShape())
    }
    if (destination.kind === 'queue') return await this.#createQueues(scratch, destination)

    // A subscription may be declared before anybody publishes.
    const { topic, lanes } = destination
    await this.#createExchange(scratch, { kind: 'topic', name: topic, durable: true, lanes })
    const found = await this.#createQueues(scratch, destination)
    for (const [lane, queue] of laneQueues(queueOf(destination), found.lanes).entries()) {
      await scratch
        .run(channel => channel.bindQueue(queue, topic, laneBinding(lane, found.lanes ?? 1)))
        .catch(error => {
          throw refusal(error, `binding of queue '${queue}' to topic '${topic}'`)
        })
    }
    return found
  }

  /** Creates the queue, or the queues of its lanes; what is there already is used as it is, if it keeps what was asked for. */
  async #createQueues(scratch: Scratch, destination: QueueDestination): Promise<Found> {
    const name = queueOf(destination)
    const lanes = this.#lanesFor(destination)
    if (lanes === undefined) {
      const isLaned = this.keepsLanes && (await queueExists(scratch, laneQueue(name, 0, 2)))
      if (isLaned) return await this.#findLaned(scratch, name)
      const created = await this.#createQueue(scratch, name, this.#shape(destination, undefined))
      const isEqual = created === 'equal'
      const durable = isEqual ? destination.durable : created
      return { durable, lanes: this.keepsLanes && !isEqual ? await findLanes(scratch, name) : undefined }
    }
    await this.#refuseOtherLanes(scratch, name, lanes)
    const shape = this.#shape(destination, lanes)
    const durables: boolean[] = []
    // The first lane says how many there are, so that of two who disagree one is refused before it makes any.
    for (const queue of laneQueues(name, lanes)) {
      const created = await this.#createQueue(scratch, queue, shape)
      if (created !== 'equal') {
        const obstacle = await laneObstacle(scratch, name, { queue, shape, lanes })
        if (obstacle !== undefined) throw obstacle
      }
      durables.push(created === 'equal' ? shape.durable : created)
    }
    return { durable: durables.every(durable => durable), lanes }
  }

  /** The queue that other lanes would lie in: NAME for several, NAME.lane-0 for one. */
  async #refuseOtherLanes(scratch: Scratch, name: string, lanes: number): Promise<void> {
    const other = lanes === 1 ? laneQueue(name, 0, 2) : name
    if (!(await queueExists(scratch, other))) return
    const found = await findLanes(scratch, name)
    throw found === undefined || found === lanes ? notOrdered(name, other) : lanesDiffer(name, lanes, found)
  }

  async #findLaned(scratch: Scratch, name: string): Promise<Found> {
    return {
      durable: await findQueueDurability(scratch, laneQueue(name, 0, 2)),
      lanes: await findLanes(scratch, name),
    }
  }

  #lanesFor({ lanes }: Destination): number | undefined {
    return this.keepsLanes ? lanes : undefined
  }

  /** Resolves `equal` where it is as asked for, else whether what is there is durable. */
  async #createQueue(scratch: Scratch, name: string, shape: QueueShape): Promise<boolean | 'equal'> {
    try {
      await scratch.run(channel => channel.declareQueue(name, shape))
      return 'equal'
    } catch (error) {
      const difference = differenceOf(error)
      if (difference !== undefined) return difference.argument === 'durable' ? !shape.durable : shape.durable
      if (hasReplyCode(error, replyCode.accessRefused) && (await queueExists(scratch, name))) {
        // Ours to use and not to declare: its durability cannot be learnt, so nothing is promised.
        return false
      }
      throw refusal(error, `queue '${name}'`)
    }
  }

  async #createExchange(scratch: Scratch, topic: Extract<Destination, { kind: 'topic' }>): Promise<Found> {
    const { name, durable } = topic
    const lanes = this.#lanesFor(topic)
    try {
      const table = topicArguments(name, lanes)
      await scratch.run(channel => channel.declareExchange(name, 'topic', { durable, arguments: table }))
      return { durable, lanes }
    } catch (error) {
      const difference = differenceOf(error)
      if (difference !== undefined && serves(difference)) {
        const asked = lanes ?? 1
        const found = await this.#topicLanes(scratch, name, difference)
        if (asked > 1 && found !== asked) throw unlikeItsTopic(name, asked, found)
        return { durable: await exchangeDurability(scratch, name, difference, durable), lanes: found }
      }
      if (
        difference === undefined &&
        hasReplyCode(error, replyCode.accessRefused) &&
        (await exchangeExists(scratch, name))
      ) {
        return { durable: false, lanes: undefined }
      }
      throw refusal(error, `topic '${name}'`)
    }
  }

  /** The lanes of an exchange that is not as it was asked for. */
  async #topicLanes(scratch: Scratch, name: string, first: Difference): Promise<number | undefined> {
    if (!this.keepsLanes) return undefined
    if (first.argument === 'alternate-exchange') return topicLanesIn(first)
    if (first.argument !== 'durable') return undefined
    const differences = await exchangeDifferences(scratch, name, first.current === "'true'")
    return differences.map(topicLanesIn).find(lanes => lanes !== undefined)
  }

  /** Looks without creating. */
  async find(scratch: Scratch, destination: Destination): Promise<Found> {
    if (destination.kind === 'topic') return await this.#findTopic(scratch, destination)
    if (destination.kind === 'subscription') await requireExchange(scratch, destination.topic)
    const name = queueOf(destination)
    const lanes = this.#lanesFor(destination)
    if (this.keepsLanes && !(await queueExists(scratch, name)) && (await queueExists(scratch, laneQueue(name, 0, 2)))) {
      const found = await this.#findLaned(scratch, name)
      if (lanes !== undefined && found.lanes !== lanes) throw lanesDiffer(name, lanes, found.lanes ?? 0)
      return found
    }
    try {
      await scratch.run(channel => channel.declareQueue(name, { passive: true }))
    } catch (error) {
      throw refusal(error, `queue '${name}'`)
    }
    const found = this.keepsLanes ? await findLanes(scratch, name) : undefined
    if (lanes !== undefined && found !== lanes) {
      throw found === undefined ? notOrdered(name, name) : lanesDiffer(name, lanes, found)
    }
    return { durable: await findQueueDurability(scratch, name), lanes: found }
  }

  async #findTopic(scratch: Scratch, destination: Extract<Destination, { kind: 'topic' }>): Promise<Found> {
    const { name } = destination
    await requireExchange(scratch, name)
    const durable = await findExchangeDurability(scratch, name)
    const differences = this.keepsLanes ? await exchangeDifferences(scratch, name, durable) : []
    const found = differences.map(topicLanesIn).find(lanes => lanes !== undefined)
    const asked = this.#lanesFor(destination) ?? 1
    if (asked > 1 && found !== asked) throw unlikeItsTopic(name, asked, found)
    return { durable, lanes: found }
  }

  /** What differs from what was asked for, in words: `absent` where it is not there, empty where nothing differs. */
  async difference(scratch: Scratch, destination: Destination): Promise<string | 'absent'> {
    return destination.kind === 'topic'
      ? await this.#topicDifference(scratch, destination)
      : await this.#queueDifference(scratch, destination)
  }

  async #topicDifference(scratch: Scratch, topic: Extract<Destination, { kind: 'topic' }>): Promise<string | 'absent'> {
    const { name, durable } = topic
    if (!(await exchangeExists(scratch, name))) return 'absent'
    const { lanes } = await this.#findTopic(scratch, topic)
    const differences = await exchangeDifferences(scratch, name, durable, topicArguments(name, lanes))
    return describe(differences)
  }

  async #queueDifference(scratch: Scratch, destination: QueueDestination): Promise<string | 'absent'> {
    const name = queueOf(destination)
    const asked = this.#lanesFor(destination)
    if (asked !== undefined) await this.#refuseOtherLanes(scratch, name, asked)
    const lanes = asked ?? (this.keepsLanes ? await findLanes(scratch, name) : undefined)
    const shape = this.#shape(destination, lanes)
    const differences = new Set<string>()
    for (const queue of laneQueues(name, lanes)) {
      if (!(await queueExists(scratch, queue))) return 'absent'
      const obstacle = lanes === undefined ? undefined : await laneObstacle(scratch, name, { queue, shape, lanes })
      if (obstacle !== undefined) throw obstacle
      const found = await queueDifferences(scratch, queue, shape)
      if (found.length > 0) differences.add(describe(found))
    }
    return [...differences].join('; ')
  }

  #shape(destination: QueueDestination, lanes: number | undefined): QueueShape {
    const { durable, deadLetter, kind } = destination
    const table = this.#queueArguments({ role: kind, durable, deadLetter, ordered: lanes !== undefined })
    return { durable, arguments: lanes === undefined ? table : laneArguments(table, lanes) }
  }

  #deadLetterShape(): QueueShape {
    return {
      durable: true,
      arguments: this.#queueArguments({ role: 'dead-letter', durable: true, deadLetter: undefined }),
    }
  }
}

function unlikeItsTopic(topic: string, asked: number, found: number | undefined): ChasquiError {
  return found === undefined || found === 1 ? topicWithoutLanes(topic, asked) : lanesDiffer(topic, asked, found)
}
