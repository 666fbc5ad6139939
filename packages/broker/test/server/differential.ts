/**
 * The same dialogue with RabbitMQ and with our broker: what a client sends, and every word that comes back, with names
 * that differ by nature (queues of the run, generated names, times) replaced.
 */
import {
  BASIC_ACK,
  BASIC_CONSUME,
  BASIC_GET,
  BASIC_NACK,
  type BasicProperties,
  EXCHANGE_DECLARE,
  type FieldTable,
  type Method,
  methodNames,
  QUEUE_BIND,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
} from '@chasqui/amqp'
import { expect, onTestFinished } from 'vitest'
import type { Event, RawClient } from './raw-client.ts'
import { connected, rawChannel, serve } from './serving.ts'

export const rabbitmqUrl = process.env.CHASQUI_RABBITMQ_URL ?? ''
export const rabbitmqPort = Number(new URL(rabbitmqUrl || 'amqp://absent').port || 5672)

/** One client's side of it. `name` begins the names of everything that it declares. */
export class Dialogue {
  readonly name: string
  readonly port: number
  readonly lines: string[]
  readonly #client: RawClient

  constructor(client: RawClient, port: number, name: string, lines: string[] = []) {
    this.#client = client
    this.port = port
    this.name = name
    this.lines = lines
  }

  /** Another connection of the same dialogue; its words go into the same list. */
  async another(): Promise<Dialogue> {
    return new Dialogue(await rawChannel(this.port), this.port, this.name, this.lines)
  }

  /** Sends a method to which nothing is answered. */
  tell(method: Method): void {
    this.#client.send(1, method)
  }

  /** Sends a method and notes what comes back, so many answers. */
  async ask(method: Method, answers = 1): Promise<void> {
    this.tell(method)
    await this.note(answers)
  }

  publish(
    routingKey: string,
    body: string,
    options: { exchange?: string; mandatory?: boolean; properties?: BasicProperties } = {},
  ): void {
    this.#client.publish(1, routingKey, body, options)
  }

  /** Notes the next words, so many. */
  async note(count: number): Promise<Event[]> {
    const events: Event[] = []
    for (let left = count; left > 0; left--) {
      const event = await this.#client.next()
      this.lines.push(this.#shown(event))
      events.push(event)
    }
    return events
  }

  /** Asks for the queue's first message until there is one, and notes it; `noAck` leaves nothing to be settled. */
  async noteGot(queue: string, noAck = true): Promise<Event> {
    for (const deadline = Date.now() + 10_000; ; ) {
      this.tell({ id: BASIC_GET, queue, noAck })
      const event = await this.#client.next()
      if (event.kind === 'content') {
        this.lines.push(this.#shown(event))
        return event
      }
      if (Date.now() > deadline) throw new Error(`nothing came into ${queue}`)
      await new Promise(resolve => setTimeout(resolve, 10))
    }
  }

  /** Waits until so many messages wait in the queue. */
  async waiting(name: string, messages: number): Promise<void> {
    for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
      this.tell(queue(name, {}, { passive: true }))
      const { messageCount } = await this.#client.method(QUEUE_DECLARE_OK)
      if (messageCount === messages) return
      await new Promise(resolve => setTimeout(resolve, 10))
    }
    throw new Error(`never ${messages} messages in ${name}`)
  }

  #shown(event: Event): string {
    if (event.kind !== 'method' && event.kind !== 'content') return event.kind
    const { id, ...fields } = event.method
    const content = event.kind === 'content' ? { properties: event.properties, body: event.body } : {}
    const text = JSON.stringify({ ...fields, ...content }, (key, value) => {
      if (typeof value === 'bigint') return `${value}n`
      if (key === 'time') return 'TIME'
      return isTable(value) ? Object.fromEntries(Object.entries(value).sort()) : value
    })
    return `${methodNames.get(id)} ${text
      .replaceAll(this.name, 'NAME')
      .replaceAll(/amq\.(ctag|gen)-[\w-]+/g, 'amq.$1-...')
      .replaceAll(/amq\.rabbitmq\.reply-to\.[\w.+/=-]+/g, 'REPLY-ADDRESS')}`
  }
}

/** Tables have no order. */
function isTable(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Holds the dialogue with both; our words, which were the same behind `alike`. */
export async function both(
  script: (dialogue: Dialogue) => Promise<void>,
  alike: (line: string) => string = line => line,
): Promise<readonly string[]> {
  const { port } = await serve()
  const ours = await held(port, script)
  const theirs = await held(rabbitmqPort, script)
  expect(ours.map(alike)).toEqual(theirs.map(alike))
  return ours
}

async function held(port: number, script: (dialogue: Dialogue) => Promise<void>): Promise<readonly string[]> {
  const name = `chasqui-differential-${process.pid}-${Math.random().toString(36).slice(2)}`
  onTestFinished(() => removed(port, name))
  const dialogue = new Dialogue(await rawChannel(port), port, name)
  await script(dialogue)
  return dialogue.lines
}

/** Whatever a dialogue may leave behind: its queues and exchanges end in nothing or in one of these. */
async function removed(port: number, name: string): Promise<void> {
  if (port !== rabbitmqPort) return
  const connection = await connected(port)
  const channel = await connection.openChannel()
  for (const suffix of ['', '-a', '-b', '-c', '-d']) {
    await channel.deleteQueue(name + suffix)
    await channel.deleteExchange(name + suffix)
  }
  await connection.close()
}

export const queue = (name: string, args: FieldTable = {}, change: object = {}): Method => ({
  id: QUEUE_DECLARE,
  queue: name,
  passive: false,
  durable: false,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: args,
  ...change,
})

export const exchange = (name: string, type: string, args: FieldTable = {}, change: object = {}): Method => ({
  id: EXCHANGE_DECLARE,
  exchange: name,
  type,
  passive: false,
  durable: false,
  autoDelete: false,
  internal: false,
  noWait: false,
  arguments: args,
  ...change,
})

export const bind = (name: string, source: string, routingKey: string): Method => ({
  id: QUEUE_BIND,
  queue: name,
  exchange: source,
  routingKey,
  noWait: false,
  arguments: {},
})

export const consume = (name: string, consumerTag: string, change: object = {}): Method => ({
  id: BASIC_CONSUME,
  queue: name,
  consumerTag,
  noLocal: false,
  noAck: false,
  exclusive: false,
  noWait: false,
  arguments: {},
  ...change,
})

export const ack = (deliveryTag: number, multiple = false): Method => ({ id: BASIC_ACK, deliveryTag, multiple })
export const nack = (deliveryTag: number, requeue: boolean, multiple = false): Method => ({
  id: BASIC_NACK,
  deliveryTag,
  multiple,
  requeue,
})
