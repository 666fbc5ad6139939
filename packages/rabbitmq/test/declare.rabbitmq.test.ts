import type { Destination } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { brokerUrl, foreignConnection, inSeconds, messageOf, openDriver, told, toQueue, uniqueName } from './fixture.ts'

function queue(name: string, fields: Partial<Extract<Destination, { kind: 'queue' }>> = {}): Destination {
  return { kind: 'queue', name, durable: true, deadLetter: `${name}.dead-letter`, ...fields }
}

function topic(name: string): Destination {
  return { kind: 'topic', name, durable: true }
}

const create = { create: true }
const look = { create: false }

describe.runIf(brokerUrl)('declare', () => {
  test('[queue] creates a durable quorum queue with its dead-letter queue, once however often it is asked', async () => {
    const name = uniqueName()
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name)] }, create)
    await driver.declare({ destinations: [queue(name)] }, create)
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, {
      durable: true,
      arguments: {
        'x-queue-type': 'quorum',
        'x-delivery-limit': 20,
        'x-dead-letter-exchange': '',
        'x-dead-letter-routing-key': `${name}.dead-letter`,
        'x-dead-letter-strategy': 'at-least-once',
        'x-overflow': 'reject-publish',
      },
    })
    await channel.declareQueue(`${name}.dead-letter`, {
      durable: true,
      arguments: { 'x-queue-type': 'quorum', 'x-delivery-limit': 1_000_000 },
    })
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['ok'])
  })

  test("[durable: false] is the queue that pika's queue_declare makes by the name alone", async () => {
    const name = uniqueName()
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name, { durable: false, deadLetter: undefined })] }, create)
    const channel = await (await foreignConnection()).openChannel()
    expect(await channel.declareQueue(name, { durable: false })).toMatchObject({ queue: name })
    expect(await driver.send(toQueue(name, 'a'), inSeconds(10))).toEqual([{ ok: true, durable: false }])
  })

  test('[existing] a queue that is not durable is used as it is, and the receipt says so', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, { durable: false })
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name)] }, create)
    expect(await driver.send(toQueue(name, 'a'), inSeconds(10))).toEqual([{ ok: true, durable: false }])
  })

  test('[existing] a durable classic queue is used as it is; the receipt is durable for a durable message alone', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, { durable: true, arguments: { 'x-max-length': 10 } })
    for (const options of [create, look]) {
      const driver = await openDriver()
      await driver.declare({ destinations: [queue(name)] }, options)
      const sent = await driver.send(
        [
          { to: { kind: 'queue', name }, message: messageOf('a') },
          { to: { kind: 'queue', name }, message: messageOf('b', { durable: false }) },
        ],
        inSeconds(10),
      )
      expect(sent).toEqual([
        { ok: true, durable: true },
        { ok: true, durable: false },
      ])
    }
  })

  test('[existing] durability is learnt where the name leaves the refusal no room to tell the values', async () => {
    const ending = 'x'.repeat(180)
    const name = uniqueName(ending) + ending
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, { durable: false })
    const driver = await openDriver()
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, create)
    expect(await driver.send(toQueue(name, 'a'), inSeconds(10))).toEqual([{ ok: true, durable: false }])
  })

  test.each([
    ['queue', (name: string) => queue(name)],
    ['topic', topic],
    ['subscription', (name: string) => ({ kind: 'subscription', topic: name, name: 's', durable: true }) as const],
  ])('[create: false] an absent %s is destination-missing and stays absent', async (_, destination) => {
    const name = uniqueName()
    const driver = await openDriver()
    const topology = { destinations: [destination(name)] }
    await expect(driver.declare(topology, look)).rejects.toMatchObject({ code: 'destination-missing' })
    await expect(driver.declare(topology, look)).rejects.toMatchObject({ code: 'destination-missing' })
    expect(await driver.plan(topology)).toEqual([{ destination: topology.destinations[0], action: 'create' }])
  })

  test('[subscription] gets what is published to its topic from then on, whoever came first', async () => {
    const name = uniqueName('.s', '.s.dead-letter')
    const driver = await openDriver()
    const to = { kind: 'topic', name } as const
    const subscription = { kind: 'subscription', topic: name, name: 's' } as const
    await driver.declare(
      { destinations: [{ ...subscription, durable: true, deadLetter: `${name}.s.dead-letter` }] },
      create,
    )
    await driver.declare({ destinations: [topic(name)] }, create)
    for (const type of ['order.placed', undefined]) {
      expect(await driver.send([{ to, message: messageOf('a', { type }) }], inSeconds(10))).toEqual([
        { ok: true, durable: true },
      ])
    }
    expect(await driver.inspector?.depth(subscription)).toEqual({ ready: 2, consumers: 0 })
  })

  test('[kind] a name is a queue or a topic, never both', async () => {
    const name = uniqueName()
    const another = uniqueName()
    const driver = await openDriver()
    await driver.declare({ destinations: [queue(name), topic(another)] }, create)
    for (const options of [create, look]) {
      const fresh = await openDriver()
      await expect(fresh.declare({ destinations: [topic(name)] }, options)).rejects.toMatchObject({
        code: 'destination-kind',
      })
      await expect(fresh.declare({ destinations: [queue(another)] }, options)).rejects.toMatchObject({
        code: 'destination-kind',
      })
      expect(await fresh.plan({ destinations: [topic(name)] })).toMatchObject([{ action: 'conflict' }])
    }
  })

  test('[exclusive] a queue that another connection holds is destination-in-use', async () => {
    const name = uniqueName()
    const connection = await foreignConnection()
    const channel = await connection.openChannel()
    await channel.declareQueue(name, { exclusive: true })
    const driver = await openDriver()
    await expect(driver.declare({ destinations: [queue(name)] }, create)).rejects.toMatchObject({
      code: 'destination-in-use',
    })
    await channel.deleteQueue(name)
  })

  test('[existing] a fanout exchange serves as a topic; one that would lose messages is destination-differs', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    const driver = await openDriver()
    await channel.declareExchange(name, 'fanout', { durable: false })
    await driver.declare({ destinations: [topic(name)] }, create)
    expect(await driver.send([{ to: { kind: 'topic', name }, message: messageOf('a') }], inSeconds(10))).toEqual([
      { ok: true, durable: false },
    ])

    await channel.deleteExchange(name)
    await channel.declareExchange(name, 'direct', { durable: true })
    await expect((await openDriver()).declare({ destinations: [topic(name)] }, create)).rejects.toMatchObject({
      code: 'destination-differs',
      message: expect.stringContaining("type: asked 'topic', is 'direct'"),
      details: { differences: [{ argument: 'type', asked: "'topic'", current: "'direct'" }] },
    })
  })

  test('[name] one that the broker keeps to itself is name-invalid', async () => {
    const driver = await openDriver()
    await expect(
      driver.declare({ destinations: [queue('amq.mine', { deadLetter: undefined })] }, create),
    ).rejects.toMatchObject({
      code: 'name-invalid',
    })
  })
})

describe.runIf(brokerUrl)('plan', () => {
  test('[plan] says what would be created, and nothing about what is as asked', async () => {
    const name = uniqueName()
    const driver = await openDriver()
    const topology = { destinations: [queue(name)] }
    expect(await driver.plan(topology)).toEqual([{ destination: topology.destinations[0], action: 'create' }])
    await driver.declare(topology, create)
    expect(await driver.plan(topology)).toEqual([{ destination: topology.destinations[0], action: 'none' }])
  })

  test('[plan] says argument by argument in what an existing queue differs', async () => {
    const name = uniqueName()
    const channel = await (await foreignConnection()).openChannel()
    await channel.declareQueue(name, {
      durable: false,
      arguments: { 'x-max-length': 5, 'x-overflow': 'drop-head', 'x-dead-letter-exchange': 'there' },
    })
    const driver = await openDriver()
    const [change] = await driver.plan({ destinations: [queue(name)] })
    expect(change?.action).toBe('conflict')
    const differences = change?.difference?.split('; ').sort()
    expect(differences).toEqual([
      "durable: asked 'true', is 'false'",
      "x-dead-letter-exchange: asked '', is 'there'",
      `x-dead-letter-routing-key: asked the value '${name}.dead-letter' of type 'longstr', is none`,
      "x-max-length: asked none, is the value '5' of type 'signedint'",
      "x-overflow: asked 'reject-publish', is 'drop-head'",
      "x-queue-type: asked the value 'quorum' of type 'longstr', is none",
    ])
  })
})
