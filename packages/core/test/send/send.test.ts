import {
  command,
  defaultIncoming,
  defaultOutgoing,
  event,
  type OutgoingMiddleware,
  request,
  type SendOptions,
} from '@chasqui/core'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

describe('send()', () => {
  test('resolves to a receipt, and the handler gets the body and what is known of it', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const before = Date.now()
    const receipt = await bus.send(queue, { name: 'John' }, { key: 'k', headers: { tenant: 'acme', n: 1, on: true } })
    const got = Promise.withResolvers<unknown>()
    await bus.handle(queue, (body, ctx) => {
      const { id, type, key, headers, source, destination, contentType, attempt, redelivered, time } = ctx
      const timely = time !== undefined && time.getTime() >= before && time.getTime() <= Date.now()
      got.resolve({ body, id, type, key, headers, source, destination, contentType, attempt, redelivered, timely })
    })
    expect(await got.promise).toEqual({
      body: { name: 'John' },
      id: receipt.id,
      type: queue,
      key: 'k',
      headers: { tenant: 'acme', n: 1, on: true },
      source: 'core-test',
      destination: queue,
      contentType: 'application/json',
      attempt: 1,
      redelivered: false,
      timely: true,
    })
    expect(receipt).toEqual({ id: expect.stringMatching(/^[0-9a-f-]{36}$/), durable: false })
  })

  test.each([
    ['text for strings', 'Grüße', 'text/plain; charset=utf-8', 'Grüße'],
    ['bytes for Buffers', Buffer.from([0, 255]), 'application/octet-stream', Buffer.from([0, 255])],
    ['bytes for Uint8Arrays', new Uint8Array([1]), 'application/octet-stream', Buffer.from([1])],
    ['bytes for nothing', new Uint8Array(0), 'application/octet-stream', Buffer.alloc(0)],
    ['JSON for the rest', [1, null], 'application/json', [1, null]],
    ['JSON for null', null, 'application/json', null],
  ])('[plain name] writes %s', async (_what, sent, contentType, received) => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.send(queue, sent)
    for await (const delivery of bus.receive(queue)) {
      await delivery.ack()
      expect([delivery.contentType, delivery.body]).toEqual([contentType, received])
      break
    }
  })

  test('[bytes] a Buffer that its owner writes to afterwards arrives as it was sent', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const mine = Buffer.from('before')
    const sent = bus.send(queue, mine)
    mine.write('AFTER!')
    await sent
    for await (const delivery of bus.receive(queue)) {
      await delivery.ack()
      expect(String(delivery.body)).toBe('before')
      break
    }
  })

  test('[schema] the wire carries the input of a schema that transforms, the handler gets its output', async () => {
    const bus = await memoryBus()
    const contract = command(ownName(), z.object({ at: z.string().transform(text => new Date(text)) }))
    await bus.send(contract, { at: '2026-01-02T03:04:05.000Z' })
    for await (const delivery of bus.receive(contract.destination)) {
      await delivery.release()
      expect(delivery.body).toEqual({ at: '2026-01-02T03:04:05.000Z' })
      break
    }
    const got = Promise.withResolvers<unknown>()
    await bus.handle(contract, body => got.resolve(body))
    expect(await got.promise).toEqual({ at: new Date('2026-01-02T03:04:05.000Z') })
  })

  test('[schema] may be of another library, or check asynchronously', async () => {
    const bus = await memoryBus()
    const valibot = command(ownName(), v.object({ n: v.number() }))
    const slow = command(ownName(), z.object({ n: z.number().refine(async n => n > 0, 'must be positive') }))
    const got: unknown[] = []
    await bus.handle(valibot, body => got.push(body))
    await bus.handle(slow, body => got.push(body))
    await bus.send(valibot, { n: 1 })
    await bus.send(slow, { n: 2 })
    await eventually('both arrive', () => got.length === 2)
    expect(got).toEqual(expect.arrayContaining([{ n: 1 }, { n: 2 }]))
    for (const failing of [bus.send(valibot, { n: 'x' as never }), bus.send(slow, { n: -1 })]) {
      const { code, details } = await errorOf(failing)
      expect(code).toBe('body-invalid')
      expect(details.issues).toMatchObject([{ path: 'n' }])
    }
  })

  test.each([
    ['body-not-encodable', undefined, {}],
    ['body-not-encodable', () => 1, {}],
    ['header-invalid', 1, { headers: { 'x-death': 'y' } }],
    ['key-invalid', 1, { key: 'x'.repeat(256) }],
    ['option-invalid', 1, { ttlMs: 0 }],
    ['option-invalid', 1, { delayMs: 1, at: new Date() }],
    ['option-invalid', 1, { delay: 5 }],
    ['option-invalid', 1, { delayMs: 500, ttlMs: 500 }],
    ['aborted', 1, { signal: AbortSignal.abort() }],
    ['destination-missing', 1, { declare: 'never' }],
  ] as const)('rejects with %s for %o and %o', async (code, body, options) => {
    const bus = await memoryBus()
    expect((await errorOf(bus.send(ownName(), body, options as SendOptions))).code).toBe(code)
  })

  test('a moment in the past means now, on an engine that cannot delay too', async () => {
    const { bus } = await alteredBus({
      driver: ({ capabilities }) => ({
        capabilities: { ...capabilities, operations: { ...capabilities.operations, delay: 'unsupported' } },
      }),
    })
    const queue = ownName()
    const got: unknown[] = []
    await bus.handle(queue, body => got.push(body))
    await bus.send(queue, 1, { at: new Date(0) })
    await bus.send(queue, 2, { delayMs: 0 })
    await eventually('both arrive', () => got.length === 2)
    expect(got).toEqual([1, 2])
    expect((await errorOf(bus.send(queue, 3, { delayMs: 1000 }))).code).toBe('unsupported')
  })

  test('rejects what is of another kind', async () => {
    const bus = await memoryBus()
    const [e, c] = [event(ownName()), command(ownName())]
    const r = request(ownName(), z.string(), z.string())
    for (const wrong of [bus.send(e as never, 1), bus.publish(c as never, 1), bus.send(r as never, 1)]) {
      expect((await errorOf(wrong)).code).toBe('option-invalid')
    }
    expect((await errorOf(bus.send({ kind: 'command', type: 'x' } as never, 1))).code).toBe('option-invalid')
    expect((await errorOf(bus.send('not a name', 1))).code).toBe('name-invalid')
    expect((await errorOf(bus.send('a.dead-letter', 1))).code).toBe('name-invalid')
  })

  test('[key] comes from the contract, which must give a string', async () => {
    const bus = await memoryBus()
    const name = ownName()
    const good = command(name, z.object({ id: z.string() }), { key: body => body.id })
    await bus.send(good, { id: 'k1' })
    await bus.send(good, { id: 'k1' }, { key: 'k2' })
    const keys: unknown[] = []
    for await (const delivery of bus.receive(good)) {
      keys.push(delivery.key)
      await delivery.ack()
      if (keys.length === 2) break
    }
    expect(keys).toEqual(['k1', 'k2'])
    const none = command<{ id?: string }>(ownName(), { key: body => body.id as string })
    const throws = command<{ a?: { b: string } }>(ownName(), { key: body => body.a!.b })
    expect((await errorOf(bus.send(none, {}))).code).toBe('key-invalid')
    expect(await errorOf(bus.send(throws, {}))).toMatchObject({ code: 'key-invalid', cause: expect.any(TypeError) })
  })

  test('[maxBodyBytes] lets a body at the limit pass, and refuses one byte more', async () => {
    const bus = await memoryBus({ maxBodyBytes: 1000 })
    const queue = ownName()
    await bus.send(queue, Buffer.alloc(1000))
    const { code, details } = await errorOf(bus.send(queue, Buffer.alloc(1001)))
    expect([code, details]).toEqual(['body-too-large', { bytes: 1001, maxBodyBytes: 1000 }])
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 1 })
  })

  test('[maxBufferedMessages] refuses what exceeds it, and takes more once there is room', async () => {
    const bus = await memoryBus({ maxBufferedMessages: 10 })
    const queue = ownName()
    const sends = Array.from({ length: 11 }, (_, i) => bus.send(queue, i))
    expect((await errorOf(sends[10]!)).code).toBe('buffer-full')
    await Promise.all(sends.slice(0, 10))
    await bus.send(queue, 'again')
  })

  test('[maxBufferedBytes] refuses what exceeds it', async () => {
    const bus = await memoryBus({ maxBufferedBytes: 100 })
    const queue = ownName()
    const first = bus.send(queue, Buffer.alloc(60))
    expect((await errorOf(bus.send(queue, Buffer.alloc(60)))).code).toBe('buffer-full')
    await first
  })

  test('keeps the order of calls, the first of which make the queue', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const sends: Promise<unknown>[] = []
    for (let i = 0; i < 50; i++) {
      sends.push(bus.send(queue, i))
      if (i % 7 === 0) await Promise.resolve()
    }
    await Promise.all(sends)
    const got: unknown[] = []
    for await (const delivery of bus.receive(queue)) {
      got.push(delivery.body)
      await delivery.ack()
      if (got.length === 50) break
    }
    expect(got).toEqual(Array.from({ length: 50 }, (_, i) => i))
  })

  test('lets the event loop have its turn while callers send without a pause', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let turns = 0
    const count = () => {
      turns += 1
      timer = setImmediate(count)
    }
    let timer = setImmediate(count)
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        for (let i = 0; i < 100; i++) await bus.send(queue, i)
      }),
    )
    clearImmediate(timer)
    expect(turns).toBeGreaterThan(5)
  })

  test('[type and name] a queue cannot be published to, nor a topic sent to', async () => {
    const bus = await memoryBus()
    const name = ownName()
    await bus.send(name, 1)
    expect((await errorOf(bus.publish(name, 1))).code).toBe('destination-kind')
  })

  test('a publish that nobody subscribed to succeeds', async () => {
    const bus = await memoryBus()
    expect(await bus.publish(ownName(), 1)).toMatchObject({ id: expect.any(String) })
  })

  test('tells its observers of what never left', async () => {
    const bus = await memoryBus({ maxBodyBytes: 100 })
    const queue = ownName()
    const slow = command(queue, z.object({ n: z.number().refine(async n => n > 0) }))
    await errorOf(bus.send('no name', 1))
    await errorOf(bus.send(queue, 'x'.repeat(101)))
    await errorOf(bus.send(slow, { n: -1 }))
    expect(ofKind(bus.told, 'send-refused')).toMatchObject([
      { destination: 'no name', error: { code: 'name-invalid' } },
      { destination: queue, error: { code: 'body-too-large' } },
      { destination: queue, error: { code: 'body-invalid' } },
    ])
    expect(ofKind(bus.told, 'send-failed')).toEqual([])
  })

  test('tells its observers, without the body', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const { id } = await bus.send(queue, { secret: 'recipe' })
    await errorOf(bus.send(ownName(), 1, { declare: 'never' }))
    expect(ofKind(bus.told, 'sent')).toEqual([
      {
        kind: 'sent',
        id,
        type: queue,
        destination: queue,
        target: 'queue',
        bytes: 19,
        durable: false,
        durationMs: expect.any(Number),
      },
    ])
    expect(ofKind(bus.told, 'send-failed')).toMatchObject([{ error: { code: 'destination-missing' }, inDoubt: false }])
    expect(JSON.stringify(bus.told)).not.toContain('recipe')
  })
})

describe('outgoing and incoming middleware', () => {
  test('run in the order declared, around the built-in steps', async () => {
    const trace: string[] = []
    const step =
      (name: string): OutgoingMiddleware =>
      async (message, next) => {
        trace.push(`${name} ${message.bytes === undefined ? 'body' : 'bytes'}`)
        const receipt = await next(message)
        trace.push(`${name} confirmed`)
        return receipt
      }
    const bus = await memoryBus({
      outgoing: [step('first'), ...defaultOutgoing, step('last')],
      incoming: [
        (message, next) => {
          trace.push(`in ${message.body === undefined ? 'bytes' : 'body'}`)
          return next(message)
        },
        ...defaultIncoming,
        (message, next) => {
          message.body = { ...(message.body as object), added: true }
          return next(message)
        },
      ],
    })
    const queue = ownName()
    await bus.send(queue, { a: 1 })
    const got = Promise.withResolvers<unknown>()
    await bus.handle(queue, body => got.resolve(body))
    expect(await got.promise).toEqual({ a: 1, added: true })
    expect(trace).toEqual(['first body', 'last bytes', 'last confirmed', 'first confirmed', 'in bytes'])
  })

  test('may add headers and attributes, and refuse a message', async () => {
    const bus = await memoryBus({
      outgoing: [
        (message, next) => {
          if (message.body === 'forbidden') throw new Error('not here')
          message.headers = { ...message.headers, stamped: true }
          message.attributes = { ...message.attributes, tenantid: 'acme' }
          return next(message)
        },
        ...defaultOutgoing,
      ],
    })
    const queue = ownName()
    await bus.send(queue, 'fine')
    await expect(bus.send(queue, 'forbidden')).rejects.toThrow('not here')
    for await (const delivery of bus.receive(queue)) {
      await delivery.ack()
      expect([delivery.headers, delivery.tenantId]).toEqual([{ stamped: true }, 'acme'])
      break
    }
  })

  test('without a step that encodes say so', async () => {
    const bus = await memoryBus({ outgoing: [] })
    expect((await errorOf(bus.send(ownName(), 1))).code).toBe('body-not-encodable')
  })
})
