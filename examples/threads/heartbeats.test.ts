/** What docs/concepts/workers.md promises of the heartbeats: shown on a real RabbitMQ, with and without threads. */
import { randomUUID } from 'node:crypto'
import { connect as connectBare } from '@chasqui/amqp/client'
import { connect, type Handler, type WorkerHandler } from 'chasqui'
import { expect, it, onTestFinished } from 'vitest'
import spin from './spin.ts'

const brokerUrl = process.env.CHASQUI_RABBITMQ_URL ?? ''

/** Far more than two heartbeats of a second, after which RabbitMQ takes a client for dead. */
const busyMs = 6000

/** A queue that is deleted after the test. */
function ownName(): string {
  const name = `threads-${randomUUID()}`
  onTestFinished(async () => {
    const { hostname, port } = new URL(brokerUrl)
    const connection = await connectBare({ host: hostname, port: Number(port || 5672) })
    const channel = await connection.openChannel()
    for (const queue of [name, `${name}.dead-letter`]) await channel.deleteQueue(queue)
    await connection.close()
  })
  return name
}

/** Has one message computed for, and tells how often the connection was lost until it was settled. */
async function lossesOf(handler: Handler | WorkerHandler): Promise<number> {
  const queue = ownName()
  const bus = await connect(brokerUrl, { logger: false, engine: { heartbeatSeconds: 1 } })
  onTestFinished(() => bus.close({ deadlineMs: 0 }))
  let losses = 0
  bus.observe(
    event => {
      if (event.kind === 'state' && event.state === 'down') losses += 1
    },
    ['state'],
  )
  const begun = Promise.withResolvers<void>()
  bus.observe(() => begun.resolve(), ['received'])
  const settled = Promise.withResolvers<void>()
  bus.observe(() => settled.resolve(), ['handled', 'settled-late'])
  await bus.handle(queue, handler)
  await bus.send(queue, { ms: busyMs })
  await begun.promise
  await settled.promise
  // A loss is seen when the process has its turn again.
  await bus.send(queue, { ms: 0 }).catch(() => undefined)
  return losses
}

it.runIf(brokerUrl)('a worker that computes for six heartbeats keeps its connection', { timeout: 60_000 }, async () => {
  expect(await lossesOf({ worker: new URL('./spin.ts', import.meta.url), threads: 1 })).toBe(0)
})

it.runIf(brokerUrl)('a function that does the same loses it', { timeout: 60_000 }, async () => {
  expect(await lossesOf(spin)).toBeGreaterThan(0)
})
