/**
 * What exists on the broker: looking, creating, and having it again after the broker lost it.
 *
 *     queue NAME                   queue NAME, reached through the default exchange
 *     topic NAME                   topic exchange NAME
 *     subscription NAME of TOPIC   queue TOPIC.NAME, bound to exchange TOPIC with #
 *     N > 1 lanes                  queues NAME.lane-0 to NAME.lane-(N-1), those of a subscription bound with #.lane-i
 *
 * An existing queue is used as it is. How one is looked at and created is the declarer's; here is what was declared.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Connection } from '@chasqui/amqp/client'
import { type Change, ChasquiError, type DeclareOptions, type Destination, type Topology } from '@chasqui/driver'
import { Declarer, type Found, type QueueArguments } from './declarer.ts'
import { exchangeExists, queueExists } from './existing.ts'
import { refusal } from './failures.ts'
import { checkLanes, findLanes } from './lanes.ts'
import { laneQueues, queueOf } from './queue-names.ts'
import { Scratch } from './scratch.ts'

/**
 * How long a queue that vanished is left alone before it is created again, in milliseconds. RabbitMQ takes a consumer
 * of a deleted queue over to the next one of its name when that is there before the consumer's channel has heard of the
 * end; of a quorum queue it then loses all deliveries in that channel (3.10.8, measured). Else it cancels the consumer,
 * and every process hears of it.
 */
const vanishedPauseMs = 250

interface Known {
  readonly destination: Destination
  readonly create: boolean
  found: Found
}

export class TopologyKeeper {
  readonly #declarer: Declarer
  /** By `queue:NAME`, with a subscription under its queue's name, and `topic:NAME`; in the order of declaration. */
  readonly #known = new Map<string, Known>()
  readonly #ensuring = new Map<string, Promise<boolean>>()
  /** Those of more than one lane, by the same keys: what each message that is sent looks into. */
  readonly #laned = new Map<string, number>()

  constructor(queueArguments: QueueArguments) {
    this.#declarer = new Declarer(queueArguments)
  }

  /** Makes lanes from now on. Without it they are not looked at: the broker keeps the order of a queue itself. */
  keepLanes(): void {
    this.#declarer.keepsLanes = true
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
    if (!this.#declarer.keepsLanes) return undefined
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
        const found = create
          ? await this.#declarer.create(scratch, destination)
          : await this.#declarer.find(scratch, destination)
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
        this.#remember(keyOf(known.destination), {
          ...known,
          found: await this.#declarer.create(scratch, known.destination),
        })
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
        this.#remember(key, { ...known, found: await this.#declarer.create(scratch, known.destination) })
        return true
      }).finally(() => this.#ensuring.delete(key))
      this.#ensuring.set(key, ensuring)
    }
    return ensuring
  }

  /** It is not ours to make again. */
  forget(kind: 'queue' | 'topic', name: string): void {
    this.#known.delete(`${kind}:${name}`)
    this.#laned.delete(`${kind}:${name}`)
  }

  #remember(key: string, known: Known): void {
    const { lanes } = known.found
    // With the lanes that it has it is to be created again, whoever asked.
    this.#known.set(key, { ...known, destination: { ...known.destination, lanes } })
    if (lanes !== undefined && lanes > 1) this.#laned.set(key, lanes)
    else this.#laned.delete(key)
  }

  async #planOne(scratch: Scratch, destination: Destination): Promise<Change> {
    const name = queueOf(destination)
    const what = `${destination.kind} '${name}'`
    try {
      checkLanes(destination.name, destination.lanes)
      await this.#refuseOtherKind(scratch, destination)
      const difference = await this.#declarer.difference(scratch, destination)
      if (difference === 'absent') return { destination, action: 'create' }
      return difference === '' ? { destination, action: 'none' } : { destination, action: 'conflict', difference }
    } catch (error) {
      const failure = refusal(error, what)
      if (conflicts.has(failure.code)) return { destination, action: 'conflict', difference: failure.message }
      throw failure
    }
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
}

/** What `plan` tells as a line of its own rather than by failing. */
const conflicts: ReadonlySet<string> = new Set([
  'destination-kind',
  'destination-in-use',
  'destination-not-ordered',
  'lanes-differ',
])

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
