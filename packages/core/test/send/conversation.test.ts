/** Correlation, causation and tenant on every message that a handler sends (conformance 67). */
import { defaultIncoming, defaultOutgoing, type MessageInfo, type OutgoingMiddleware } from '@chasqui/core'
import { expect, test } from 'vitest'
import { eventually, memoryBus, ownName } from '../fixture.ts'

const tenant: OutgoingMiddleware = (message, next) => {
  if (message.attributes.tenantid === undefined) message.attributes = { ...message.attributes, tenantid: 'acme' }
  return next(message)
}

/** Sends the first message of a conversation, of the tenant `acme`. */
async function begin(queue: string, body: unknown = 'first'): Promise<string> {
  const bus = await memoryBus({ outgoing: [tenant, ...defaultOutgoing] })
  return (await bus.send(queue, body)).id
}

const ids = ({ correlationId, causationId, tenantId }: MessageInfo) => ({ correlationId, causationId, tenantId })

test('what ctx.send, publish, request and stream send belongs to the conversation, caused by the message in hand', async () => {
  const bus = await memoryBus()
  const [first, queue, topic, asked, streamed] = [ownName(), ownName(), ownName(), ownName(), ownName()]
  const seen: Record<string, object> = {}
  const note = (name: string) => (_: unknown, ctx: MessageInfo) => {
    seen[name] = ids(ctx)
  }
  await bus.handle(queue, note('send'))
  await bus.subscribe(topic, 'all', note('publish'))
  await bus.handle(asked, (_, ctx) => {
    note('request')(_, ctx)
    return 'reply'
  })
  await bus.handle(streamed, async function* (_, ctx) {
    note('stream')(_, ctx)
    yield 'item'
  })
  await bus.handle(first, async (_, ctx) => {
    await ctx.send(queue, 1)
    await ctx.publish(topic, 1)
    await ctx.request(asked, 1)
    for await (const _item of ctx.stream(streamed, 1));
  })
  const id = await begin(first)
  await eventually('all four came', () => Object.keys(seen).length === 4)
  const expected = { correlationId: id, causationId: id, tenantId: 'acme' }
  expect(seen).toEqual({ send: expected, publish: expected, request: expected, stream: expected })
})

test('goes on through a request: what its handler sends, and the replies, belong to the same conversation', async () => {
  const replies: object[] = []
  const bus = await memoryBus({
    incoming: [
      (message, next) => {
        if (message.destination.startsWith('reply-')) replies.push(ids(message))
        return next(message)
      },
      ...defaultIncoming,
    ],
  })
  const [first, asked, last] = [ownName(), ownName(), ownName()]
  const requests: (string | undefined)[] = []
  const came: object[] = []
  await bus.handle(last, (_, ctx) => void came.push(ids(ctx)))
  await bus.handle(asked, async function* (_, ctx) {
    requests.push(ctx.id)
    await ctx.send(last, 1)
    yield 1
  })
  await bus.handle(first, async (_, ctx) => {
    for await (const _item of ctx.stream(asked, 1));
  })
  const id = await begin(first)
  await eventually('the last came', () => came.length === 1)
  const expected = { correlationId: id, causationId: requests[0], tenantId: 'acme' }
  expect(came).toEqual([expected])
  await eventually('a reply came', () => replies.length === 1)
  expect(replies).toEqual([expected])
})

test('a request that begins the conversation gives it its id', async () => {
  const bus = await memoryBus()
  const [asked, last] = [ownName(), ownName()]
  const came: object[] = []
  await bus.handle(last, (_, ctx) => void came.push(ids(ctx)))
  let id: string | undefined
  await bus.handle(asked, async (_, ctx) => {
    id = ctx.id
    await ctx.send(last, 1)
    return 1
  })
  await bus.request(asked, 1)
  await eventually('the last came', () => came.length === 1)
  expect(came).toEqual([{ correlationId: id, causationId: id, tenantId: undefined }])
})

test('dead letters and faults keep the ids of the original; what onError sends is caused by it', async () => {
  const bus = await memoryBus()
  const [queue, alarm] = [ownName(), ownName()]
  const seen: Record<string, object> = {}
  const note = (name: string) => (_: unknown, ctx: MessageInfo) => {
    seen[name] = ids(ctx)
  }
  await bus.subscribe(`${queue}.fault`, 'all', note('fault'))
  await bus.handle(alarm, note('alarm'))
  const failedIds: (string | undefined)[] = []
  await bus.handle(
    queue,
    (_, ctx) => {
      failedIds.push(ctx.id)
      throw new Error('no')
    },
    { retry: { attempts: 1 }, faults: true, onError: async (_, ctx) => void (await ctx.send(alarm, 1)) },
  )
  await bus.handle(`${queue}.dead-letter`, note('dead letter'))
  const relay = ownName()
  await bus.handle(relay, (_, ctx) => ctx.send(queue, 1))
  const id = await begin(relay)
  await eventually('all three came', () => Object.keys(seen).length === 3)
  const original = { correlationId: id, causationId: id, tenantId: 'acme' }
  expect(seen).toEqual({
    'dead letter': original,
    fault: original,
    alarm: { ...original, causationId: failedIds[0] },
  })
})

test('a delayed attempt, by a copy that waits in the engine, is still of the conversation', async () => {
  const bus = await memoryBus()
  const [queue, relay] = [ownName(), ownName()]
  const seen: object[] = []
  await bus.handle(
    queue,
    (_, ctx) => {
      seen.push(ids(ctx))
      if (ctx.attempt === 1) ctx.retry({ delayMs: 5 })
    },
    { retry: { attempts: 2 } },
  )
  await bus.handle(relay, (_, ctx) => ctx.send(queue, 1))
  const id = await begin(relay)
  await eventually('two attempts', () => seen.length === 2)
  const expected = { correlationId: id, causationId: id, tenantId: 'acme' }
  expect(seen).toEqual([expected, expected])
})

test('each item of a batch carries its own conversation on, and sendBatch that of its handler', async () => {
  const bus = await memoryBus()
  const [gathered, queue, last] = [ownName(), ownName(), ownName()]
  const seen: Record<string, object> = {}
  await bus.handle(last, (body, ctx) => {
    seen[String(body)] = ids(ctx)
  })
  await bus.handleBatch(
    gathered,
    async items => {
      for (const item of items) await item.ctx.send(last, item.body)
    },
    { size: 2, maxAgeMs: 10_000 },
  )
  await bus.handle(queue, (_, ctx) => ctx.sendBatch(last, ['by sendBatch']))
  const [first, second, third] = [await begin(gathered, 'a'), await begin(gathered, 'b'), await begin(queue)]
  await eventually('all three came', () => Object.keys(seen).length === 3)
  const of = (id: string) => ({ correlationId: id, causationId: id, tenantId: 'acme' })
  expect(seen).toEqual({ a: of(first), b: of(second), 'by sendBatch': of(third) })
})
