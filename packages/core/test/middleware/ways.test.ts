/** Middleware on the whole way, as users write it: outgoing, incoming, and on replies. */
import { createHmac, timingSafeEqual } from 'node:crypto'
import {
  decodeBody,
  defaultIncoming,
  defaultOutgoing,
  encodeBody,
  type IncomingMiddleware,
  type OutgoingMiddleware,
  validateIncoming,
  validateOutgoing,
} from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

const digest = (bytes: Uint8Array) => createHmac('sha256', 'secret').update(bytes).digest()

const signBody: OutgoingMiddleware = (message, next) => {
  const signature = digest(message.bytes!).toString('hex')
  message.headers = { ...message.headers, signature }
  return next(message)
}
const verifyBody: IncomingMiddleware = (message, next) => {
  const signature = Buffer.from(String(message.wire.headers.signature), 'hex')
  const expected = digest(message.wire.body)
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected)) {
    return message.deadLetter('its signature is wrong')
  }
  return next(message)
}
const signed = {
  outgoing: [validateOutgoing, encodeBody, signBody],
  incoming: [verifyBody, decodeBody, validateIncoming],
}

describe('middleware of one’s own', () => {
  test('signs on the way out and verifies on the way in; what is not signed is dead-lettered', async () => {
    const bus = await memoryBus(signed)
    const stranger = await memoryBus()
    const queue = ownName()
    const handled: unknown[] = []
    await bus.handle(queue, body => void handled.push(body))
    await bus.send(queue, { from: 'us' })
    await stranger.send(queue, { from: 'a stranger' })
    await eventually('one handled', () => handled.length === 1)
    await eventually('one refused', () => ofKind(bus.told, 'dead-lettered').length === 1)
    expect(handled).toEqual([{ from: 'us' }])
    expect(ofKind(bus.told, 'dead-lettered')[0]).toMatchObject({ reason: 'its signature is wrong', attempts: 1 })
  })

  test('is passed by requests, replies, streams and what the two sides of a stream tell each other', async () => {
    const bus = await memoryBus(signed)
    const [one, many] = [ownName(), ownName()]
    await bus.handle(one, body => `reply to ${body}`)
    await bus.handle(many, async function* () {
      for (let n = 0; n < 300; n++) yield n
    })
    expect(await bus.request(one, 'x')).toBe('reply to x')
    let taken = 0
    for await (const n of bus.stream(many, 'x', { window: 10 })) expect(n).toBe(taken++)
    expect(taken).toBe(300)
  })

  test('a reply that incoming middleware refuses rejects the request', async () => {
    const asker = await memoryBus({ incoming: signed.incoming })
    const answerer = await memoryBus()
    const queue = ownName()
    await answerer.handle(queue, () => 'unsigned')
    expect(await errorOf(asker.request(queue, 1))).toMatchObject({ code: 'dead-lettered' })
  })

  test('a step that never calls next ends the way there: what it returns is the result', async () => {
    const receipt = { id: 'none', durable: false }
    const bus = await memoryBus({
      outgoing: [
        (message, next) => (message.body === 'skip' ? Promise.resolve(receipt) : next(message)),
        ...defaultOutgoing,
      ],
      incoming: [(message, next) => (message.headers.skip ? 'skipped' : next(message)), ...defaultIncoming],
    })
    const queue = ownName()
    const handled: unknown[] = []
    await bus.handle(queue, body => void handled.push(body))
    expect(await bus.send(queue, 'skip')).toBe(receipt)
    await bus.send(queue, 'acknowledged unhandled', { headers: { skip: true } })
    await bus.send(queue, 'handled')
    await eventually('two are done', () => ofKind(bus.told, 'handled').length === 2)
    expect(handled).toEqual(['handled'])
  })

  test('a second next is next-twice: the send rejects, the message is dead-lettered at its first attempt', async () => {
    const twice: OutgoingMiddleware = async (message, next) => {
      await next(message)
      return await next(message)
    }
    const sender = await memoryBus({ outgoing: [twice, ...defaultOutgoing] })
    expect((await errorOf(sender.send(ownName(), 1))).code).toBe('next-twice')
    const twiceIn: IncomingMiddleware = async (message, next) => {
      await next(message)
      return await next(message)
    }
    const receiver = await memoryBus({ incoming: [...defaultIncoming, twiceIn] })
    const queue = ownName()
    let runs = 0
    await receiver.handle(queue, () => {
      runs += 1
    })
    await receiver.send(queue, 1)
    await eventually('a dead letter', () => ofKind(receiver.told, 'dead-lettered').length === 1)
    expect(ofKind(receiver.told, 'dead-lettered')[0]).toMatchObject({ code: 'next-twice', attempts: 1 })
    expect(runs).toBe(1)
  })

  test('a step that throws fails the attempt, or the send', async () => {
    const broken = () => {
      throw new Error('broken')
    }
    const sender = await memoryBus({ outgoing: [broken, ...defaultOutgoing] })
    await expect(sender.send(ownName(), 1)).rejects.toThrow('broken')
    expect(ofKind(sender.told, 'send-refused')).toHaveLength(1)
    const receiver = await memoryBus({ incoming: [broken, ...defaultIncoming] })
    const queue = ownName()
    await receiver.handle(queue, () => {}, { retry: { attempts: 2 } })
    await receiver.send(queue, 1)
    await eventually('a dead letter', () => ofKind(receiver.told, 'dead-lettered').length === 1)
    expect(ofKind(receiver.told, 'attempt-failed')).toHaveLength(2)
  })
})
