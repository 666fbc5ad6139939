/**
 * The engine alone, in this process and without the wire: messages a second through publish, delivery and ack, and what
 * a message costs in CPU; then the same durable and confirmed, next to what the disk itself does.
 *
 *     node --conditions=@chasqui/source packages/broker/bench/engine.ts [--json] [--directory DIR] [--messages N]
 */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { encodeProperties } from '@chasqui/amqp'
import { Broker, type BrokerMessage, type Session, type VirtualHost } from '@chasqui/broker'

const { values } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    directory: { type: 'string', default: tmpdir() },
    messages: { type: 'string', default: '1000000' },
  },
})
const messages = Number(values.messages)
/** Messages published per turn of the event loop, as a busy program would. */
const burst = 1000
/** Unconfirmed messages at most. */
const window = 20_000

interface Row {
  readonly name: string
  readonly messagesPerSecond: number
  readonly cpuMicrosecondsPerMessage: number
}

const rows: Row[] = []
const properties = { deliveryMode: 2, contentType: 'application/json', messageId: '0123456789abcdef' }
const template: BrokerMessage = {
  exchange: '',
  routingKey: 'bench',
  properties,
  propertyBytes: encodeProperties(properties),
  body: Buffer.alloc(100, 'x'),
  persistent: true,
}

const nextTick = () => new Promise(resolve => setImmediate(resolve))

async function measure(name: string, count: number, run: () => Promise<void>): Promise<void> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await run()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  rows.push({
    name,
    messagesPerSecond: Math.round(count / seconds),
    cpuMicrosecondsPerMessage: Number(((user + system) / count).toFixed(3)),
  })
}

async function throughMemory(): Promise<void> {
  const broker = new Broker()
  await broker.start()
  let received = 0
  const session: Session = broker.vhost.openSession({
    owner: {},
    onDeliveries(batch) {
      received += batch.length
      for (const { tag } of batch) session.ack(tag, false)
    },
    onCancelled() {},
  })
  session.declareQueue({ queue: 'bench' })
  session.consume({ queue: 'bench', prefetch: 1000 })
  const run = async (count: number) => {
    received = 0
    for (let sent = 0; sent < count; sent += burst) {
      for (let index = 0; index < burst; index++) session.publish({ ...template })
      await null
    }
    while (received < count) await nextTick()
  }
  await run(200_000)
  await measure('memory: publish, deliver, ack', messages, () => run(messages))
  await broker.close()
}

async function throughDisk(directory: string): Promise<void> {
  const broker = new Broker({ dataDirectory: directory })
  await broker.start()
  const { vhost } = broker
  let received = 0
  const session: Session = vhost.openSession({
    owner: {},
    onDeliveries(batch) {
      received += batch.length
      for (const { tag } of batch) session.ack(tag, false)
    },
    onCancelled() {},
  })
  session.declareQueue({ queue: 'bench', durable: true })
  let syncs = 0
  vhost.onCommitted(() => syncs++)
  const publish = async (count: number) => {
    let confirmed = 0
    const confirm = () => void confirmed++
    for (let sent = 0; sent < count; sent += burst) {
      for (let index = 0; index < burst; index++)
        session.whenCommitted(session.publish({ ...template }).commit, confirm)
      await nextTick()
      while (sent - confirmed > window) await nextTick()
    }
    while (confirmed < count) await nextTick()
  }
  await publish(50_000)
  session.purgeQueue({ queue: 'bench' })
  syncs = 0
  const start = performance.now()
  await measure('disk: publish, confirmed', messages, () => publish(messages))
  const syncsPerSecond = Math.round(syncs / ((performance.now() - start) / 1000))
  await measure('disk: deliver, ack', messages, async () => {
    session.consume({ queue: 'bench', prefetch: 1000, consumerTag: 'c' })
    while (received < messages) await nextTick()
  })
  received = 0
  await measure('disk: publish confirmed, deliver, ack', messages, async () => {
    await publish(messages)
    while (received < messages) await nextTick()
  })
  session.cancel('c')
  await publish(messages)
  session.declareQueue({ queue: 'moved', durable: true })
  await measure('disk: deliver, transfer each to another queue', messages, () => moved(vhost, messages))
  if (!values.json) console.log(`syncs a second while publishing: ${syncsPerSecond}`)
  await broker.close()
}

/** Each message leaves `bench` for `moved` in a transfer of its own; until all are on disk. */
async function moved(vhost: VirtualHost, count: number): Promise<void> {
  let transferred = 0
  const confirm = () => void transferred++
  const copy = { ...template, routingKey: 'moved' }
  const mover: Session = vhost.openSession({
    owner: {},
    onDeliveries(batch) {
      for (const { tag } of batch) {
        const outcome = mover.transfer([tag], [{ ...copy }])
        if (!outcome.done) throw new Error(`not transferred: ${outcome.reason}`)
        mover.whenCommitted(outcome.commit, confirm)
      }
    },
    onCancelled() {},
  })
  mover.consume({ queue: 'bench', prefetch: 1000 })
  while (transferred < count) await nextTick()
}

function diskSyncsPerSecond(directory: string): number {
  const file = join(directory, 'syncs')
  const descriptor = openSync(file, 'w')
  const block = Buffer.alloc(100, 'x')
  const start = performance.now()
  let count = 0
  while (performance.now() - start < 1000) {
    writeSync(descriptor, block)
    fdatasyncSync(descriptor)
    count++
  }
  closeSync(descriptor)
  rmSync(file)
  return count
}

const directory = mkdtempSync(join(values.directory, 'chasqui-bench-'))
try {
  const syncs = diskSyncsPerSecond(directory)
  await throughMemory()
  await throughDisk(join(directory, 'data'))
  const machine = `${cpus().length} x ${cpus()[0]?.model ?? 'unknown'}, Node ${process.version}`
  if (values.json) console.log(JSON.stringify({ machine, bodyBytes: 100, messages, diskSyncsPerSecond: syncs, rows }))
  else {
    console.log(`${machine}; 100 B bodies; the disk alone: ${syncs} syncs a second of 100 B appends`)
    console.table(rows)
  }
} finally {
  rmSync(directory, { recursive: true, force: true })
}
