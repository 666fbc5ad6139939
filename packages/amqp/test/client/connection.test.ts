import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  type Channel,
  type ConfirmOutcome,
  type Connection,
  type ConnectionOptions,
  connect,
} from '../../src/client/index.ts'
import {
  BASIC_ACK,
  BASIC_CANCEL,
  BASIC_CANCEL_OK,
  BASIC_CONSUME,
  BASIC_CONSUME_OK,
  BASIC_DELIVER,
  BASIC_NACK,
  BASIC_PUBLISH,
  BASIC_QOS_OK,
  type BasicAck,
  type BasicDeliver,
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_FLOW,
  CHANNEL_FLOW_OK,
  CONNECTION_BLOCKED,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_UNBLOCKED,
  type ConnectionClose,
  QUEUE_DECLARE,
  QUEUE_DECLARE_OK,
  TX_SELECT,
  TX_SELECT_OK,
} from '../../src/index.ts'
import { type FakePeer, FakeServer } from './fake-server.ts'

let server: FakeServer | undefined
let connection: Connection | undefined

/** A connection whose other end plays the script once the handshake is over. */
async function open(
  script: (peer: FakePeer) => void | Promise<void>,
  options: ConnectionOptions = {},
  tune: Parameters<FakePeer['open']>[0] = {},
): Promise<Connection> {
  server = await FakeServer.listen(async peer => {
    await peer.open(tune)
    await script(peer)
  })
  connection = await connect({ host: '127.0.0.1', port: server.port, ...options })
  return connection
}

afterEach(async () => {
  connection?.destroy()
  connection = undefined
  const stopping = server?.stop()
  server = undefined
  await stopping
})

function closed(of: Connection | Channel): Promise<Error | undefined> {
  return new Promise(resolve => of.onClose(resolve))
}

const deliver = (deliveryTag: number): BasicDeliver => ({
  id: BASIC_DELIVER,
  consumerTag: 'tag',
  deliveryTag,
  redelivered: false,
  exchange: '',
  routingKey: 'q',
})

describe('heartbeats', () => {
  test('[heartbeatSeconds] an idle client sends them, and lives by those of the server', async () => {
    let peer: FakePeer | undefined
    const it = await open(
      async it => {
        peer = it
        const timer = setInterval(() => it.writer.heartbeat(), 200)
        it.socket.on('close', () => clearInterval(timer))
      },
      { heartbeatSeconds: 1 },
      { heartbeat: 1 },
    )
    expect(it.heartbeatSeconds).toBe(1)
    await vi.waitUntil(() => peer!.heartbeats >= 5, { timeout: 10_000 })
    expect(it.closed).toBe(false)
  })

  test('[heartbeatSeconds] a silent server is given up after two intervals [AMQP 0-9-1 section 4.2.7]', async () => {
    const it = await open(() => undefined, { heartbeatSeconds: 1 }, { heartbeat: 1 })
    expect(await closed(it)).toMatchObject({ code: 'heartbeat' })
  })
})

describe('the end of a connection', () => {
  test('[connection.close of the server] everybody who waits gets its error, and close-ok is sent', async () => {
    let answered: Promise<unknown> | undefined
    const it = await open(async peer => {
      await peer.openChannel()
      await peer.confirmSelect()
      await peer.expect(BASIC_PUBLISH)
      await peer.expect(QUEUE_DECLARE)
      peer.send(0, { id: CONNECTION_CLOSE, replyCode: 320, replyText: 'CONNECTION_FORCED', classId: 0, methodId: 0 })
      answered = peer.expect(CONNECTION_CLOSE_OK)
    })
    const channel = await it.openChannel()
    await channel.confirmSelect()
    const order: string[] = []
    const outcomes: ConfirmOutcome[] = []
    channel.onClose(() => order.push('channel'))
    it.onClose(() => order.push('connection'))
    channel.publishConfirmed('', 'q', {}, Buffer.from('x'), undefined, outcome => outcomes.push(outcome))
    const error = await channel.declareQueue('q').catch((reason: unknown) => reason)
    expect(error).toMatchObject({ name: 'AmqpError', replyCode: 320, scope: 'connection' })
    expect(outcomes).toEqual([{ lost: error }])
    await vi.waitUntil(() => order.length === 2)
    expect(order).toEqual(['channel', 'connection'])
    await answered
    await expect(it.openChannel()).rejects.toBe(error)
    await expect(channel.declareQueue('q')).rejects.toBe(error)
    expect(() => channel.publish('', 'q', {}, Buffer.from('x'))).toThrow(error as Error)
    channel.publishConfirmed('', 'q', {}, Buffer.from('x'), undefined, outcome => outcomes.push(outcome))
    expect(outcomes[1]).toEqual({ lost: error })
    expect(it.writable).toBe(false)
    await it.close()
  })

  test('[lost socket] everybody who waits is told `disconnected`', async () => {
    const it = await open(async peer => {
      await peer.openChannel()
      await peer.expect(QUEUE_DECLARE)
      peer.socket.destroy()
    })
    const channel = await it.openChannel()
    const both = [closed(it), closed(channel)]
    await expect(channel.declareQueue('q')).rejects.toMatchObject({ name: 'ConnectionError', code: 'disconnected' })
    for (const error of await Promise.all(both)) expect(error).toMatchObject({ code: 'disconnected' })
  })

  test('[destroy] cuts at once; close listeners get what was given', async () => {
    const it = await open(async peer => {
      await peer.openChannel()
    })
    const channel = await it.openChannel()
    const waiting = channel.declareQueue('q')
    const mine = new Error('enough')
    const ended = closed(it)
    it.destroy(mine)
    await expect(waiting).rejects.toMatchObject({ code: 'disconnected', cause: mine })
    expect(await ended).toMatchObject({ code: 'disconnected', cause: mine })
    it.destroy()
    await it.close()
  })

  test('[close] writes what was published before it, and resolves once', async () => {
    let order: number[] = []
    const it = await open(async peer => {
      await peer.openChannel()
      order = [(await peer.next()).method.id, (await peer.next()).method.id]
      peer.send(0, { id: CONNECTION_CLOSE_OK })
    })
    const channel = await it.openChannel()
    const ends = [closed(it), closed(channel)]
    channel.publish('', 'q', {}, Buffer.from('last words'))
    await Promise.all([it.close(), it.close()])
    expect(order).toEqual([BASIC_PUBLISH, CONNECTION_CLOSE])
    expect(await Promise.all(ends)).toEqual([undefined, undefined])
    await expect(it.openChannel()).rejects.toMatchObject({ code: 'closed' })
  })

  test('[closeTimeoutMs] a server that does not answer the goodbye is cut', async () => {
    const it = await open(() => undefined, { closeTimeoutMs: 50 })
    await it.close()
    expect(it.closed).toBe(true)
  })

  test('[broken frame] the server is told 501 and the connection ends as `protocol`', async () => {
    let told: ConnectionClose | undefined
    const it = await open(async peer => {
      peer.socket.write(Buffer.from([9, 0, 0, 0, 0, 0, 0, 0xce]))
      told = await peer.expect<ConnectionClose>(CONNECTION_CLOSE)
    })
    expect(await closed(it)).toMatchObject({ code: 'protocol', cause: { replyCode: 501 } })
    await vi.waitUntil(() => told !== undefined)
    expect(told).toMatchObject({ replyCode: 501 })
  })

  test('[a listener of the connection that throws] ends the connection, not the process', async () => {
    const it = await open(peer => peer.send(0, { id: CONNECTION_BLOCKED, reason: 'memory' }))
    it.onBlocked(() => {
      throw new Error('mine')
    })
    expect(await closed(it)).toMatchObject({ code: 'listener-failed', cause: new Error('mine') })
  })
})

describe('what a server may not send', () => {
  test.each([
    ['a channel that is not open', (peer: FakePeer) => peer.send(9, { id: BASIC_QOS_OK })],
    ['an answer that nobody asked for', (peer: FakePeer, on: number) => peer.send(on, { id: BASIC_QOS_OK })],
    [
      'a confirm of nothing',
      (peer: FakePeer, on: number) => peer.send(on, { id: BASIC_ACK, deliveryTag: 1, multiple: false }),
    ],
    ['a delivery without consumer', (peer: FakePeer, on: number) => peer.content(on, deliver(1), 'x')],
    ['a channel method on channel 0', (peer: FakePeer) => peer.send(0, { id: BASIC_QOS_OK })],
    ['a close-ok that nobody asked for', (peer: FakePeer) => peer.send(0, { id: CONNECTION_CLOSE_OK })],
    [
      'a publish',
      (peer: FakePeer, on: number) =>
        peer.content(on, { id: BASIC_PUBLISH, exchange: '', routingKey: '', mandatory: false, immediate: false }, 'x'),
    ],
  ] as const)('[%s] ends the connection as `protocol`', async (_, misbehave) => {
    const it = await open(async peer => {
      misbehave(peer, await peer.openChannel())
    })
    const ended = closed(it)
    await it.openChannel()
    expect(await ended).toMatchObject({ code: 'protocol' })
  })

  test('[an answer to another request] ends the connection and rejects the request', async () => {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.expect(QUEUE_DECLARE)
      peer.send(channel, { id: TX_SELECT_OK })
    })
    const channel = await it.openChannel()
    await expect(channel.declareQueue('q')).rejects.toMatchObject({ code: 'protocol' })
  })
})

describe('blocked', () => {
  test('[connection.blocked, unblocked] are told, with the reason', async () => {
    const seen: string[] = []
    const it = await open(async peer => {
      peer.send(0, { id: CONNECTION_BLOCKED, reason: 'low on memory' })
      await peer.openChannel()
      peer.send(0, { id: CONNECTION_UNBLOCKED })
    })
    it.onUnblocked(() => seen.push('unblocked'))
    const off = it.onBlocked(() => seen.push('never'))
    off()
    it.onBlocked(reason => seen.push(`${reason}, ${it.blocked}`))
    await vi.waitUntil(() => seen.length === 1)
    await it.openChannel()
    await vi.waitUntil(() => seen.length === 2)
    expect(seen).toEqual(['low on memory, true', 'unblocked'])
    expect(it.blocked).toBe(false)
  })

  test('[backpressure] a server that does not read makes `writable` false; onDrain tells when it reads again', async () => {
    let peer: FakePeer | undefined
    const it = await open(async it => {
      peer = it
      await it.openChannel()
      it.socket.pause()
    })
    const channel = await it.openChannel()
    let drained = false
    it.onDrain(() => {
      drained = true
    })
    const body = Buffer.alloc(1_000_000)
    while (it.writable) {
      channel.publish('', 'q', {}, body)
      await new Promise(resolve => setImmediate(resolve))
    }
    expect(drained).toBe(false)
    peer!.socket.resume()
    await vi.waitUntil(() => drained && it.writable, { timeout: 10_000 })
  })
})

describe('channels', () => {
  test('[channel.close of the server] ends the channel alone and answers close-ok; its number is used again', async () => {
    const it = await open(async peer => {
      const first = await peer.openChannel()
      await peer.expect(QUEUE_DECLARE)
      await peer.expect(QUEUE_DECLARE)
      peer.send(first, { id: CHANNEL_CLOSE, replyCode: 404, replyText: 'NOT_FOUND - no', classId: 50, methodId: 10 })
      await peer.expect(CHANNEL_CLOSE_OK)
      await peer.openChannel()
      await peer.close()
    })
    const channel = await it.openChannel()
    const ended = closed(channel)
    const requests = [channel.declareQueue('a', { passive: true }), channel.declareQueue('b')]
    for (const request of requests) {
      await expect(request).rejects.toMatchObject({ name: 'AmqpError', replyCode: 404, scope: 'channel', classId: 50 })
    }
    expect(await ended).toMatchObject({ replyCode: 404 })
    expect(channel.closed).toBe(true)
    const next = await it.openChannel()
    expect(next.number).toBe(channel.number)
    await channel.close()
    await it.close()
  })

  test('[both close at once] the number is free only after close-ok', async () => {
    let crossed = false
    let second = 0
    const it = await open(async peer => {
      const first = await peer.openChannel()
      await peer.expect(QUEUE_DECLARE)
      await peer.expect(CHANNEL_CLOSE)
      peer.send(first, { id: CHANNEL_CLOSE, replyCode: 406, replyText: 'PRECONDITION_FAILED', classId: 0, methodId: 0 })
      await peer.expect(CHANNEL_CLOSE_OK)
      crossed = true
      second = await peer.openChannel()
      peer.send(first, { id: CHANNEL_CLOSE_OK })
    })
    const channel = await it.openChannel()
    const ended = closed(channel)
    const declared = channel.declareQueue('q').catch((error: unknown) => error)
    const closing = channel.close()
    await vi.waitUntil(() => crossed)
    expect((await it.openChannel()).number).not.toBe(channel.number)
    await closing
    expect(second).not.toBe(channel.number)
    expect(await ended).toMatchObject({ replyCode: 406 })
    expect(await declared).toBe(await ended)
    expect(it.closed).toBe(false)
  })

  test('[channelMax] one more is `channels-exhausted`; a closed one makes room', async () => {
    const it = await open(
      async peer => {
        await peer.openChannel()
        await peer.openChannel()
        await peer.closeChannel()
        await peer.openChannel()
      },
      { channelMax: 2 },
    )
    const [first] = [await it.openChannel(), await it.openChannel()]
    await expect(it.openChannel()).rejects.toMatchObject({ code: 'channels-exhausted' })
    await first!.close()
    expect((await it.openChannel()).number).toBe(first!.number)
  })

  test('[channel.flow] is answered', async () => {
    const answers: unknown[] = []
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      for (const active of [false, true]) {
        peer.send(channel, { id: CHANNEL_FLOW, active })
        answers.push(await peer.expect(CHANNEL_FLOW_OK))
      }
    })
    await it.openChannel()
    await vi.waitUntil(() => answers.length === 2)
    expect(answers).toMatchObject([
      { id: CHANNEL_FLOW_OK, active: false },
      { id: CHANNEL_FLOW_OK, active: true },
    ])
  })

  test('[pipelining] many requests go out at once, and each gets its own answer', async () => {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      for (let i = 0; i < 200; i++) await peer.expect(QUEUE_DECLARE)
      for (let i = 0; i < 200; i++) {
        peer.send(channel, { id: QUEUE_DECLARE_OK, queue: `q${i}`, messageCount: i, consumerCount: 0 })
      }
    })
    const channel = await it.openChannel()
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => channel.declareQueue(`q${i}`)))
    expect(answers.map(answer => answer.messageCount)).toEqual(Array.from({ length: 200 }, (_, i) => i))
  })
})

describe('confirms', () => {
  test('[publishAndConfirm] nacked, lost and confirmed', async () => {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.confirmSelect()
      for (let i = 0; i < 3; i++) await peer.expect(BASIC_PUBLISH)
      peer.send(channel, { id: BASIC_NACK, deliveryTag: 2, multiple: false, requeue: false })
      peer.send(channel, { id: BASIC_ACK, deliveryTag: 1, multiple: false })
      peer.socket.end()
    })
    const channel = await it.openChannel()
    await expect(channel.publishAndConfirm('', 'q', {}, Buffer.from('x'))).rejects.toMatchObject({ code: 'closed' })
    await channel.confirmSelect()
    await channel.confirmSelect()
    const results = await Promise.allSettled(
      [1, 2, 3].map(() => channel.publishAndConfirm('', 'q', {}, Buffer.from('x'))),
    )
    expect(results[0]!.status).toBe('fulfilled')
    expect(results[1]).toMatchObject({ reason: { name: 'PublishError', code: 'nacked' } })
    expect(results[2]).toMatchObject({ reason: { code: 'lost', cause: { code: 'disconnected' } } })
  })

  test('[EncodingError] what cannot be written takes no number', async () => {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.confirmSelect()
      await peer.expect(BASIC_PUBLISH)
      peer.send(channel, { id: BASIC_ACK, deliveryTag: 1, multiple: false })
    })
    const channel = await it.openChannel()
    await channel.confirmSelect()
    const bad = channel.publishAndConfirm('', 'x'.repeat(300), {}, Buffer.from('x'))
    const good = channel.publishAndConfirm('', 'q', {}, Buffer.from('x'))
    await expect(bad).rejects.toMatchObject({ name: 'EncodingError', code: 'string-too-long' })
    await good
  })

  test('[a callback that throws] closes the channel and settles the others', async () => {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.confirmSelect()
      await peer.expect(BASIC_PUBLISH)
      await peer.expect(BASIC_PUBLISH)
      peer.send(channel, { id: BASIC_ACK, deliveryTag: 2, multiple: true })
      await peer.closeChannel()
    })
    const channel = await it.openChannel()
    await channel.confirmSelect()
    const outcomes: ConfirmOutcome[] = []
    const ended = closed(channel)
    channel.publishConfirmed('', 'q', {}, Buffer.from('x'), undefined, () => {
      throw new Error('mine')
    })
    channel.publishConfirmed('', 'q', {}, Buffer.from('x'), undefined, outcome => outcomes.push(outcome))
    expect(await ended).toMatchObject({ code: 'listener-failed', cause: new Error('mine') })
    expect(outcomes).toEqual(['ack'])
    expect(it.closed).toBe(false)
  })
})

describe('consumers', () => {
  async function consuming(
    script: (peer: FakePeer, channel: number) => Promise<void>,
    onDelivery: (channel: Channel, tag: number) => void,
  ): Promise<Channel> {
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.expect(BASIC_CONSUME)
      // In one write with the first deliveries, as brokers do.
      peer.writer.method(channel, { id: BASIC_CONSUME_OK, consumerTag: 'tag' })
      await script(peer, channel)
    })
    const channel = await it.openChannel()
    expect(await channel.consume('q', {}, delivery => onDelivery(channel, delivery.deliveryTag))).toBe('tag')
    return channel
  }

  test('[ack] of one turn leave as one frame, and before anything else that is sent', async () => {
    const acks: unknown[] = []
    let done = false
    const channel = await consuming(
      async (peer, channel) => {
        for (let tag = 1; tag <= 5; tag++) peer.writer.content(channel, deliver(tag), {}, Buffer.from('x'))
        const { tag: _, ...first } = { tag: 0, ...(await peer.expect<BasicAck>(BASIC_ACK)) }
        acks.push(first)
        for (let tag = 6; tag <= 8; tag++) peer.writer.content(channel, deliver(tag), {}, Buffer.from('x'))
        acks.push((await peer.next()).method, (await peer.next()).method, (await peer.next()).method.id)
        done = true
      },
      (channel, tag) => {
        if (tag !== 7) channel.ack(tag)
        if (tag === 8) channel.publish('', 'next', {}, Buffer.from('y'))
      },
    )
    await vi.waitUntil(() => done)
    expect(acks).toEqual([
      { id: BASIC_ACK, deliveryTag: 5, multiple: true, channel: channel.number },
      { id: BASIC_ACK, deliveryTag: 6, multiple: false },
      { id: BASIC_ACK, deliveryTag: 8, multiple: false },
      BASIC_PUBLISH,
    ])
  })

  test('[tx.select] acknowledgements go alone: a rollback takes each back', async () => {
    const acks: unknown[] = []
    const channel = await consuming(
      async (peer, channel) => {
        await peer.expect(TX_SELECT)
        peer.send(channel, { id: TX_SELECT_OK })
        for (let tag = 1; tag <= 2; tag++) peer.content(channel, deliver(tag), 'x')
        acks.push((await peer.next()).method, (await peer.next()).method)
      },
      (channel, tag) => channel.ack(tag),
    )
    await channel.txSelect()
    await vi.waitUntil(() => acks.length === 2)
    expect(acks).toEqual([
      { id: BASIC_ACK, deliveryTag: 1, multiple: false },
      { id: BASIC_ACK, deliveryTag: 2, multiple: false },
    ])
  })

  test('[basic.cancel of the server] is told, answered where it asks, and the consumer is gone', async () => {
    let answered = false
    const cancelled: string[] = []
    const channel = await consuming(
      async (peer, channel) => {
        await peer.expect(QUEUE_DECLARE)
        peer.send(channel, { id: BASIC_CANCEL, consumerTag: 'tag', noWait: false })
        answered = (await peer.expect(BASIC_CANCEL_OK)) !== undefined
      },
      () => undefined,
    )
    channel.onCancel(tag => cancelled.push(tag))
    channel.declareQueue('x').catch(error => expect(error).toBeInstanceOf(Error))
    await vi.waitUntil(() => answered)
    expect(cancelled).toEqual(['tag'])
  })

  test('[onDelivery that throws] closes the channel; the process and the connection live on', async () => {
    const seen: number[] = []
    const channel = await consuming(
      async (peer, channel) => {
        await peer.expect(QUEUE_DECLARE)
        for (let tag = 1; tag <= 3; tag++) peer.content(channel, deliver(tag), 'x')
        await peer.closeChannel()
      },
      (_, tag) => {
        seen.push(tag)
        throw new Error('mine')
      },
    )
    const ended = closed(channel)
    await expect(channel.declareQueue('x')).rejects.toMatchObject({ code: 'listener-failed' })
    expect(await ended).toMatchObject({ code: 'listener-failed', cause: new Error('mine') })
    expect(seen).toEqual([1])
    expect(connection!.closed).toBe(false)
  })

  test('[properties that are malformed] cost the message, not the connection', async () => {
    const failures: unknown[] = []
    const it = await open(async peer => {
      const channel = await peer.openChannel()
      await peer.expect(BASIC_CONSUME)
      peer.send(channel, { id: BASIC_CONSUME_OK, consumerTag: 'tag' })
      peer.writer.content(channel, deliver(1), Buffer.from([0x20, 0, 0, 0, 0, 9]), Buffer.from('x'))
      peer.writer.content(channel, deliver(2), {}, Buffer.from('x'))
    })
    const channel = await it.openChannel()
    await channel.consume('q', {}, delivery => {
      try {
        failures.push(delivery.properties.messageId)
      } catch (error) {
        failures.push(error)
      }
    })
    await vi.waitUntil(() => failures.length === 2)
    expect(failures).toEqual([expect.objectContaining({ name: 'AmqpError', replyCode: 502 }), undefined])
    expect(channel.closed).toBe(false)
  })
})
