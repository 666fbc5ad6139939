import { ChasquiError, type Context, command, type Delivery, event, on } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

type TestBus = Awaited<ReturnType<typeof memoryBus>>

/** The dead letters of a source, taken from their queue. */
async function deadLetters(bus: TestBus, source: string, count: number): Promise<Delivery<unknown>[]> {
  const taken: Delivery<unknown>[] = []
  for await (const delivery of bus.receive(`${source}.dead-letter`)) {
    taken.push(delivery)
    await delivery.ack()
    if (taken.length === count) break
  }
  return taken
}

async function depth(bus: TestBus, queue: string): Promise<number | undefined> {
  return (await bus.inspector!.depth({ kind: 'queue', name: queue }))?.ready
}

describe('a handler', () => {
  test('that throws an Error without text for a message costs that message alone', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const got: unknown[] = []
    await bus.handle(
      queue,
      body => {
        got.push(body)
        if (body === 'fine') return
        throw Object.defineProperty(new Error('unused'), 'message', { value: Object.create(null) })
      },
      { retry: { attempts: 1 } },
    )
    await bus.send(queue, 'odd')
    await bus.send(queue, 'fine')
    await eventually('both are handled', () => got.length === 2)
    const [dead] = await deadLetters(bus, queue, 1)
    expect(dead!.body).toBe('odd')
  })

  test('that returns acknowledges: nothing comes back', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const got: unknown[] = []
    const consumer = await bus.handle(queue, body => got.push(body))
    await Promise.all([bus.send(queue, 1), bus.send(queue, 2)])
    await eventually('both are handled', () => got.length === 2)
    await consumer.stop()
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 0 })
  })

  test.each([
    [
      'synchronously',
      () => {
        throw new RangeError('too small')
      },
    ],
    [
      'later',
      async () => {
        throw new RangeError('too small')
      },
    ],
  ])('that always throws %s is tried five times, then the message is dead-lettered as it came', async (_how, fail) => {
    const bus = await memoryBus()
    const queue = ownName()
    const attempts: number[] = []
    await bus.handle(queue, (_body, ctx) => {
      attempts.push(ctx.attempt)
      return fail()
    })
    const { id } = await bus.send(queue, { a: 1 }, { headers: { mine: 'yes' }, key: 'k' })
    const [letter] = await deadLetters(bus, queue, 1)
    expect(attempts).toEqual([1, 2, 3, 4, 5])
    expect(letter).toMatchObject({ id, type: queue, key: 'k', body: { a: 1 }, contentType: 'application/json' })
    expect(letter!.headers).toMatchObject({
      mine: 'yes',
      chasqui_error_code: 'handler-failed',
      chasqui_error_type: 'RangeError',
      chasqui_error_message: 'too small',
      chasqui_attempts: 5,
      chasqui_original_destination: queue,
      chasqui_consumer: 'core-test',
      chasqui_reason: 'the last of 5 attempts failed: too small',
    })
    expect(ofKind(bus.told, 'dead-lettered')).toMatchObject([
      { id, source: queue, attempts: 5, deadLetter: `${queue}.dead-letter` },
    ])
    expect(ofKind(bus.told, 'attempt-failed')).toHaveLength(5)
  })

  test('that fails twice and then succeeds: three attempts, one effect, nothing dead-lettered', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const effects: unknown[] = []
    const consumer = await bus.handle(queue, async (body, ctx) => {
      if (ctx.attempt < 3) throw new Error('not yet')
      effects.push(body)
    })
    await bus.send(queue, 'x')
    await eventually('it succeeds', () => effects.length > 0)
    await consumer.stop()
    expect(effects).toEqual(['x'])
    expect(ofKind(bus.told, 'handled')).toMatchObject([{ attempt: 3 }])
    expect(await depth(bus, queue)).toBe(0)
    expect(await depth(bus, `${queue}.dead-letter`)).toBe(0)
  })

  test('[retry.attempts] has as many attempts as asked for, by call or by bus', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 2 } } })
    const [byBus, byCall] = [ownName(), ownName()]
    const fail = () => {
      throw new Error('no')
    }
    await bus.handle(byBus, fail)
    await bus.handle(byCall, fail, { retry: { attempts: 1 } })
    await Promise.all([bus.send(byBus, 1), bus.send(byCall, 1)])
    expect((await deadLetters(bus, byBus, 1))[0]!.headers.chasqui_attempts).toBe(2)
    expect((await deadLetters(bus, byCall, 1))[0]!.headers.chasqui_attempts).toBe(1)
  })

  test('gets a fresh body and fresh headers with each attempt', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const seen: unknown[] = []
    await bus.handle<string>(queue, (body, ctx) => {
      seen.push([structuredClone(body), { ...ctx.headers }])
      ;(body as { list: number[] }).list.push(2)
      ;(ctx.headers as Record<string, unknown>).mine = 'changed'
      throw new Error('no')
    })
    await bus.send(queue, { list: [1] }, { headers: { mine: 'yes' } })
    const [letter] = await deadLetters(bus, queue, 1)
    expect(seen).toEqual(Array.from({ length: 5 }, () => [{ list: [1] }, { mine: 'yes' }]))
    expect([letter!.body, letter!.headers.mine]).toEqual([{ list: [1] }, 'yes'])
  })

  test.each([
    ['a string', 'oops', 'oops'],
    ['undefined', undefined, 'undefined'],
    ['an object without prototype', Object.create(null), 'a value of type object'],
    [
      'an Error without words',
      Object.assign(new Error('x'), { message: undefined, name: 7, stack: null }),
      'undefined',
    ],
  ])('may throw %s', async (_what, thrown, says) => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(
      queue,
      () => {
        throw thrown
      },
      { retry: { attempts: 1 } },
    )
    await bus.send(queue, 1)
    expect((await deadLetters(bus, queue, 1))[0]!.headers.chasqui_error_message).toContain(says)
  })

  test('may return something whose `then` throws: a failed attempt, no crash', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const trap = Object.defineProperty({}, 'then', {
      get: () => {
        throw new Error('trapped')
      },
    })
    await bus.handle(queue, () => trap)
    await bus.send(queue, 1)
    expect((await deadLetters(bus, queue, 1))[0]!.headers.chasqui_error_message).toBe('trapped')
  })

  test('ctx.log adds id, queue and attempt; no log holds a body', async () => {
    const lines: [string, Record<string, unknown>, string | undefined][] = []
    const at = (level: string) => (fields: object, message?: string) => {
      lines.push([level, { ...fields }, message])
    }
    const bus = await memoryBus({
      logger: { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') },
    })
    const queue = ownName()
    await bus.handle(queue, (_body, ctx) => {
      ctx.log.info({ step: 1 }, 'charging')
      throw new Error('no')
    })
    const { id } = await bus.send(queue, { card: '4111-1111' })
    await deadLetters(bus, queue, 1)
    await eventually('it is logged', () => lines.some(([level]) => level === 'error'))
    expect(lines).toContainEqual(['info', { id, queue, attempt: 1, step: 1 }, 'charging'])
    expect(lines.filter(([level]) => level === 'warn').map(([, fields]) => fields.attempt)).toEqual([1, 2, 3, 4, 5])
    expect(lines).toContainEqual([
      'error',
      expect.objectContaining({ id, queue, code: 'handler-failed' }),
      'dead-lettered',
    ])
    expect(JSON.stringify(lines)).not.toContain('4111')
  })

  test('ctx.deadLetter() gives up at once, with the reason', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, (_body, ctx) => ctx.deadLetter('no such customer'))
    await bus.send(queue, 1)
    const [letter] = await deadLetters(bus, queue, 1)
    expect(letter!.headers).toMatchObject({
      chasqui_attempts: 1,
      chasqui_error_code: 'dead-lettered',
      chasqui_reason: 'no such customer',
    })
  })

  test('ctx.retry({ delayMs }) tries again not before the delay, while others flow', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const log: string[] = []
    let asked = 0
    let came = 0
    await bus.handle(
      queue,
      (body, ctx) => {
        log.push(`${body} ${ctx.attempt}`)
        if (body !== 'slow') return
        if (ctx.attempt === 1) {
          asked = performance.now()
          ctx.retry({ delayMs: 60 })
        }
        came = performance.now()
      },
      { concurrency: 1 },
    )
    await bus.send(queue, 'slow')
    await bus.send(queue, 'other')
    await eventually('the slow one is done', () => came > 0)
    expect(log).toEqual(['slow 1', 'other 1', 'slow 2'])
    expect(came - asked).toBeGreaterThanOrEqual(59)
  })

  test.each([
    ['is no JSON', Buffer.from('{'), 'application/json', 'body-not-decodable'],
    ['is of an unknown format', Buffer.from('x'), 'application/x-nobody', 'format-unknown'],
    ['does not fit the schema', Buffer.from('{"n":"one"}'), 'application/json', 'body-invalid'],
  ])('is not called when the body %s: dead-lettered with no retry', async (_what, bytes, contentType, code) => {
    const name = ownName()
    const foreign = { name: 'foreign', contentType, encode: () => bytes, decode: () => undefined }
    const sender = await memoryBus({ formats: [foreign] })
    await sender.send(command(name, { format: 'foreign' }), null)
    const bus = await memoryBus()
    let calls = 0
    await bus.handle(command(name, z.object({ n: z.number() })), () => calls++)
    for await (const delivery of sender.receive(`${name}.dead-letter`)) {
      await delivery.ack()
      expect(delivery.headers).toMatchObject({ chasqui_error_code: code, chasqui_attempts: 1 })
      break
    }
    expect(calls).toBe(0)
    await bus.send(command(name), { n: 1 })
    await eventually('the consumer goes on', () => calls === 1)
  })

  test('[onError] sees each failed attempt, and may send', async () => {
    const bus = await memoryBus()
    const [queue, alarms] = [ownName(), ownName()]
    const seen: unknown[] = []
    await bus.handle(
      queue,
      () => {
        throw new Error('no')
      },
      {
        retry: { attempts: 2 },
        onError: async (error, ctx) => {
          seen.push([(error as Error).message, ctx.attempt])
          await ctx.send(alarms, 'alarm')
        },
      },
    )
    const { id } = await bus.send(queue, 1)
    await deadLetters(bus, queue, 1)
    expect(seen).toEqual([
      ['no', 1],
      ['no', 2],
    ])
    let alarmed = 0
    for await (const delivery of bus.receive(alarms)) {
      await delivery.ack()
      expect(delivery.causationId).toBe(id)
      alarmed += 1
      if (alarmed === 2) break
    }
  })

  test.each([
    [
      'throws',
      () => {
        throw new Error('hook')
      },
    ],
    ['rejects', () => Promise.reject(new Error('hook'))],
  ])('[onError] that %s is told of, and changes nothing else', async (_how, onError) => {
    const bus = await memoryBus()
    const queue = ownName()
    let attempts = 0
    await bus.handle(
      queue,
      () => {
        attempts += 1
        throw new Error('no')
      },
      { onError },
    )
    await bus.send(queue, 1)
    await deadLetters(bus, queue, 1)
    expect(attempts).toBe(5)
    expect(ofKind(bus.told, 'hook-failed')).toHaveLength(5)
  })

  test('[faults] the intact original is published to NAME.fault', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const faults: unknown[] = []
    await bus.subscribe(`${queue}.fault`, 'watch', (body, ctx) => faults.push([body, ctx.id, ctx.headers]), {
      faults: true,
    })
    await bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'), { faults: true })
    const { id } = await bus.send(queue, { a: 1 }, { headers: { mine: 'yes' } })
    await deadLetters(bus, queue, 1)
    await eventually('the fault comes', () => faults.length === 1)
    expect(faults).toEqual([[{ a: 1 }, id, { mine: 'yes' }]])
  })

  test('[timeoutMs] fires the signal, counts as a failed attempt, and a late return counts for nothing', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const late = Promise.withResolvers<void>()
    const reasons: unknown[] = []
    await bus.handle(
      queue,
      async (_body, ctx) => {
        await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
        reasons.push(ctx.signal.reason)
        await late.promise
      },
      { timeoutMs: 20, retry: { attempts: 2 } },
    )
    await bus.send(queue, 1)
    const [letter] = await deadLetters(bus, queue, 1)
    expect(letter!.headers).toMatchObject({ chasqui_error_code: 'handler-timeout', chasqui_attempts: 2 })
    expect(reasons).toMatchObject([{ code: 'handler-timeout' }, { code: 'handler-timeout' }])
    late.resolve()
    await new Promise(resolve => setImmediate(resolve))
    expect(ofKind(bus.told, 'handled').filter(told => told.source === queue)).toEqual([])
  })

  test('[timeoutMs] a handler that never returns costs each message its attempts, and no more', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const handled: unknown[] = []
    const consumer = await bus.handle(queue, body => (body === 'hangs' ? new Promise(() => {}) : handled.push(body)), {
      timeoutMs: 15,
      concurrency: 1,
      retry: { attempts: 2 },
    })
    for (const body of ['hangs', 1, 'hangs', 2]) await bus.send(queue, body)
    await eventually('all are through', () => handled.length === 2 && ofKind(bus.told, 'dead-lettered').length === 2)
    expect(handled).toEqual([1, 2])
    await consumer.stop()
    expect(await bus.inspector!.depth({ kind: 'queue', name: queue })).toMatchObject({ ready: 0, unsettled: 0 })
  })

  test('[timeoutMs] what a timed-out handler throws later, and asks for later, changes nothing', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let attempts = 0
    const late = Promise.withResolvers<void>()
    await bus.handle(
      queue,
      async (_body, ctx) => {
        attempts += 1
        if (attempts > 1) return
        await late.promise
        ctx.deadLetter('too late')
      },
      { timeoutMs: 15 },
    )
    await bus.send(queue, 1)
    await eventually('the second attempt is through', () => ofKind(bus.told, 'handled').length === 1)
    late.resolve()
    await new Promise(resolve => setImmediate(resolve))
    expect([attempts, ofKind(bus.told, 'dead-lettered')]).toEqual([2, []])
  })

  test('[concurrency] is never exceeded, and is used', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    let running = 0
    let most = 0
    let done = 0
    await bus.handle(
      queue,
      async () => {
        running += 1
        most = Math.max(most, running)
        await new Promise(resolve => setImmediate(resolve))
        running -= 1
        done += 1
      },
      { concurrency: 3 },
    )
    await Promise.all(Array.from({ length: 50 }, (_, i) => bus.send(queue, i)))
    await eventually('all are done', () => done === 50)
    expect(most).toBe(3)
  })

  test('what it sends carries correlation, cause and tenant on', async () => {
    const bus = await memoryBus({
      outgoing: [
        (message, next) => {
          if (message.correlationId === undefined) message.attributes = { ...message.attributes, tenantid: 'acme' }
          return next(message)
        },
        ...(await import('@chasqui/core')).defaultOutgoing,
      ],
    })
    const [first, second, third] = [ownName(), ownName(), ownName()]
    const seen: unknown[] = []
    const info = (ctx: Context) => [ctx.correlationId, ctx.causationId, ctx.tenantId, ctx.source]
    const ids: string[] = []
    await bus.handle(first, async (_body, ctx) => {
      ids.push((await ctx.send(second, 2)).id)
    })
    await bus.handle(second, async (_body, ctx) => {
      seen.push(info(ctx))
      ids.push((await ctx.publish(third, 3)).id)
    })
    await bus.subscribe(third, 'end', (_body, ctx) => seen.push(info(ctx)))
    const { id } = await bus.send(first, 1)
    await eventually('the chain ends', () => seen.length === 2)
    expect(seen).toEqual([
      [id, id, 'acme', 'core-test'],
      [id, ids[0], 'acme', 'core-test'],
    ])
  })
})

describe('routes', () => {
  test('several types share a queue, each with its handler', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const Charge = command(`${queue}.charge`, z.object({ n: z.number() }), { destination: queue })
    const Refund = command(`${queue}.refund`, z.object({ n: z.number() }), { destination: queue })
    const got: unknown[] = []
    await bus.handle([
      on(Charge, body => got.push(['charge', body.n])),
      on(Refund, body => got.push(['refund', body.n])),
    ])
    await bus.send(Refund, { n: 1 })
    await bus.send(Charge, { n: 2 })
    await eventually('both are handled', () => got.length === 2)
    expect(got).toEqual([
      ['refund', 1],
      ['charge', 2],
    ])
  })

  test('[queue] a type without route is dead-lettered at once', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(command(`${queue}.known`, { destination: queue }), () => {})
    await bus.send(command(`${queue}.stranger`, { destination: queue }), 1)
    const [letter] = await deadLetters(bus, queue, 1)
    expect(letter).toMatchObject({ type: `${queue}.stranger`, headers: { chasqui_error_code: 'unrouted' } })
    expect(ofKind(bus.told, 'unrouted')).toMatchObject([{ source: queue, type: `${queue}.stranger`, count: 1 }])
  })

  test('[subscription] a type without route is acknowledged and counted', async () => {
    const bus = await memoryBus()
    const topic = ownName()
    const known = event(`${topic}.known`, { destination: topic })
    const got: unknown[] = []
    await bus.subscribe(topic, 'audit', [on(known, body => got.push(body))])
    await bus.publish(event(`${topic}.stranger`, { destination: topic }), 1)
    await bus.publish(event(`${topic}.stranger`, { destination: topic }), 2)
    await bus.publish(known, 3)
    await eventually('the known one is handled', () => got.length === 1)
    expect(ofKind(bus.told, 'unrouted').map(told => told.count)).toEqual([1, 2])
    expect(await bus.inspector!.depth({ kind: 'subscription', topic, name: 'audit' })).toMatchObject({ ready: 0 })
    expect(await depth(bus, `${topic}.audit.dead-letter`)).toBe(0)
  })

  test.each([
    ['none', () => []],
    ['two for one type', () => [on(command('a'), () => {}), on(command('a'), () => {})]],
    ['two destinations', () => [on(command('a'), () => {}), on(command('b'), () => {})]],
    ['an event', () => [on(event('a'), () => {})]],
    ['no route at all', () => [{}]],
  ])('are refused when there are %s', async (_what, routes) => {
    const bus = await memoryBus()
    expect((await errorOf(bus.handle(routes() as never))).code).toBe('option-invalid')
  })
})

describe('subscriptions', () => {
  test('each gets its own copy; consumers of one compete', async () => {
    const bus = await memoryBus()
    const placed = event(ownName(), z.object({ n: z.number() }))
    const [billing, audit]: [number[], number[]] = [[], []]
    for (let i = 0; i < 2; i++) await bus.subscribe(placed, 'billing', body => billing.push(body.n))
    await bus.subscribe(placed, 'audit', body => audit.push(body.n))
    await Promise.all(Array.from({ length: 20 }, (_, n) => bus.publish(placed, { n })))
    const all = Array.from({ length: 20 }, (_, n) => n)
    await eventually('all copies are handled', () => billing.length >= 20 && audit.length >= 20)
    expect(billing.toSorted((a, b) => a - b)).toEqual(all)
    expect(audit.toSorted((a, b) => a - b)).toEqual(all)
  })

  test('a failing one has its own dead letters, the other is not troubled', async () => {
    const bus = await memoryBus()
    const topic = ownName()
    const fine: unknown[] = []
    await bus.subscribe(topic, 'bad', () => {
      throw new Error('no')
    })
    await bus.subscribe(topic, 'good', body => fine.push(body))
    await bus.publish(topic, 'x')
    const [letter] = await deadLetters(bus, `${topic}.bad`, 1)
    expect(letter!.headers.chasqui_original_destination).toBe(`${topic}.bad`)
    await eventually('the good one has it', () => fine.length === 1)
  })

  test.each([
    ['a dotted name', 'a.b', 'name-invalid'],
    ['an empty name', '', 'name-invalid'],
  ])('with %s are refused', async (_what, name, code) => {
    const bus = await memoryBus()
    expect((await errorOf(bus.subscribe(ownName(), name, () => {}))).code).toBe(code)
  })

  test('routes of another topic are refused', async () => {
    const bus = await memoryBus()
    expect((await errorOf(bus.subscribe('a-topic', 'x', [on(event('other'), () => {})]))).code).toBe('option-invalid')
  })
})

describe('consume options', () => {
  test.each([
    [{ concurrency: 0 }, 'option-invalid'],
    [{ window: 70_000 }, 'option-invalid'],
    [{ concurency: 1 }, 'option-invalid'],
    [{ retry: { attempts: -1 } }, 'option-invalid'],
    [{ ordered: true, orderBy: 'key' }, 'option-invalid'],
    [{ ordered: true, concurrency: 2 }, 'option-invalid'],
    [{ orderBy: 'key', retry: { delays: [300_001] } }, 'policy-not-orderable'],
    [{ ordered: true, retry: { attempts: 20, delays: { maxMs: 600_000 } } }, 'policy-not-orderable'],
    [{ retry: { attempts: 1, delays: [5] } }, 'policy-invalid'],
    [{ from: 'earliest' }, 'unsupported'],
    [{ declare: 'never' }, 'destination-missing'],
    [{ signal: AbortSignal.abort() }, 'aborted'],
  ])('%j is refused with %s where it cannot be', async (options, code) => {
    const bus = await memoryBus()
    expect((await errorOf(bus.handle(ownName(), () => {}, options as object))).code).toBe(code)
    expect(await bus.health()).toEqual({ ok: true, details: [{ name: 'connection', ok: true }] })
  })

  test('a handler that is no function is refused', async () => {
    const bus = await memoryBus()
    expect((await errorOf(bus.handle('x', undefined as never))).code).toBe('option-invalid')
    expect((await errorOf(bus.subscribe('x', 'y', {} as never))).code).toBe('option-invalid')
    expect((await errorOf(() => on(command('x'), 1 as never))).code).toBe('option-invalid')
  })

  test('[durable] false uses and makes a transient queue', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const got = Promise.withResolvers<unknown>()
    await bus.handle(queue, (_body, ctx) => got.resolve(ctx.id), { durable: false })
    const { id } = await bus.send(queue, 1, { durable: false })
    expect(await got.promise).toBe(id)
    expect(await bus.inspector!.depth({ kind: 'queue', name: `${queue}.dead-letter` })).toBeUndefined()
  })
})

describe('a failure with a code of ours', () => {
  test('thrown by the handler keeps its code in the dead letter', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(
      queue,
      () => {
        throw new ChasquiError('send-timeout', 'downstream is away')
      },
      { retry: { attempts: 2 } },
    )
    await bus.send(queue, 1)
    expect((await deadLetters(bus, queue, 1))[0]!.headers.chasqui_error_code).toBe('send-timeout')
  })
})
