/**
 * One AMQP client doing one thing, as a process of its own: `amqp-contender.ts CLIENT SCENARIO MESSAGES`. Prints one
 * line of JSON. Both clients get the same work, written the way their users write it.
 */
import { connect as connectChasqui } from '@chasqui/amqp/client'
import { connect as connectAmqplib } from 'amqplib'

export type ClientName = 'chasqui' | 'amqplib'
export type Scenario = 'publish' | 'consume' | 'consume-async' | 'latency'

export interface Report {
  readonly messages: number
  readonly seconds: number
  readonly cpuMicros: number
  readonly p50Micros?: number
  readonly p99Micros?: number
}

/** What the scenarios need of a client: nothing that either would do in another way by itself. */
interface Client {
  /** Calls back when the broker has confirmed. */
  publish(body: Buffer, confirmed: () => void): void
  /** The handler is given the body and what acknowledges it. */
  consume(handler: (body: Buffer, ack: () => void) => void): Promise<void>
  close(): Promise<void>
}

export const bodyBytes = 100
export const unconfirmedWindow = 1000
export const prefetch = 1000
const warmupMessages = 20_000
const latencyRate = 1000

const url = new URL(process.env.CHASQUI_RABBITMQ_URL ?? 'amqp://guest:guest@127.0.0.1:5672')

async function openChasqui(queue: string): Promise<Client> {
  const connection = await connectChasqui({
    host: url.hostname,
    port: Number(url.port || 5672),
    username: url.username || 'guest',
    password: url.password || 'guest',
  })
  const channel = await connection.openChannel()
  await channel.declareQueue(queue, { durable: true })
  await channel.confirmSelect()
  await channel.qos(prefetch)
  return {
    publish(body, confirmed) {
      channel.publishConfirmed('', queue, { deliveryMode: 2 }, body, undefined, outcome => {
        if (outcome !== 'ack') throw new Error('A message was not confirmed.')
        confirmed()
      })
    },
    async consume(handler) {
      await channel.consume(queue, {}, delivery => handler(delivery.body, () => channel.ack(delivery.deliveryTag)))
    },
    async close() {
      await connection.close()
    },
  }
}

async function openAmqplib(queue: string): Promise<Client> {
  const connection = await connectAmqplib(url.href)
  const channel = await connection.createConfirmChannel()
  await channel.assertQueue(queue, { durable: true })
  await channel.prefetch(prefetch)
  return {
    publish(body, confirmed) {
      channel.publish('', queue, body, { deliveryMode: 2 }, (error: unknown) => {
        if (error) throw new Error('A message was not confirmed.', { cause: error })
        confirmed()
      })
    },
    async consume(handler) {
      await channel.consume(queue, message => {
        if (message === null) throw new Error('The consumer was cancelled.')
        handler(message.content, () => channel.ack(message))
      })
    },
    async close() {
      await connection.close()
    },
  }
}

function openClient(name: ClientName, queue: string): Promise<Client> {
  return name === 'chasqui' ? openChasqui(queue) : openAmqplib(queue)
}

/** Publishes with so many unconfirmed and calls back each time one more may go. */
function publishAll(client: Client, messages: number): Promise<void> {
  const body = Buffer.alloc(bodyBytes, 'x')
  return new Promise(resolve => {
    let sent = 0
    let confirmed = 0
    const send = (): void => {
      sent++
      client.publish(body, onConfirmed)
    }
    const onConfirmed = (): void => {
      if (++confirmed === messages) resolve()
      else if (sent < messages) send()
    }
    while (sent < Math.min(unconfirmedWindow, messages)) send()
  })
}

class Stopwatch {
  readonly #cpu = process.cpuUsage()
  readonly #started = performance.now()

  report(messages: number): Report {
    const { user, system } = process.cpuUsage(this.#cpu)
    return { messages, seconds: (performance.now() - this.#started) / 1000, cpuMicros: user + system }
  }
}

async function publishing(name: ClientName, queue: string, messages: number): Promise<Report> {
  const client = await openClient(name, queue)
  await publishAll(client, warmupMessages)
  const stopwatch = new Stopwatch()
  await publishAll(client, messages)
  const report = stopwatch.report(messages)
  await client.close()
  return report
}

async function consuming(name: ClientName, queue: string, messages: number, async: boolean): Promise<Report> {
  const filler = await openChasqui(queue)
  await publishAll(filler, warmupMessages + messages)
  await filler.close()
  const client = await openClient(name, queue)
  let seen = 0
  let stopwatch: Stopwatch | undefined
  const report = await new Promise<Report>((resolve, reject) => {
    const count = (): void => {
      seen++
      if (seen === warmupMessages) stopwatch = new Stopwatch()
      if (seen === warmupMessages + messages) resolve(stopwatch!.report(messages))
    }
    const handler = async
      ? async (_body: Buffer, ack: () => void): Promise<void> => {
          await null
          ack()
          count()
        }
      : (_body: Buffer, ack: () => void): void => {
          ack()
          count()
        }
    client.consume(handler).catch(reject)
  })
  await client.close()
  return report
}

/** A message each millisecond from one connection to another; how long each was under way. */
async function latency(name: ClientName, queue: string, messages: number): Promise<Report> {
  const [sender, receiver] = [await openClient(name, queue), await openClient(name, queue)]
  const micros: number[] = []
  const warmup = latencyRate
  const report = await new Promise<Report>((resolve, reject) => {
    let stopwatch: Stopwatch | undefined
    let seen = 0
    let confirmed = 0
    const total = warmup + messages
    const finish = (): void => {
      if (seen === total && confirmed === total) resolve(stopwatch!.report(messages))
    }
    receiver
      .consume((body, ack) => {
        const age = Number(process.hrtime.bigint() - body.readBigInt64BE(0)) / 1000
        ack()
        seen++
        if (seen === warmup) stopwatch = new Stopwatch()
        if (seen > warmup) micros.push(age)
        finish()
      })
      .catch(reject)
    const started = performance.now()
    let sent = 0
    const timer = setInterval(() => {
      const due = Math.min(((performance.now() - started) * latencyRate) / 1000, total)
      for (; sent < due; sent++) {
        const body = Buffer.alloc(bodyBytes)
        body.writeBigInt64BE(process.hrtime.bigint())
        sender.publish(body, () => {
          confirmed++
          finish()
        })
      }
      if (sent >= total) clearInterval(timer)
    }, 1)
  })
  await sender.close()
  await receiver.close()
  micros.sort((a, b) => a - b)
  return { ...report, p50Micros: micros[micros.length >> 1]!, p99Micros: micros[Math.floor(micros.length * 0.99)]! }
}

async function removeQueue(queue: string): Promise<void> {
  const connection = await connectChasqui({
    host: url.hostname,
    port: Number(url.port || 5672),
    username: url.username || 'guest',
    password: url.password || 'guest',
  })
  await (await connection.openChannel()).deleteQueue(queue)
  await connection.close()
}

if (import.meta.main) {
  const [name, scenario, count] = process.argv.slice(2) as [ClientName, Scenario, string]
  const queue = `bench-amqp-${process.pid}`
  const messages = Number(count)
  try {
    const report =
      scenario === 'publish'
        ? await publishing(name, queue, messages)
        : scenario === 'latency'
          ? await latency(name, queue, messages)
          : await consuming(name, queue, messages, scenario === 'consume-async')
    console.log(JSON.stringify(report))
  } finally {
    await removeQueue(queue)
  }
}
