/**
 * What the AMQP server costs: a broker in a process of its own, one client process that publishes with confirms and
 * consumes with acknowledgements, both over loopback. Prints messages per second and the broker's CPU per message.
 *
 *     node --conditions=@chasqui/source packages/broker/bench/server.ts [--messages N] [--bytes N] [--only NAME]
 *
 * CPU is the broker's own (`process.cpuUsage`), so a slow client does not blur it.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type Channel, connect } from '@chasqui/amqp/client'
import { Broker } from '@chasqui/broker'

interface Usage {
  readonly cpuUs: number
  readonly rssMb: number
}

const serverRole = 'serve'

/** The broker's process: says its port, and what it has used whenever it is asked. */
async function serve(dataDirectory: string | undefined): Promise<void> {
  const broker = new Broker({ dataDirectory, listeners: [{ host: '127.0.0.1', port: 0 }] })
  await broker.start()
  process.on('disconnect', () => process.exit())
  const address = broker.addresses[0]!
  process.on('message', message => {
    if (message === 'stop') {
      void broker.close().then(() => process.disconnect())
      return
    }
    const { user, system } = process.cpuUsage()
    process.send!({ cpuUs: user + system, rssMb: process.memoryUsage.rss() / 1024 ** 2 } satisfies Usage)
  })
  process.send!('port' in address ? address.port : 0)
}

async function measure(): Promise<void> {
  const { values } = parseArgs({
    options: {
      messages: { type: 'string', default: '200000' },
      bytes: { type: 'string', default: '100' },
      only: { type: 'string', default: '' },
    },
  })
  const messages = Number(values.messages)
  const body = Buffer.alloc(Number(values.bytes), 'x')
  console.log(`${messages} messages of ${body.length} B, Node ${process.versions.node}, ${cpus()[0]?.model.trim()}`)
  for (const stored of [false, true]) {
    const directory = stored ? mkdtempSync(join(tmpdir(), 'chasqui-bench-')) : undefined
    const server = fork(
      fileURLToPath(import.meta.url),
      directory === undefined ? [serverRole] : [serverRole, directory],
    )
    const [port] = (await once(server, 'message')) as [number]
    for (const { name, run, onFull } of runs) {
      const title = `${stored ? 'durable' : 'memory'} ${name}`
      if (!title.includes(values.only)) continue
      if (onFull) await fill(port, messages, body, stored)
      await report(server, title, messages, () => run(port, messages, body, stored))
      await empty(port)
    }
    server.send('stop')
    await once(server, 'exit')
    if (directory !== undefined) rmSync(directory, { recursive: true })
  }
}

async function report(server: ChildProcess, title: string, messages: number, run: () => Promise<void>): Promise<void> {
  const before = await usage(server)
  const startedMs = performance.now()
  await run()
  const seconds = (performance.now() - startedMs) / 1000
  const after = await usage(server)
  const perSecond = Math.round(messages / seconds).toLocaleString('en')
  const cpuUs = ((after.cpuUs - before.cpuUs) / messages).toFixed(2)
  console.log(
    `${title.padEnd(42)} ${perSecond.padStart(9)} msg/s  ${cpuUs.padStart(6)} us/msg  ${after.rssMb.toFixed(0)} MB`,
  )
}

async function usage(server: ChildProcess): Promise<Usage> {
  server.send('usage')
  const [used] = (await once(server, 'message')) as [Usage]
  return used
}

type Run = (port: number, messages: number, body: Buffer, durable: boolean) => Promise<void>

/** `onFull`: the queue holds all the messages before the measuring begins. It is deleted after each run. */
const runs: readonly { name: string; run: Run; onFull: boolean }[] = [
  { name: 'publish, no confirms', run: fill, onFull: false },
  { name: 'publish + confirm, window 1000', run: confirmed, onFull: false },
  { name: 'consume + ack each, prefetch 1000', run: drain, onFull: true },
  { name: 'consume no-ack', run: drainNoAck, onFull: true },
  { name: 'publish + confirm -> consume + ack', run: throughput, onFull: false },
]

const queue = 'bench'

async function fill(port: number, messages: number, body: Buffer, durable: boolean): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port })
  const channel = await connection.openChannel()
  await channel.declareQueue(queue, { durable })
  const properties = { deliveryMode: durable ? 2 : 1 }
  for (let sent = 0; sent < messages; sent++) {
    channel.publish('', queue, properties, body)
    if (!connection.writable) await new Promise<void>(resolve => drained(connection, resolve))
  }
  // Answered when everything before it on the channel is done.
  await channel.declareQueue(queue, { passive: true })
  await connection.close()
}

async function empty(port: number): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port })
  await (await connection.openChannel()).deleteQueue(queue)
  await connection.close()
}

function drained(connection: { onDrain(listener: () => void): () => void }, done: () => void): void {
  const stop = connection.onDrain(() => {
    stop()
    done()
  })
}

async function drain(port: number, messages: number): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port })
  const channel = await connection.openChannel()
  await channel.qos(1000)
  await consumeAll(channel, messages, false)
  await connection.close()
}

async function drainNoAck(port: number, messages: number): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port })
  await consumeAll(await connection.openChannel(), messages, true)
  await connection.close()
}

function consumeAll(channel: Channel, messages: number, noAck: boolean): Promise<void> {
  let received = 0
  return new Promise((resolve, reject) => {
    channel
      .consume(queue, { noAck }, delivery => {
        if (!noAck) channel.ack(delivery.deliveryTag)
        if (++received === messages) resolve()
      })
      .catch(reject)
  })
}

async function confirmed(port: number, messages: number, body: Buffer, durable: boolean): Promise<void> {
  const connection = await connect({ host: '127.0.0.1', port })
  const channel = await connection.openChannel()
  await publishConfirmed(channel, messages, body, durable)
  await connection.close()
}

async function publishConfirmed(channel: Channel, messages: number, body: Buffer, durable: boolean): Promise<void> {
  await channel.declareQueue(queue, { durable })
  await channel.confirmSelect()
  const properties = { deliveryMode: durable ? 2 : 1 }
  const window = 1000
  let sent = 0
  let settled = 0
  await new Promise<void>((resolve, reject) => {
    const next = () => {
      while (sent < messages && sent - settled < window) {
        sent++
        channel.publishConfirmed('', queue, properties, body, {}, outcome => {
          settled++
          if (outcome !== 'ack') reject(new Error('a message was refused'))
          else if (settled === messages) resolve()
          else if (sent - settled <= window / 2) next()
        })
      }
    }
    next()
  })
}

async function throughput(port: number, messages: number, body: Buffer, durable: boolean): Promise<void> {
  const [producer, consumer] = await Promise.all([
    connect({ host: '127.0.0.1', port }),
    connect({ host: '127.0.0.1', port }),
  ])
  const out = await producer.openChannel()
  await out.declareQueue(queue, { durable })
  const channel = await consumer.openChannel()
  await channel.qos(1000)
  await Promise.all([consumeAll(channel, messages, false), publishConfirmed(out, messages, body, durable)])
  await Promise.all([producer.close(), consumer.close()])
}

if (process.argv[2] === serverRole) await serve(process.argv[3])
else await measure()
