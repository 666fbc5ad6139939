/**
 * Delayed messages on RabbitMQ without a plugin: 28 queues, each of which keeps a message for a time of its own, and
 * exchanges that lead a message through those whose times add up to its delay.
 *
 *     exchange 27 --bit 1--> queue 27, time to live 100 ms x 2^27 --dead-lettered--+
 *        | bit 0                                                                   |
 *        +------------------------------> exchange 26 <----------------------------+
 *     ...                                 exchange 0, queue 0 likewise
 *     due exchange --its place--> queue, or exchange of a topic (and the sink)
 *        | no such place
 *        +--> queue undeliverable
 *
 *     routing key    [bit 27] . [bit 26] ... [bit 0] . [place] ( . [routing key of a topic] )
 *
 * A place is a queue's or topic's name with / for each dot, so that it is one word. A delay counts in steps of 100 ms,
 * rounded up; a message enters at its highest bit, and without backlog arrives some milliseconds late for each bit that is
 * set. All queues are quorum queues that dead-letter at least once: a message stays where it is until the next place has
 * confirmed it. Hence nothing may be without a place to go to, or it would stop all behind it: that is what the sink
 * (a topic without subscriptions has none) and the undeliverable queue (a queue that was deleted) are for.
 */
import { createHash } from 'node:crypto'
import { AmqpError, type FieldTable, type FieldValue } from '@chasqui/amqp'
import type { Channel, Connection } from '@chasqui/amqp/client'
import { ChasquiError } from '@chasqui/driver'
import type { Address, DelayRoutes } from '@chasqui/driver-amqp'
import { bringBack, type Orphanage } from './orphans.ts'

/** The shortest time that a message is kept, in milliseconds. */
const stepMs = 100
const levels = 28
const longestSteps = 2 ** levels - 1
/** The longest routing key, in bytes (AMQP 0-9-1 section 4.2.5.3, short strings). */
const maxKeyBytes = 255
// Reply codes (AMQP 0-9-1 section 1.2, constants).
const connectionForced = 320
const notFound = 404

// Nobody else may give a name this last part (DESIGN, "Names").
const dueExchange = 'chasqui.due.delayed'
const orphanExchange = 'chasqui.undeliverable.delayed'
const sinkQueue = 'chasqui.sink.delayed'
/** Holds delayed messages whose queue was gone when their moment came, until a delayed message is sent there again. */
const undeliverableQueue = 'chasqui.undeliverable.delayed'

const anyBits = Array(levels).fill('*').join('.')
const levelQueue = /^chasqui\.\d\d\.delayed$/

/** A queue at which a message waits, or the sink: durable, and handing on at least once. */
const quorum = { 'x-queue-type': 'quorum', 'x-overflow': 'reject-publish' } as const

/** The detours of one driver. */
export class DelayLevels implements DelayRoutes {
  /** Connections on which the levels were declared. */
  #declared = new WeakMap<Connection, Promise<void>>()

  async prepare(connection: Connection, address: Address): Promise<void> {
    try {
      let declared = this.#declared.get(connection)
      if (declared === undefined) {
        declared = withChannel(connection, declareLevels)
        this.#declared.set(connection, declared)
      }
      await declared
      const orphans = await withChannel(connection, channel => bindPlace(channel, address))
      if (orphans > 0) await bringBack(connection, orphanageOf(address))
    } catch (error) {
      this.#declared.delete(connection)
      throw error instanceof AmqpError ? unprepared(error, address) : error
    }
  }

  forget(): void {
    this.#declared = new WeakMap()
  }

  detour(address: Address, delayMs: number): Address | undefined {
    const steps = Math.ceil(delayMs / stepMs)
    if (steps > longestSteps) return undefined
    const highest = 31 - Math.clz32(steps)
    return { exchange: levelName(highest), routingKey: detourKey(steps, address) }
  }

  departing(headers: FieldTable): FieldTable {
    return withoutDeaths(headers)
  }

  arriving(headers: FieldTable): FieldTable {
    return withoutOurDeaths(headers)
  }
}

async function withChannel<Result>(
  connection: Connection,
  work: (channel: Channel) => Promise<Result>,
): Promise<Result> {
  const channel = await connection.openChannel()
  try {
    return await work(channel)
  } finally {
    if (!channel.closed) await channel.close()
  }
}

/** Orphans of this place, which end as they would have without a detour; of a topic, with the key that they were sent with. */
function orphanageOf(address: Address): Orphanage {
  const place = placeOf(address)
  return {
    queue: undeliverableQueue,
    addressOf(routingKey) {
      const [, ...parts] = new RegExp(`^(?:[01]\\.){${levels}}([^.]*)(?:\\.(.*))?$`).exec(routingKey) ?? []
      if (parts[0] !== place) return undefined
      return address.exchange === '' ? address : { exchange: address.exchange, routingKey: parts[1] ?? '' }
    },
    restored: properties => ({ ...properties, headers: withoutDeaths(properties.headers ?? {}) }),
  }
}

function unprepared(cause: AmqpError, { exchange, routingKey }: Address): ChasquiError {
  const place = exchange === '' ? `queue '${routingKey}'` : `topic '${exchange}'`
  const options = { cause, details: { exchange, routingKey } }
  if (cause.replyCode === connectionForced) {
    return new ChasquiError(
      'disconnected',
      `The broker closed the connection (${cause.replyText}). Try again.`,
      options,
    )
  }
  if (cause.replyCode === notFound) {
    return new ChasquiError(
      'destination-missing',
      `There is no ${place} to delay a message for (${cause.replyText}). Create it, or let Chasqui do so.`,
      options,
    )
  }
  return new ChasquiError(
    'delay-unsupported',
    `The broker does not make what delayed messages need, queues and exchanges chasqui.*.delayed and their way to ${place} (${cause.replyText}). RabbitMQ 3.10 and later can; grant the permissions, or send without delay.`,
    options,
  )
}

/** A second pass through a queue with x-death headers of the first is taken for a cycle, and the message dropped. */
function withoutDeaths(headers: FieldTable): FieldTable {
  return filtered(headers, name => !isDeath(name))
}

/** Those of other queues stay: they say why a foreign broker dead-lettered the message. */
function withoutOurDeaths(headers: FieldTable): FieldTable {
  const deaths = headers['x-death']
  if (!Array.isArray(deaths)) return headers
  const others = deaths.filter(death => !levelQueue.test(queueOfDeath(death)))
  if (others.length === deaths.length) return headers
  if (others.length === 0) return withoutDeaths(headers)
  const kept = filtered(
    headers,
    name => !(name.startsWith('x-first-death-') && levelQueue.test(String(headers['x-first-death-queue']))),
  )
  return { ...kept, 'x-death': others }
}

function queueOfDeath(death: FieldValue): string {
  const queue = typeof death === 'object' && death !== null && 'queue' in death ? death.queue : undefined
  return typeof queue === 'string' ? queue : ''
}

function isDeath(name: string): boolean {
  return name === 'x-death' || name.startsWith('x-first-death-') || name.startsWith('x-last-death-')
}

function filtered(headers: FieldTable, keep: (name: string) => boolean): FieldTable {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => keep(name)))
}

/** All in one round trip, bar the waiting: the broker does them in order. What exists is declared as it is. */
async function declareLevels(channel: Channel): Promise<void> {
  const made: Promise<unknown>[] = [
    channel.declareExchange(orphanExchange, 'fanout', { durable: true }),
    channel.declareQueue(undeliverableQueue, {
      durable: true,
      arguments: { ...quorum, 'x-delivery-limit': 1_000_000 },
    }),
    channel.bindQueue(undeliverableQueue, orphanExchange, ''),
    channel.declareExchange(dueExchange, 'topic', {
      durable: true,
      arguments: { 'alternate-exchange': orphanExchange },
    }),
    // Takes what a topic's exchange has no use for; one is as good as many.
    channel.declareQueue(sinkQueue, { durable: true, arguments: { 'x-queue-type': 'quorum', 'x-max-length': 1 } }),
  ]
  for (let level = 0; level < levels; level++) {
    const name = levelName(level)
    const next = level === 0 ? dueExchange : levelName(level - 1)
    const before = Array(levels - 1 - level).fill('*')
    made.push(
      channel.declareExchange(name, 'topic', { durable: true }),
      channel.declareQueue(name, {
        durable: true,
        arguments: {
          ...quorum,
          'x-message-ttl': stepMs * 2 ** level,
          'x-dead-letter-exchange': next,
          'x-dead-letter-strategy': 'at-least-once',
        },
      }),
      channel.bindQueue(name, name, [...before, '1', '#'].join('.')),
      channel.bindExchange(next, name, [...before, '0', '#'].join('.')),
    )
  }
  await all(made)
}

/** Resolves with the number of messages that have no place, this one's perhaps. */
async function bindPlace(channel: Channel, address: Address): Promise<number> {
  const { exchange } = address
  const pattern = `${anyBits}.${placeOf(address)}`
  if (exchange === '') await channel.bindQueue(address.routingKey, dueExchange, pattern)
  else {
    await all([
      channel.bindExchange(exchange, dueExchange, `${pattern}.#`),
      channel.bindQueue(sinkQueue, dueExchange, `${pattern}.#`),
    ])
  }
  const { messageCount } = await channel.declareQueue(undeliverableQueue, { passive: true })
  return messageCount
}

/** The first failure; the others follow from it, for it closed the channel. */
async function all(made: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(made)).find(result => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

function levelName(level: number): string {
  return `chasqui.${String(level).padStart(2, '0')}.delayed`
}

function detourKey(steps: number, address: Address): string {
  const bits = [...steps.toString(2).padStart(levels, '0')].join('.')
  const key = `${bits}.${placeOf(address)}`
  if (address.exchange === '') return key
  const whole = `${key}.${address.routingKey}`
  if (Buffer.byteLength(whole) <= maxKeyBytes) return whole
  // The lane must arrive, the type is in the message's own properties.
  const lane = /\.lane-\d+$/.exec(address.routingKey)?.[0] ?? ''
  return key + lane
}

/** One word for a queue or a topic. Names long enough to leave no room for the rest of a key stand for themselves by a hash. */
function placeOf({ exchange, routingKey }: Address): string {
  const name = exchange === '' ? routingKey : exchange
  const word = name.replaceAll('.', '/')
  return Buffer.byteLength(word) <= 180 ? word : createHash('sha256').update(name).digest('hex')
}
