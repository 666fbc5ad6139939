/**
 * A process that moves messages until it is killed: `node transfer-process.ts DIRECTORY FIRST`. Numbers go to the queue `source`,
 * which says `c N` once everything up to N is confirmed. Each batch that a consumer gets leaves in one transfer: a copy of each number to
 * `left`, another to `right`. Every seventh number is also delayed in `later`, by an hour, with its number as id.
 */
import { writeSync } from 'node:fs'
import { encodeProperties } from '@chasqui/amqp'
import { Broker, type BrokerMessage, type Session } from '@chasqui/broker'

const [directory, first] = process.argv.slice(2)
const say = (line: string) => writeSync(1, `${line}\n`)

const broker = new Broker({ dataDirectory: directory })
await broker.start()
const session: Session = broker.vhost.openSession({
  owner: {},
  onDeliveries(batch) {
    const copies = batch.flatMap(({ message: { body } }) => ['left', 'right'].map(queue => message(queue, body)))
    const outcome = session.transfer(
      batch.map(({ tag }) => tag),
      copies,
    )
    if (!outcome.done) throw new Error(`not transferred: ${outcome.reason}`)
    session.whenCommitted(outcome.commit, () => say(`t ${batch.length}`))
  },
  onCancelled() {},
})
let commit = 0
for (const queue of ['source', 'left', 'right', 'later']) {
  commit = session.declareQueue({ queue, durable: true }).commit
}
await new Promise<void>(resolve => session.whenCommitted(commit, resolve))
session.consume({ queue: 'source', prefetch: 50 })

const persistent = { deliveryMode: 2 }
const persistentBytes = encodeProperties(persistent)

function message(routingKey: string, body: Uint8Array): BrokerMessage {
  return { exchange: '', routingKey, properties: persistent, propertyBytes: persistentBytes, body, persistent: true }
}

function delayed(number: number): BrokerMessage {
  const properties = {
    deliveryMode: 2,
    messageId: `${number}`,
    headers: { chasqui_not_before: Date.now() + 3_600_000 },
  }
  const body = Buffer.from(`${number}`)
  return { ...message('later', body), properties, propertyBytes: encodeProperties(properties) }
}

for (let number = Number(first); ; ) {
  for (let left = 1 + (number % 61); left > 0; left--, number++) {
    const here = number
    let { commit } = session.publish(message('source', Buffer.from(`${number}`)))
    if (number % 7 === 0) commit = session.publish(delayed(number)).commit
    session.whenCommitted(commit, () => say(`c ${here}`))
  }
  await new Promise(resolve => setImmediate(resolve))
}
