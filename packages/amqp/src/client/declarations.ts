/** What a channel asks of its server about queues and exchanges. The answer is all there is to it. */

import type { FieldTable } from '../field-table.ts'
import {
  EXCHANGE_BIND,
  EXCHANGE_DECLARE,
  EXCHANGE_DELETE,
  EXCHANGE_UNBIND,
  type Method,
  QUEUE_BIND,
  QUEUE_DECLARE,
  QUEUE_DELETE,
  QUEUE_PURGE,
  QUEUE_UNBIND,
  type QueueDeclareOk,
  type QueueDeleteOk,
} from '../generated/methods.ts'
import type { ExchangeOptions, QueueOptions } from './channel-options.ts'

export const emptyTable: FieldTable = Object.freeze({})

/** Each rejects with an AmqpError when the server refuses, which closes the channel. */
export abstract class Declarations {
  /** Writes a request and waits for its answer, which `answered` sees first, inside the reading of it. */
  protected abstract ask<Answer extends Method>(request: Method, answered?: (answer: Answer) => void): Promise<Answer>

  /** An empty name: the server makes one. */
  async declareQueue(
    name: string,
    options: QueueOptions = {},
  ): Promise<{ queue: string; messageCount: number; consumerCount: number }> {
    const answer = await this.ask<QueueDeclareOk>({
      id: QUEUE_DECLARE,
      queue: name,
      passive: options.passive ?? false,
      durable: options.durable ?? false,
      exclusive: options.exclusive ?? false,
      autoDelete: options.autoDelete ?? false,
      noWait: false,
      arguments: options.arguments ?? emptyTable,
    })
    return { queue: answer.queue, messageCount: answer.messageCount, consumerCount: answer.consumerCount }
  }

  /** Resolves with the number of messages that went with it. */
  async deleteQueue(name: string, options: { ifUnused?: boolean; ifEmpty?: boolean } = {}): Promise<number> {
    const { ifUnused = false, ifEmpty = false } = options
    const answer = await this.ask<QueueDeleteOk>({
      id: QUEUE_DELETE,
      queue: name,
      ifUnused,
      ifEmpty,
      noWait: false,
    })
    return answer.messageCount
  }

  /** Deletes the messages that are ready, and resolves with their number. */
  async purgeQueue(name: string): Promise<number> {
    const answer = await this.ask<QueueDeleteOk>({ id: QUEUE_PURGE, queue: name, noWait: false })
    return answer.messageCount
  }

  async bindQueue(queue: string, exchange: string, routingKey: string, table: FieldTable = emptyTable): Promise<void> {
    await this.ask({ id: QUEUE_BIND, queue, exchange, routingKey, noWait: false, arguments: table })
  }

  async unbindQueue(
    queue: string,
    exchange: string,
    routingKey: string,
    table: FieldTable = emptyTable,
  ): Promise<void> {
    await this.ask({ id: QUEUE_UNBIND, queue, exchange, routingKey, arguments: table })
  }

  async declareExchange(name: string, type: string, options: ExchangeOptions = {}): Promise<void> {
    await this.ask({
      id: EXCHANGE_DECLARE,
      exchange: name,
      type,
      passive: options.passive ?? false,
      durable: options.durable ?? false,
      autoDelete: options.autoDelete ?? false,
      internal: options.internal ?? false,
      noWait: false,
      arguments: options.arguments ?? emptyTable,
    })
  }

  async deleteExchange(name: string, options: { ifUnused?: boolean } = {}): Promise<void> {
    await this.ask({ id: EXCHANGE_DELETE, exchange: name, ifUnused: options.ifUnused ?? false, noWait: false })
  }

  async bindExchange(
    destination: string,
    source: string,
    routingKey: string,
    table: FieldTable = emptyTable,
  ): Promise<void> {
    await this.ask({ id: EXCHANGE_BIND, destination, source, routingKey, noWait: false, arguments: table })
  }

  async unbindExchange(
    destination: string,
    source: string,
    routingKey: string,
    table: FieldTable = emptyTable,
  ): Promise<void> {
    await this.ask({ id: EXCHANGE_UNBIND, destination, source, routingKey, noWait: false, arguments: table })
  }
}
