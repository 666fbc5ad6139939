import { expect, test } from 'vitest'
import { channelTo, serve } from './serving.ts'

test('basic.get on the name that is no queue answers with a list of all that are', async () => {
  const { port } = await serve()
  const channel = await channelTo(port)
  await channel.declareQueue('b', { durable: true })
  await channel.declareQueue('a', {})
  await channel.confirmSelect()
  await channel.publishAndConfirm('', 'b', {}, Buffer.from('x'))
  const got = await channel.get('amq.chasqui.queues', { noAck: true })
  expect(got).toMatchObject({ redelivered: false, messageCount: 0, properties: { contentType: 'application/json' } })
  expect(JSON.parse(String(got!.body))).toEqual([
    expect.objectContaining({ name: 'a', ready: 0, unsettled: 0, consumers: 0, delayed: 0 }),
    expect.objectContaining({ name: 'b', ready: 1 }),
  ])
})

test('more queues than one frame can tell of', async () => {
  const { port, broker } = await serve()
  const session = broker.vhost.openSession({ owner: {}, onDeliveries: () => {}, onCancelled: () => {} })
  for (let count = 0; count < 5000; count++) session.declareQueue({ queue: `queue-${count}` })
  const channel = await channelTo(port)
  const got = await channel.get('amq.chasqui.queues', { noAck: true })
  expect(JSON.parse(String(got!.body))).toHaveLength(5000)
})

test('whoever would acknowledge it is refused: there is nothing to take', async () => {
  const { port } = await serve()
  const channel = await channelTo(port)
  await expect(channel.get('amq.chasqui.queues')).rejects.toMatchObject({ replyCode: 406 })
})
