/**
 * The half of a session that declares, deletes and binds. Each change answers the commit number to wait for.
 */
import { AmqpError, type FieldTable } from '@chasqui/amqp'
import { isReplyName } from './direct-replies.ts'
import { queueMissing } from './refusal.ts'
import type { Asker, ExchangeDeclaration, QueueDeclaration } from './topology.ts'
import type { VirtualHost } from './vhost.ts'

export abstract class Declarer implements Asker {
  readonly owner: object
  closed = false
  protected readonly vhost: VirtualHost
  /** The queue declared last: what an empty name stands for. */
  #lastQueue: string | undefined

  constructor(vhost: VirtualHost, owner: object) {
    this.vhost = vhost
    this.owner = owner
  }

  declareQueue(declaration: QueueDeclaration): {
    queue: string
    messageCount: number
    consumerCount: number
    commit: number
  } {
    this.checkOpen()
    if (isReplyName(declaration.queue)) {
      // Whatever is asked for, it is only looked at (RabbitMQ, "Direct Reply-to").
      if (!this.vhost.replies.has(declaration.queue)) throw queueMissing(declaration.queue, this.vhost.name)
      return { queue: declaration.queue, messageCount: 0, consumerCount: 1, commit: 0 }
    }
    const result = this.vhost.topology.declareQueue(this, declaration)
    this.#lastQueue = result.queue
    return result
  }

  deleteQueue(request: { queue: string; ifUnused?: boolean; ifEmpty?: boolean }): {
    messageCount: number
    commit: number
  } {
    this.checkOpen()
    return this.vhost.topology.deleteQueue(this, { ...request, queue: this.named(request.queue) })
  }

  purgeQueue(request: { queue: string }): { messageCount: number; commit: number } {
    this.checkOpen()
    const queue = this.vhost.topology.queueFor(this, this.named(request.queue))
    return { messageCount: queue.purge(), commit: 0 }
  }

  bindQueue(request: { queue: string; exchange: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.checkOpen()
    const queue = this.named(request.queue)
    // An empty key beside an empty queue name stands for the queue's own (AMQP 0-9-1 section 1.7.2.3).
    const routingKey = request.queue === '' && request.routingKey === '' ? queue : request.routingKey
    return this.vhost.topology.bind(this, {
      ...request,
      kind: 'queue',
      destination: queue,
      source: request.exchange,
      routingKey,
    })
  }

  unbindQueue(request: { queue: string; exchange: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    const queue = this.named(request.queue)
    const routingKey = request.queue === '' && request.routingKey === '' ? queue : request.routingKey
    return this.vhost.topology.unbind(this, {
      ...request,
      kind: 'queue',
      destination: queue,
      source: request.exchange,
      routingKey,
    })
  }

  declareExchange(declaration: ExchangeDeclaration): { commit: number } {
    this.checkOpen()
    return this.vhost.topology.declareExchange(declaration)
  }

  deleteExchange(request: { exchange: string; ifUnused?: boolean }): { commit: number } {
    this.checkOpen()
    return this.vhost.topology.deleteExchange(request)
  }

  bindExchange(request: { destination: string; source: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.checkOpen()
    return this.vhost.topology.bind(this, { ...request, kind: 'exchange' })
  }

  unbindExchange(request: { destination: string; source: string; routingKey: string; arguments?: FieldTable }): {
    commit: number
  } {
    this.checkOpen()
    return this.vhost.topology.unbind(this, { ...request, kind: 'exchange' })
  }

  protected checkOpen(): void {
    if (!this.closed) return
    if (this.vhost.closed) throw AmqpError.of('connection-forced', 'the broker is closed')
    throw AmqpError.of('channel-error', 'the session is closed')
  }

  protected named(queue: string): string {
    if (queue !== '') return queue
    if (this.#lastQueue === undefined) throw AmqpError.of('not-found', 'no previously declared queue')
    return this.#lastQueue
  }
}
