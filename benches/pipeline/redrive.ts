/**
 * Dead letters sent back to their queue: all of them, or every other one (`half`), where the engine keeps the rest in order.
 * `node redrive.ts URL LETTERS [half]`; for RabbitMQ.
 */
import { connect as connectClient } from '@chasqui/amqp/client'
import { open } from '@chasqui/rabbitmq'
import { connect } from 'chasqui'
import { order, parameters } from './order.ts'

const { url, messages: letters } = parameters()
const isHalf = process.argv.includes('half')
const queue = `bench.redrive.${process.pid}`
const dead = `${queue}.dead-letter`
const batchLetters = 1_000

const bus = await connect(url, { name: 'bench', logger: false })
await bus.declare([{ queue }])
const driver = await open({ urls: [url], name: 'bench', connectTimeoutMs: 10_000 })
const failedAt = new Date().toISOString()
for (let from = 0; from < letters; from += batchLetters) {
  const batch = Array.from({ length: Math.min(batchLetters, letters - from) }, (_, offset) => {
    const number = from + offset
    const headers = {
      chasqui_error_code: number % 2 === 0 ? 'handler-failed' : 'handler-timeout',
      chasqui_error_message: 'no connection to cards.example',
      chasqui_error_stack: 'at somewhere (file.ts:1:1)\n'.repeat(20),
      chasqui_attempts: 5,
      chasqui_first_failed_at: failedAt,
      chasqui_last_failed_at: failedAt,
      chasqui_original_destination: queue,
    }
    const body = Buffer.from(JSON.stringify(order(number)))
    const about = { type: queue, attributes: { source: 'bench' }, contentType: 'application/json', durable: true }
    return {
      to: { kind: 'queue', name: dead } as const,
      message: { id: `${queue}.${number}`, ...about, headers, body },
    }
  })
  const results = await driver.send(batch, Date.now() + 60_000)
  for (const result of results) if (!result.ok) throw result.error
}
await driver.close()

const cpu = process.cpuUsage()
const started = performance.now()
const { done } = await bus.deadLetters(queue).redrive(isHalf ? { error: 'handler-failed' } : {})
const seconds = (performance.now() - started) / 1000
const { user, system } = process.cpuUsage(cpu)
const peakMegabytes = Math.round(process.resourceUsage().maxRSS / 1024)
if (done !== (isHalf ? letters / 2 : letters)) throw new Error(`${done} of ${letters} letters were sent back.`)
await bus.close()

const { hostname, port, username, password } = new URL(url)
const connection = await connectClient({
  host: hostname,
  port: Number(port || 5672),
  username: username || 'guest',
  password: password || 'guest',
  connectionName: 'bench',
})
const channel = await connection.openChannel()
for (const name of [queue, dead]) await channel.deleteQueue(name)
await connection.close()
console.log(JSON.stringify({ messages: done, seconds, cpuMicros: user + system, peakMegabytes }))
