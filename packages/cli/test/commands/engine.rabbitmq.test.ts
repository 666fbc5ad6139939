/** The commands on a real RabbitMQ, whose list of queues is off and whose queues have lanes. */
import { randomUUID } from 'node:crypto'
import { connect } from '@chasqui/amqp/client'
import { connect as connectBus } from '@chasqui/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { CommandLine } from '../command-line.ts'

const brokerUrl = process.env.CHASQUI_RABBITMQ_URL ?? ''

/** A name whose queues and exchange are deleted after the test. */
function ownName(): string {
  const name = `cli-${randomUUID()}`
  onTestFinished(async () => {
    const { hostname, port } = new URL(brokerUrl)
    const connection = await connect({ host: hostname, port: Number(port || 5672) })
    const queues = [name, `${name}.dead-letter`, `${name}.sub`, `${name}.sub.dead-letter`, `${name}.lane-members`]
    for (const queue of [...queues, ...[0, 1, 2].map(lane => `${name}.lane-${lane}`)]) {
      await (await connection.openChannel()).deleteQueue(queue)
    }
    await (await connection.openChannel()).deleteExchange(name)
    await connection.close()
  })
  return name
}

const chasqui = (...words: string[]) => CommandLine.run([...words, '--url', brokerUrl])
const bodies = (out: string) =>
  out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).body)

describe.runIf(brokerUrl)('on RabbitMQ', () => {
  test('a queue of three lanes is planned, made, sent to, counted and taken from as one', {
    timeout: 90_000,
  }, async () => {
    const name = ownName()
    expect((await chasqui('plan', '--queue', `${name}:3`)).code).toBe(2)
    expect((await chasqui('plan', '--queue', `${name}:3`, '--apply')).code).toBe(0)
    expect((await chasqui('plan', '--queue', `${name}:3`)).code).toBe(0)
    const other = await chasqui('plan', '--queue', `${name}:4`)
    expect(other.code).toBe(2)
    expect(other.out).toMatch(/was created with 3 lanes, and 4 were asked for/)

    for (const key of ['a', 'b', 'c', 'd']) await chasqui('send', name, `"${key}"`, '--key', key)
    const shown = await chasqui('queues', name, '--json')
    expect(JSON.parse(shown.out)).toMatchObject({ name, ready: 4, consumers: 0 })
    const taken = await chasqui('consume', name, '--ack', '--json')
    expect(bodies(taken.out).sort()).toEqual(['a', 'b', 'c', 'd'])
    expect(JSON.parse((await chasqui('queues', name, '--json')).out)).toMatchObject({ ready: 0 })
  })

  test('a subscription gets what is published, a peek lets it stay, and taking it ends there', {
    timeout: 90_000,
  }, async () => {
    const name = ownName()
    await chasqui('plan', '--subscription', `${name}/sub`, '--apply')
    await chasqui('publish', name, '{"id":1}', '--key', 'k')
    const source = ['consume', name, '--subscription', 'sub', '--json']
    const peeked = await chasqui(...source, '--peek')
    expect(bodies(peeked.out)).toEqual([{ id: 1 }])
    const taken = await chasqui(...source, '--ack')
    expect(JSON.parse(taken.out)).toMatchObject({ body: { id: 1 }, key: 'k', redelivered: true })
    expect((await chasqui(...source, '--ack')).out).toBe('')
  })

  test('what was looked at goes back to its place, before what it stood before', { timeout: 90_000 }, async () => {
    const name = ownName()
    const lines = Array.from({ length: 120 }, (_, number) => String(number))
    await CommandLine.run(['send', name, '-', '--url', brokerUrl], lines.join('\n'))
    expect(bodies((await chasqui('consume', name, '--peek', '--limit', '50', '--json')).out)).toHaveLength(50)
    expect(bodies((await chasqui('consume', name, '--ack', '--json')).out).map(String)).toEqual(lines)
  })

  test('what an ordered consumer has is not waited for without end', { timeout: 90_000 }, async () => {
    const name = ownName()
    const bus = await connectBus(brokerUrl, { logger: false })
    onTestFinished(() => bus.close({ deadlineMs: 0 }))
    const started = Promise.withResolvers<void>()
    const never = new Promise<void>(() => undefined)
    const handler = () => {
      started.resolve()
      return never
    }
    await bus.handle(name, handler, { ordered: true, lanes: 1, window: 1 })
    for (const id of [1, 2]) await bus.send(name, { id })
    await started.promise
    const { code, err } = await chasqui('consume', name, '--peek')
    expect(code).toBe(1)
    expect(err).toMatch(/^chasqui: 1 message waits and none comes: another consumer has them in order\./)
  })

  test('the list of all queues wants the management plugin, and says so', async () => {
    const { code, out, err } = await chasqui('queues')
    // Where somebody has it on, the list is there.
    if (code === 0) return expect(out).toMatch(/^QUEUE/)
    expect(err).toMatch(/^chasqui: AMQP knows no list of queues\. .*rabbitmq_management/)
  })
})
