/** Drivers on the real RabbitMQ for a test, with names of its own, and everything gone afterwards. */
import { randomBytes } from 'node:crypto'
import { type Connection, connect } from '@chasqui/amqp/client'
import type {
  Batch,
  ChasquiError,
  Driver,
  Incoming,
  OpenOptions,
  Outgoing,
  SendResult,
  Sink,
  WireMessage,
} from '@chasqui/driver'
import { onTestFinished, vi } from 'vitest'
import { open } from '../src/index.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Absent where no broker is; the tests that need one say so with `describe.runIf`. */
export const brokerUrl = process.env.CHASQUI_RABBITMQ_URL ?? ''

/** One patience for everything that a test waits for. */
export const patienceMs = 20_000

export function poll(assertion: () => unknown): Promise<unknown> {
  return vi.waitFor(assertion, { timeout: patienceMs, interval: 10 })
}

export async function openDriver(options: Partial<OpenOptions> = {}): Promise<Driver> {
  const driver = await open({ urls: [brokerUrl], name: 'chasqui test', connectTimeoutMs: 5000, ...options })
  onTestFinished(() => driver.close())
  return driver
}

/** A way to the broker that can be cut. Ask for it before the driver, so that it goes after. */
export async function openProxy(): Promise<TcpProxy> {
  const proxy = await TcpProxy.to(brokerUrl)
  onTestFinished(() => proxy.refuse())
  return proxy
}

/** A connection without a driver, for what a foreign program would do. */
export async function foreignConnection(): Promise<Connection> {
  const connection = await connectBare()
  onTestFinished(() => connection.close())
  return connection
}

async function connectBare(): Promise<Connection> {
  const { hostname, port } = new URL(brokerUrl)
  return await connect({
    host: hostname,
    port: Number(port || 5672),
    username: 'guest',
    password: 'guest',
    connectionName: 'chasqui test, foreign',
  })
}

/** A name that no other run uses; queues and exchanges that begin with it are deleted when the test ends. */
export function uniqueName(...alsoDeleted: readonly string[]): string {
  const name = `t-${randomBytes(6).toString('hex')}`
  onTestFinished(async () => {
    const connection = await connectBare()
    const channel = await connection.openChannel()
    for (const ending of ['', '.dead-letter', ...alsoDeleted]) await channel.deleteQueue(name + ending)
    await channel.deleteExchange(name)
    await connection.close()
  })
  return name
}

export function inSeconds(seconds: number): number {
  return Date.now() + seconds * 1000
}

export function messageOf(text: string, fields: Partial<WireMessage> = {}): WireMessage {
  return { id: text, attributes: {}, headers: {}, durable: true, body: Buffer.from(text), ...fields }
}

export function toQueue(name: string, ...texts: readonly string[]): Outgoing[] {
  return texts.map(text => ({ to: { kind: 'queue', name }, message: messageOf(text) }))
}

export function texts(count: number, prefix = 'm'): string[] {
  return Array.from({ length: count }, (_, index) => `${prefix}${index}`)
}

/** `ok`, or the code of the failure with a question mark if it is in doubt. */
export function told(results: readonly SendResult[]): string[] {
  return results.map(result => (result.ok ? 'ok' : `${result.error.code}${result.inDoubt ? '?' : ''}`))
}

/** Keeps what it is given. */
export class Collector implements Sink {
  readonly batches: Batch[] = []
  readonly items: (Incoming & { lane: string; epoch: number })[] = []
  readonly revoked: number[] = []
  readonly failures: ChasquiError[] = []

  deliver(batch: Batch): void {
    this.batches.push(batch)
    for (const item of batch.items) this.items.push({ ...item, lane: batch.lane, epoch: batch.epoch })
  }

  async revoke(_lane: string, epoch: number): Promise<void> {
    this.revoked.push(epoch)
  }

  fail(error: ChasquiError): void {
    this.failures.push(error)
  }

  get texts(): string[] {
    return this.items.map(({ message }) => Buffer.from(message.body).toString())
  }
}
