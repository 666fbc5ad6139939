/**
 * What exists on the broker: looking, creating, and having it again after the broker lost it.
 *
 *     queue NAME                   queue NAME, reached through the default exchange
 *     topic NAME                   topic exchange NAME
 *     subscription NAME of TOPIC   queue TOPIC.NAME, bound to exchange TOPIC with #
 *
 * An existing queue is used as it is. One that is asked for exclusively by nobody answers an unequal declaration with
 * 406 and the first argument that differs, `durable` before all others: so one active declaration creates what is
 * absent and tells the durability of what is there. A refused declaration closes its channel (AMQP 0-9-1 section
 * 1.7.2.1), hence `Scratch`.
 */
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
import { describe, differenceOf, hasReplyCode, refusal, replyCode } from './failures.ts'
import { subscriptionQueue } from './queue-names.ts'
import { Scratch } from './scratch.ts'

/** The arguments of the queues that a driver creates; by what a queue is for. */
export type QueueArguments = (queue: {
  readonly role: 'queue' | 'subscription' | 'dead-letter'
  readonly durable: boolean
  readonly deadLetter: string | undefined
}) => FieldTable

interface Known {
  readonly destination: Destination
  readonly create: boolean
  /** Survives a restart of the broker, as far as we may see. */
  durable: boolean
}

/** Every message of a topic reaches each subscription (AMQP 0-9-1 section 3.1.3.3). */
const everyKey = '#'

export class TopologyKeeper {
  readonly #queueArguments: QueueArguments
  /** By `queue:NAME`, with a subscription under its queue's name, and `topic:NAME`; in the order of declaration. */
  readonly #known = new Map<string, Known>()
  readonly #ensuring = new Map<string, Promise<boolean>>()

  constructor(queueArguments: QueueArguments) {
    this.#queueArguments = queueArguments
  }

  /** True where what was confirmed for this queue or topic survives a restart of the broker. */
  isDurable(kind: 'queue' | 'topic', name: string): boolean {
    return this.#known.get(`${kind}:${name}`)?.durable === true
  }

  /** See `Driver.declare`. */
  async declare(connection: Connection, topology: Topology, { create }: DeclareOptions): Promise<void> {
    await Scratch.with(connection, async scratch => {
      for (const destination of topology.destinations) {
        await this.#refuseOtherKind(scratch, destination)
        const durable = create ? await this.#create(scratch, destination) : await this.#find(scratch, destination)
        const key = keyOf(destination)
        // Asked for again with less, what we may create stays ours to create.
        this.#known.set(key, { destination, create: create || this.#known.get(key)?.create === true, durable })
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
      for (const known of ours) known.durable = await this.#create(scratch, known.destination)
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
        known.durable = await this.#create(scratch, known.destination)
        return true
      }).finally(() => this.#ensuring.delete(key))
      this.#ensuring.set(key, ensuring)
    }
    return ensuring
  }

  /** Resolves whether it is durable. */
  async #create(scratch: Scratch, destination: Destination): Promise<boolean> {
    if (destination.kind === 'topic') return await this.#createExchange(scratch, destination)
    if (destination.deadLetter !== undefined) {
      await this.#createQueue(scratch, destination.deadLetter, this.#deadLetterShape())
    }
    if (destination.kind === 'queue')
      return await this.#createQueue(scratch, destination.name, this.#shape(destination))

    // A subscription may be declared before anybody publishes.
    await this.#createExchange(scratch, { kind: 'topic', name: destination.topic, durable: true })
    const queue = subscriptionQueue(destination.topic, destination.name)
    const durable = await this.#createQueue(scratch, queue, this.#shape(destination))
    await scratch
      .run(channel => channel.bindQueue(queue, destination.topic, everyKey))
      .catch(error => {
        throw refusal(error, `binding of queue '${queue}' to topic '${destination.topic}'`)
      })
    return durable
  }

  async #createQueue(scratch: Scratch, name: string, shape: QueueShape): Promise<boolean> {
    try {
      await scratch.run(channel => channel.declareQueue(name, shape))
      return shape.durable
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

  async #createExchange(scratch: Scratch, topic: { name: string; durable: boolean; kind: 'topic' }): Promise<boolean> {
    const { name, durable } = topic
    try {
      await scratch.run(channel => channel.declareExchange(name, 'topic', { durable }))
      return durable
    } catch (error) {
      const difference = differenceOf(error)
      if (difference !== undefined && serves(difference))
        return await exchangeDurability(scratch, name, difference, durable)
      if (
        difference === undefined &&
        hasReplyCode(error, replyCode.accessRefused) &&
        (await exchangeExists(scratch, name))
      ) {
        return false
      }
      throw refusal(error, `topic '${name}'`)
    }
  }

  /** Looks without creating; resolves whether it is durable. */
  async #find(scratch: Scratch, destination: Destination): Promise<boolean> {
    if (destination.kind === 'topic') {
      await requireExchange(scratch, destination.name)
      return await findExchangeDurability(scratch, destination.name)
    }
    if (destination.kind === 'subscription') await requireExchange(scratch, destination.topic)
    const name =
      destination.kind === 'queue' ? destination.name : subscriptionQueue(destination.topic, destination.name)
    try {
      await scratch.run(channel => channel.declareQueue(name, { passive: true }))
    } catch (error) {
      throw refusal(error, `queue '${name}'`)
    }
    return await findQueueDurability(scratch, name)
  }

  async #planOne(scratch: Scratch, destination: Destination): Promise<Change> {
    const isTopic = destination.kind === 'topic'
    const name =
      destination.kind === 'subscription' ? subscriptionQueue(destination.topic, destination.name) : destination.name
    const what = `${destination.kind} '${name}'`
    try {
      await this.#refuseOtherKind(scratch, destination)
      const exists = isTopic ? await exchangeExists(scratch, name) : await queueExists(scratch, name)
      if (!exists) return { destination, action: 'create' }
      const differences = isTopic
        ? await exchangeDifferences(scratch, name, destination.durable)
        : await queueDifferences(scratch, name, this.#shape(destination))
      if (differences.length === 0) return { destination, action: 'none' }
      return { destination, action: 'conflict', difference: describe(differences) }
    } catch (error) {
      const failure = refusal(error, what)
      if (failure.code === 'destination-kind' || failure.code === 'destination-in-use') {
        return { destination, action: 'conflict', difference: failure.message }
      }
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

  #shape(destination: Extract<Destination, { kind: 'queue' | 'subscription' }>): QueueShape {
    const { durable, deadLetter, kind } = destination
    return { durable, arguments: this.#queueArguments({ role: kind, durable, deadLetter }) }
  }

  #deadLetterShape(): QueueShape {
    return {
      durable: true,
      arguments: this.#queueArguments({ role: 'dead-letter', durable: true, deadLetter: undefined }),
    }
  }
}

function keyOf(destination: Destination): string {
  return destination.kind === 'subscription'
    ? `queue:${subscriptionQueue(destination.topic, destination.name)}`
    : `${destination.kind}:${destination.name}`
}

/** One round trip for all of them: looks pipelined on one channel, which the first absent one closes. */
async function allExist(scratch: Scratch, all: readonly Known[]): Promise<boolean> {
  const looks = await Promise.allSettled(
    await scratch.run(async channel =>
      all.map(({ destination }) => {
        if (destination.kind === 'topic') return channel.declareExchange(destination.name, 'topic', { passive: true })
        const name =
          destination.kind === 'queue' ? destination.name : subscriptionQueue(destination.topic, destination.name)
        return channel.declareQueue(name, { passive: true })
      }),
    ),
  )
  return looks.every(look => look.status === 'fulfilled')
}
