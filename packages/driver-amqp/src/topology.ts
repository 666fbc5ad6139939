/**
 * What exists on the broker: looking, creating, and having it again after the broker lost it.
 *
 *     queue NAME                   queue NAME, reached through the default exchange
 *     topic NAME                   topic exchange NAME
 *     subscription NAME of TOPIC   queue TOPIC.NAME, bound to exchange TOPIC with #
 *     N > 1 lanes                  queues NAME.lane-0 to NAME.lane-(N-1), those of a subscription bound with #.lane-i
 *
 * An existing queue is used as it is. One that is asked for exclusively by nobody answers an unequal declaration with
 * 406 and the first argument that differs, `durable` before all others: so one active declaration creates what is
 * absent and tells the durability of what is there. A refused declaration closes its channel (AMQP 0-9-1 section
 * 1.7.2.1), hence `Scratch`.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { FieldTable } from '@chasqui/amqp'
import type { Connection } from '@chasqui/amqp/client'
import { type Change, ChasquiError, type DeclareOptions, type Destination, type Topology } from '@chasqui/driver'
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
  checkLanes,
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
import { Scratch } from './scratch.ts'

/** The arguments of the queues that a driver creates; by what a queue is for. */
export type QueueArguments = (queue: {
  readonly role: 'queue' | 'subscription' | 'dead-letter'
  readonly durable: boolean
  readonly deadLetter: string | undefined
  /** It is a lane: what comes back to it must not leave it, for then its order would be lost. Default false. */
  readonly ordered?: boolean
}) => FieldTable

/**
 * How long a queue that vanished is left alone before it is created again, in milliseconds. RabbitMQ takes a consumer
 * of a deleted queue over to the next one of its name when that is there before the consumer's channel has heard of the
 * end; of a quorum queue it then loses all deliveries in that channel (3.10.8, measured). Else it cancels the consumer,
 * and every process hears of it.
 */
const vanishedPauseMs = 250

/** What is there. */
interface Found {
  /** Survives a restart of the broker, as far as we may see. */
  readonly durable: boolean
  /** Absent: none, so that several may consume at once. */
  readonly lanes: number | undefined
}

interface Known {
  readonly destination: Destination
  readonly create: boolean
  found: Found
}

export class TopologyKeeper {
  readonly #queueArguments: QueueArguments
  /** By `queue:NAME`, with a subscription under its queue's name, and `topic:NAME`; in the order of declaration. */
  readonly #known = new Map<string, Known>()
  readonly #ensuring = new Map<string, Promise<boolean>>()
  /** Those of more than one lane, by the same keys: what each message that is sent looks into. */
  readonly #laned = new Map<string, number>()
  #keepsLanes = false

  constructor(queueArguments: QueueArguments) {
    this.#queueArguments = queueArguments
  }

  /** Makes lanes from now on. Without it they are not looked at: the broker keeps the order of a queue itself. */
  keepLanes(): void {
    this.#keepsLanes = true
  }

  /** How many lanes a message for this queue or topic has to choose from; 1 where there is nothing to choose. */
  lanesToChoose(kind: 'queue' | 'topic', name: string): number {
    return this.#laned.size === 0 ? 1 : (this.#laned.get(`${kind}:${name}`) ?? 1)
  }

  /** The lanes of a queue that was declared; `undefined` where it has none. */
  lanesOf(name: string): number | undefined {
    return this.#known.get(`queue:${name}`)?.found.lanes
  }

  /** The same for a queue that may not have been declared. */
  async findLanes(scratch: Scratch, name: string): Promise<number | undefined> {
    if (!this.#keepsLanes) return undefined
    const known = this.#known.get(`queue:${name}`)
    return known === undefined ? await findLanes(scratch, name) : known.found.lanes
  }

  /** True where what was confirmed for this queue or topic survives a restart of the broker. */
  isDurable(kind: 'queue' | 'topic', name: string): boolean {
    return this.#known.get(`${kind}:${name}`)?.found.durable === true
  }

  /** The queues that were declared here, lanes and all, in the order of their names. */
  get queueNames(): readonly string[] {
    const queues = [...this.#known.values()].filter(({ destination }) => destination.kind !== 'topic')
    const names = queues.flatMap(({ destination, found }) => laneQueues(queueOf(destination), found.lanes))
    const deadLetters = queues.map(({ destination }) =>
      'deadLetter' in destination ? destination.deadLetter : undefined,
    )
    return [...new Set([...names, ...deadLetters.filter(name => name !== undefined)])].sort()
  }

  /** See `Driver.declare`. */
  async declare(connection: Connection, topology: Topology, { create }: DeclareOptions): Promise<void> {
    await Scratch.with(connection, async scratch => {
      for (const destination of topology.destinations) {
        checkLanes(destination.name, destination.lanes)
        await this.#refuseOtherKind(scratch, destination)
        const found = create ? await this.#create(scratch, destination) : await this.#find(scratch, destination)
        const key = keyOf(destination)
        // Asked for again with less, what we may create stays ours to create.
        this.#remember(key, { destination, create: create || this.#known.get(key)?.create === true, found })
      }
    })
  }

  /** See `Driver.plan`. */
  async plan(connection: Connection, topology: Topology): Promise<readonly Change[]> {
    return await Scratch.with(connection, async scratch => {
      const changes: Change[] = []
      for (const destination of topology.destinations) changes.push(await this.#planOne(scratch, destination))
      return changes
    })
  }

  /** Creates what vanished of all that was declared with leave to create; looks at the rest of nothing. */
  async restore(connection: Connection): Promise<void> {
    const ours = [...this.#known.values()].filter(known => known.create)
    if (ours.length === 0) return
    await Scratch.with(connection, async scratch => {
      if (await allExist(scratch, ours)) return
      for (const known of ours) {
        this.#remember(keyOf(known.destination), { ...known, found: await this.#create(scratch, known.destination) })
      }
    })
  }

  /**
   * Creates one queue or topic that vanished while we were connected. Resolves false where it is not ours to create.
   * Several calls at once are one.
   */
  ensure(connection: Connection, kind: 'queue' | 'topic', name: string): Promise<boolean> {
    const key = `${kind}:${name}`
    const known = this.#known.get(key)
    if (known?.create !== true) return Promise.resolve(false)
    let ensuring = this.#ensuring.get(key)
    if (ensuring === undefined) {
      ensuring = Scratch.with(connection, async scratch => {
        await sleep(vanishedPauseMs)
        this.#remember(key, { ...known, found: await this.#create(scratch, known.destination) })
        return true
      }).finally(() => this.#ensuring.delete(key))
      this.#ensuring.set(key, ensuring)
    }
    return ensuring
  }

  #remember(key: string, known: Known): void {
    const { lanes } = known.found
    // With the lanes that it has it is to be created again, whoever asked.
    this.#known.set(key, { ...known, destination: { ...known.destination, lanes } })
    if (lanes !== undefined && lanes > 1) this.#laned.set(key, lanes)
    else this.#laned.delete(key)
  }

  async #create(scratch: Scratch, destination: Destination): Promise<Found> {
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
      const isLaned = this.#keepsLanes && (await queueExists(scratch, laneQueue(name, 0, 2)))
      if (isLaned) return await this.#findLaned(scratch, name)
      const created = await this.#createQueue(scratch, name, this.#shape(destination, undefined))
      const isEqual = created === 'equal'
      const durable = isEqual ? destination.durable : created
      return { durable, lanes: this.#keepsLanes && !isEqual ? await findLanes(scratch, name) : undefined }
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
    return this.#keepsLanes ? lanes : undefined
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
    if (!this.#keepsLanes) return undefined
    if (first.argument === 'alternate-exchange') return topicLanesIn(first)
    if (first.argument !== 'durable') return undefined
    const differences = await exchangeDifferences(scratch, name, first.current === "'true'")
    return differences.map(topicLanesIn).find(lanes => lanes !== undefined)
  }

  /** Looks without creating. */
  async #find(scratch: Scratch, destination: Destination): Promise<Found> {
    if (destination.kind === 'topic') return await this.#findTopic(scratch, destination)
    if (destination.kind === 'subscription') await requireExchange(scratch, destination.topic)
    const name = queueOf(destination)
    const lanes = this.#lanesFor(destination)
    if (
      this.#keepsLanes &&
      !(await queueExists(scratch, name)) &&
      (await queueExists(scratch, laneQueue(name, 0, 2)))
    ) {
      const found = await this.#findLaned(scratch, name)
      if (lanes !== undefined && found.lanes !== lanes) throw lanesDiffer(name, lanes, found.lanes ?? 0)
      return found
    }
    try {
      await scratch.run(channel => channel.declareQueue(name, { passive: true }))
    } catch (error) {
      throw refusal(error, `queue '${name}'`)
    }
    const found = this.#keepsLanes ? await findLanes(scratch, name) : undefined
    if (lanes !== undefined && found !== lanes) {
      throw found === undefined ? notOrdered(name, name) : lanesDiffer(name, lanes, found)
    }
    return { durable: await findQueueDurability(scratch, name), lanes: found }
  }

  async #findTopic(scratch: Scratch, destination: Extract<Destination, { kind: 'topic' }>): Promise<Found> {
    const { name } = destination
    await requireExchange(scratch, name)
    const durable = await findExchangeDurability(scratch, name)
    const differences = this.#keepsLanes ? await exchangeDifferences(scratch, name, durable) : []
    const found = differences.map(topicLanesIn).find(lanes => lanes !== undefined)
    const asked = this.#lanesFor(destination) ?? 1
    if (asked > 1 && found !== asked) throw unlikeItsTopic(name, asked, found)
    return { durable, lanes: found }
  }

  async #planOne(scratch: Scratch, destination: Destination): Promise<Change> {
    const name = queueOf(destination)
    const what = `${destination.kind} '${name}'`
    try {
      checkLanes(destination.name, destination.lanes)
      await this.#refuseOtherKind(scratch, destination)
      const difference =
        destination.kind === 'topic'
          ? await this.#topicDifference(scratch, destination)
          : await this.#queueDifference(scratch, destination)
      if (difference === 'absent') return { destination, action: 'create' }
      return difference === '' ? { destination, action: 'none' } : { destination, action: 'conflict', difference }
    } catch (error) {
      const failure = refusal(error, what)
      if (conflicts.has(failure.code)) return { destination, action: 'conflict', difference: failure.message }
      throw failure
    }
  }

  /** What differs from what was asked for, in words; none where nothing does. */
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
    const lanes = asked ?? (this.#keepsLanes ? await findLanes(scratch, name) : undefined)
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

  /** A name is a queue or a topic, never both (DESIGN, "Names"); AMQP itself would allow it. */
  async #refuseOtherKind(scratch: Scratch, destination: Destination): Promise<void> {
    // Known already: looked at when it was declared first.
    if (this.#known.has(keyOf(destination))) return
    const name = destination.kind === 'subscription' ? destination.topic : destination.name
    const isQueue = destination.kind === 'queue'
    const isOther = isQueue ? await exchangeExists(scratch, name) : await queueExists(scratch, name)
    if (!isOther) return
    const [asked, found] = isQueue ? ['queue', 'topic (an exchange)'] : ['topic', 'queue']
    throw new ChasquiError(
      'destination-kind',
      `'${name}' is asked for as a ${asked}, and the broker has a ${found} of that name. Use another name, or delete the ${found}.`,
      { details: { name, asked, found } },
    )
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

type QueueDestination = Extract<Destination, { kind: 'queue' | 'subscription' }>

/** What `plan` tells as a line of its own rather than by failing. */
const conflicts: ReadonlySet<string> = new Set([
  'destination-kind',
  'destination-in-use',
  'destination-not-ordered',
  'lanes-differ',
])

function unlikeItsTopic(topic: string, asked: number, found: number | undefined): ChasquiError {
  return found === undefined || found === 1 ? topicWithoutLanes(topic, asked) : lanesDiffer(topic, asked, found)
}

function keyOf(destination: Destination): string {
  return destination.kind === 'topic' ? `topic:${destination.name}` : `queue:${queueOf(destination)}`
}

/** One round trip for all of them: looks pipelined on one channel, which the first absent one closes. */
async function allExist(scratch: Scratch, all: readonly Known[]): Promise<boolean> {
  const looks = await Promise.allSettled(
    await scratch.run(async channel =>
      all.flatMap(({ destination, found }): Promise<unknown>[] =>
        destination.kind === 'topic'
          ? [channel.declareExchange(destination.name, 'topic', { passive: true })]
          : laneQueues(queueOf(destination), found.lanes).map(name => channel.declareQueue(name, { passive: true })),
      ),
    ),
  )
  return looks.every(look => look.status === 'fulfilled')
}
