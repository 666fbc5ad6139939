/**
 * Which queues and exchanges stand for a destination in the broker of this process, and making them. The same as
 * the AMQP drivers', so that other processes meet what they expect:
 *
 *     queue NAME                   queue NAME, reached through the default exchange
 *     topic NAME                   topic exchange NAME
 *     subscription NAME of TOPIC   queue TOPIC.NAME, bound to exchange TOPIC with #
 */
import { AmqpError } from '@chasqui/amqp'
import type { Session, VirtualHost } from '@chasqui/broker'
import {
  type Change,
  ChasquiError,
  type DeclareOptions,
  type Destination,
  type ErrorCode,
  isChasquiError,
  type Source,
  type Target,
} from '@chasqui/driver'
import { queueOf } from '@chasqui/driver-amqp'
import { queueArguments } from './queue-arguments.ts'

/** AMQP's reply codes as the errors that users see (AMQP 0-9-1 section 1.2). */
const codeOfReply: Readonly<Record<number, ErrorCode>> = {
  403: 'access-refused',
  404: 'destination-missing',
  405: 'destination-in-use',
  406: 'destination-differs',
}

/** Every message of a topic reaches each subscription (AMQP 0-9-1 section 3.1.3.3). */
const everyKey = '#'

/** The routing key that reaches a target, through its exchange or the default one. */
export function routingKeyOf(target: Target, type: string | undefined): string {
  if (target.kind === 'topic') return type ?? ''
  return queueOf(target)
}

interface Known {
  readonly destination: Destination
  readonly durable: boolean
  readonly create: boolean
}

export class LocalTopology {
  readonly #vhost: VirtualHost
  readonly #session: Session
  /** False for a broker without a store. */
  readonly #stored: boolean
  readonly #topics = new Map<string, Known>()
  readonly #queues = new Map<string, Known>()

  constructor(vhost: VirtualHost, session: Session, stored: boolean) {
    this.#vhost = vhost
    this.#session = session
    this.#stored = stored
  }

  /** True where what was confirmed for the target survives this process. */
  isDurable(target: Target): boolean {
    if (!this.#stored) return false
    if (target.kind === 'topic') return this.#topics.get(target.name)?.durable === true
    return this.#queues.get(routingKeyOf(target, undefined))?.durable === true
  }

  plan(destination: Destination): Change {
    try {
      this.#refuseOtherKind(destination)
      return { destination, action: this.#exists(destination) ? 'none' : 'create' }
    } catch (error) {
      return { destination, action: 'conflict', difference: this.asChasquiError(error, destination.name).message }
    }
  }

  /** Returns the commit number after which what was created is on disk; 0 when nothing is to be waited for. */
  declare(destination: Destination, { create }: DeclareOptions): number {
    try {
      this.#refuseOtherKind(destination)
      if (!create && !this.#exists(destination)) throw missing(destination)
      const commit = create ? this.#create(destination) : 0
      this.#remember(destination, create)
      return commit
    } catch (error) {
      throw this.asChasquiError(error, destination.name)
    }
  }

  /** Makes the queue of a source again, if it was ours to make. */
  restore(source: Source): void {
    const known = this.#queues.get(queueOf(source))
    if (known?.create !== true) {
      throw new ChasquiError(
        'destination-missing',
        `The queue ${queueOf(source)} was deleted, and \`declare: 'never'\` forbids making it again.`,
      )
    }
    this.#create(known.destination)
  }

  /** Deletes the queue of a source; the commit number to wait for, `undefined` where there is none. */
  remove(source: Source): number | undefined {
    const queue = queueOf(source)
    this.#queues.delete(queue)
    if (this.#vhost.describeQueue(queue) === undefined) return undefined
    return this.#session.deleteQueue({ queue }).commit
  }

  asChasquiError(error: unknown, name: string): ChasquiError {
    if (isChasquiError(error)) return error
    if (error instanceof AmqpError) {
      const code = codeOfReply[error.replyCode] ?? 'internal'
      return new ChasquiError(code, `The broker refuses "${name}": ${error.message}`, { cause: error })
    }
    return new ChasquiError('internal', `The broker failed on "${name}".`, { cause: error })
  }

  #create(destination: Destination): number {
    if (destination.kind === 'topic') return this.#createTopic(destination.name, destination.durable)
    let commit = 0
    if (destination.kind === 'subscription') commit = this.#createTopic(destination.topic, true)
    const queue = destination.kind === 'subscription' ? queueOf(destination) : destination.name
    const { deadLetter, durable } = destination
    if (deadLetter !== undefined) {
      commit = Math.max(commit, this.#createQueue(deadLetter, true, 'dead-letter', undefined))
    }
    commit = Math.max(commit, this.#createQueue(queue, durable, destination.kind, deadLetter))
    if (destination.kind === 'subscription') {
      const bound = this.#session.bindQueue({ queue, exchange: destination.topic, routingKey: everyKey })
      commit = Math.max(commit, bound.commit)
    }
    return commit
  }

  #createTopic(exchange: string, durable: boolean): number {
    if (this.#vhost.describeExchange(exchange) !== undefined) return 0
    return this.#session.declareExchange({ exchange, type: 'topic', durable }).commit
  }

  #createQueue(
    queue: string,
    durable: boolean,
    role: 'queue' | 'subscription' | 'dead-letter',
    deadLetter: string | undefined,
  ): number {
    if (this.#vhost.describeQueue(queue) !== undefined) return 0
    const declaration = { queue, durable, arguments: queueArguments({ role, durable, deadLetter }) }
    return this.#session.declareQueue(declaration).commit
  }

  #remember(destination: Destination, create: boolean): void {
    if (destination.kind === 'topic') {
      const durable = this.#vhost.describeExchange(destination.name)?.durable === true
      this.#topics.set(destination.name, { destination, durable, create })
      return
    }
    const queue = destination.kind === 'subscription' ? queueOf(destination) : destination.name
    const mayCreate = create || this.#queues.get(queue)?.create === true
    this.#queues.set(queue, {
      destination,
      durable: this.#vhost.describeQueue(queue)?.durable === true,
      create: mayCreate,
    })
  }

  #exists(destination: Destination): boolean {
    if (destination.kind === 'topic') return this.#vhost.describeExchange(destination.name) !== undefined
    const queue = destination.kind === 'subscription' ? queueOf(destination) : destination.name
    return this.#vhost.describeQueue(queue) !== undefined
  }

  /** A name is a queue or a topic, never both ; mistakes show here, not as lost messages. */
  #refuseOtherKind(destination: Destination): void {
    const { kind, name } = destination
    if (kind === 'queue' && this.#vhost.describeExchange(name) !== undefined) {
      throw new ChasquiError('destination-kind', `"${name}" is a topic. Publish to it, or choose another name.`)
    }
    const topic = kind === 'topic' ? name : kind === 'subscription' ? destination.topic : undefined
    if (topic !== undefined && this.#vhost.describeQueue(topic) !== undefined) {
      throw new ChasquiError('destination-kind', `"${topic}" is a queue. Send to it, or choose another name.`)
    }
  }
}

function missing(destination: Destination): ChasquiError {
  const name = destination.kind === 'subscription' ? queueOf(destination) : destination.name
  return new ChasquiError(
    'destination-missing',
    `The ${destination.kind} "${name}" does not exist. Create it, or leave out \`declare: 'never'\`.`,
  )
}
