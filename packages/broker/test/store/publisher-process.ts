/**
 * A process that publishes until it is killed: `node publisher-process.ts DIRECTORY FIRST`. Numbers go to the queues `kept`
 * and `consumed` by one exchange. It says `c N` once everything up to N is confirmed, and `a N` before it acknowledges N of
 * `consumed`; every fifth of that queue is dead-lettered to `dead` instead, which it says as `d N`.
 */
import { writeSync } from 'node:fs'
import { encodeProperties } from '@chasqui/amqp'
import { Broker, type Session } from '@chasqui/broker'

const [directory, first] = process.argv.slice(2)
const say = (line: string) => writeSync(1, `${line}\n`)

const broker = new Broker({ dataDirectory: directory })
await broker.start()
const session: Session = broker.vhost.openSession({
  owner: {},
  onDeliveries(batch) {
    for (const { tag, message } of batch) {
      const number = Number(Buffer.from(message.body).toString('latin1', 0, 10))
      if (number % 5 === 0) {
        say(`d ${number}`)
        session.nack(tag, false, false)
      } else {
        say(`a ${number}`)
        session.ack(tag, false)
      }
    }
  },
  onCancelled() {},
})
session.declareQueue({ queue: 'dead', durable: true })
session.declareQueue({ queue: 'kept', durable: true })
session.declareQueue({
  queue: 'consumed',
  durable: true,
  arguments: { 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': 'dead' },
})
for (const queue of ['kept', 'consumed']) session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: '' })
const { commit } = session.declareQueue({ queue: 'last', durable: true })
await new Promise<void>(resolve => session.whenCommitted(commit, resolve))
session.consume({ queue: 'consumed', prefetch: 20 })
say('ready')

const properties = { deliveryMode: 2 }
const propertyBytes = encodeProperties(properties)
for (let number = Number(first); ; ) {
  // Bursts of all sizes; now and then a body too long to be copied.
  for (let left = 1 + (number % 97); left > 0; left--, number++) {
    const body = Buffer.from(String(number).padStart(10, '0') + (number % 50 === 0 ? 'x'.repeat(20_000) : ''))
    const here = number
    const { commit } = session.publish({
      exchange: 'amq.fanout',
      routingKey: '',
      properties,
      propertyBytes,
      body,
      persistent: true,
    })
    session.whenCommitted(commit, () => say(`c ${here}`))
  }
  await new Promise(resolve => setImmediate(resolve))
}
