import { expect, test } from 'vitest'
import { channelTo, serve } from './serving.ts'

const name = 'amq.chasqui.cancel'
const nothing = new Uint8Array(0)
const mandatory = { mandatory: true }
const inAnHour = () => ({ chasqui_not_before: Date.now() + 3_600_000 })

test('a delayed message is taken back by its id, once; the rest stays', async () => {
  const { port, broker } = await serve()
  const channel = await channelTo(port)
  await channel.declareQueue('later', { durable: true })
  await channel.confirmSelect()
  for (const messageId of ['a', 'b']) {
    await channel.publishAndConfirm('', 'later', { messageId, headers: inAnHour() }, Buffer.from('x'))
  }
  expect(broker.vhost.inspect('later')).toMatchObject({ delayed: 2 })
  const request = { messageId: 'a', headers: { queue: 'later' } }
  await channel.publishAndConfirm('', name, request, nothing, mandatory)
  expect(broker.vhost.inspect('later')).toMatchObject({ ready: 0, delayed: 1 })
  await expect(channel.publishAndConfirm('', name, request, nothing, mandatory)).rejects.toMatchObject({
    code: 'returned',
    replyCode: 312,
  })
  await channel.publishAndConfirm('', name, request, nothing)
})

test('an absent queue is 404, and a request that names none, or no message, 406', async () => {
  const { port } = await serve()
  for (const [properties, replyCode] of [
    [{ messageId: 'a', headers: { queue: 'absent' } }, 404],
    [{ messageId: 'a' }, 406],
    [{ headers: { queue: 'absent' } }, 406],
  ] as const) {
    const channel = await channelTo(port)
    await channel.confirmSelect()
    await expect(channel.publishAndConfirm('', name, properties, nothing, mandatory)).rejects.toMatchObject({
      cause: { replyCode },
    })
  }
})
