import { randomUUID } from 'node:crypto'
import { command, on, request } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { type Altered, alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, ofKind, ownName } from '../fixture.ts'

const watchedBus = (): Promise<Altered> => alteredBus({})

const Price = () =>
  request(
    `prices-${randomUUID()}`,
    z.object({ sku: z.string() }),
    z.object({ price: z.number().transform(n => n * 2) }),
  )

describe('request()', () => {
  test('resolves to the reply, which the requester gets as its schema’s output', async () => {
    const { bus, told } = await watchedBus()
    const price = Price()
    await bus.handle(price, query => ({ price: query.sku.length }))
    expect(await bus.request(price, { sku: 'abc' })).toEqual({ price: 6 })
    expect(ofKind(told, 'replied')).toHaveLength(1)
  })

  test('is rejected at once where no route of its queue takes the type', async () => {
    const { bus } = await watchedBus()
    const [price, other] = [Price(), Price()]
    const misled = request(other.type, z.unknown(), z.unknown(), { destination: price.type })
    await bus.handle([on(price, () => ({ price: 1 }))])
    const { code, details } = await errorOf(bus.request(misled, {}))
    expect([code, details.remoteCode]).toEqual(['request-failed', 'unrouted'])
  })

  test('a thousand at once find their own replies', async () => {
    const { bus } = await watchedBus()
    const queue = ownName()
    await bus.handle(queue, async body => ({ echo: body }))
    const replies = await Promise.all(Array.from({ length: 1000 }, (_, i) => bus.request(queue, i)))
    expect(replies).toEqual(Array.from({ length: 1000 }, (_, i) => ({ echo: i })))
  })

  test('rejects with the remote’s code and sentence when the handler failed for good; the request is a dead letter', async () => {
    const { bus, told } = await watchedBus()
    const price = Price()
    await bus.handle(price, (_query, ctx) => ctx.deadLetter('no such article'))
    const { code, message, details } = await errorOf(bus.request(price, { sku: 'x' }))
    expect([code, details]).toEqual([
      'request-failed',
      { remoteCode: 'dead-lettered', remoteMessage: 'no such article' },
    ])
    expect(message).toContain('no such article')
    await eventually('it is a dead letter', () => ofKind(told, 'dead-lettered').length === 1)
  })

  test('carries the details of the remote’s error, and leaves out those that are too long or no JSON', async () => {
    const { bus } = await watchedBus()
    const queue = ownName()
    const details: Record<string, unknown>[] = [{ left: 2 }, { long: 'x'.repeat(5000) }, { big: 1n }]
    const retry = { attempts: 1 }
    const fail = (i: unknown) => {
      throw Object.assign(new Error('sold out'), { details: details[Number(i)] })
    }
    await bus.handle(queue, fail, { retry })
    const remote = { remoteCode: 'handler-failed', remoteMessage: 'sold out' }
    expect((await errorOf(bus.request(queue, 0))).details).toEqual({ ...remote, remoteDetails: { left: 2 } })
    expect((await errorOf(bus.request(queue, 1))).details).toEqual(remote)
    expect((await errorOf(bus.request(queue, 2))).details).toEqual(remote)
  })

  test('a reply that does not fit fails the handler’s attempt, and at last the request', async () => {
    const { bus, told } = await watchedBus()
    const price = Price()
    await bus.handle(price, () => ({ price: 'dear' }) as never)
    expect((await errorOf(bus.request(price, { sku: 'x' }))).details).toMatchObject({ remoteCode: 'body-invalid' })
    expect(ofKind(told, 'attempt-failed')).toHaveLength(1)
  })

  test('[timeoutMs] rejects when nobody answers, and a late reply troubles nobody', async () => {
    const { bus, told } = await watchedBus()
    const price = Price()
    const late = Promise.withResolvers<{ price: number }>()
    await bus.handle(price, () => late.promise)
    expect((await errorOf(bus.request(price, { sku: 'x' }, { timeoutMs: 20 }))).code).toBe('request-timeout')
    late.resolve({ price: 1 })
    expect(await bus.request(price, { sku: 'y' })).toEqual({ price: 2 })
    expect(ofKind(told, 'late-reply')).toMatchObject([{ type: `${price.type}.reply` }])
  })

  test('the reply queue does not grow, whether or not anybody waits for what comes', async () => {
    let queue = ''
    const { bus, driver, told } = await alteredBus({
      driver: real => ({
        receive: (source, sink, options) => {
          if (source.kind === 'reply') queue = source.name
          return real.receive(source, sink, options)
        },
      }),
    })
    const gate = Promise.withResolvers<void>()
    const asked = ownName()
    await bus.handle(asked, () => gate.promise.then(() => 1), { concurrency: 100 })
    const timedOut = Array.from({ length: 100 }, () => errorOf(bus.request(asked, 1, { timeoutMs: 50 })))
    expect(new Set((await Promise.all(timedOut)).map(({ code }) => code))).toEqual(new Set(['request-timeout']))
    gate.resolve()
    await Promise.all(Array.from({ length: 100 }, () => bus.request(asked, 1)))
    await eventually('all late ones are told', () => ofKind(told, 'late-reply').length === 100)
    const depth = () => driver.inspector!.depth({ kind: 'reply', name: queue })
    await eventually('nothing is left there', async () => {
      const { ready, unsettled } = (await depth())!
      return ready === 0 && unsettled === 0
    })
  })

  test('[signal] gives up waiting', async () => {
    const { bus } = await watchedBus()
    const abort = new AbortController()
    setTimeout(() => abort.abort(), 5)
    expect((await errorOf(bus.request(ownName(), 1, { signal: abort.signal }))).code).toBe('aborted')
  })

  test('[signal] the handler’s signal fires with `aborted`; what it then throws is not tried again', async () => {
    const { bus, told } = await watchedBus()
    const queue = ownName()
    const reason = Promise.withResolvers<unknown>()
    await bus.handle(queue, async (_, ctx) => {
      await new Promise(resolve => ctx.signal.addEventListener('abort', resolve, { once: true }))
      reason.resolve(ctx.signal.reason)
      throw ctx.signal.reason
    })
    const abort = new AbortController()
    const asked = errorOf(bus.request(queue, 1, { signal: abort.signal }))
    await eventually('it runs', () => ofKind(told, 'received').length === 1)
    abort.abort()
    expect((await asked).code).toBe('aborted')
    expect(await reason.promise).toMatchObject({ code: 'aborted', message: expect.stringContaining('requester') })
    await eventually('it is told', () => ofKind(told, 'request-cancelled').length === 1)
    expect([...ofKind(told, 'retried'), ...ofKind(told, 'dead-lettered'), ...ofKind(told, 'late-reply')]).toEqual([])
    expect((await bus.inspector!.depth({ kind: 'queue', name: queue }))?.ready).toBe(0)
  })

  test('[signal] a request that was given up before its handler began is cancelled when it does', async () => {
    const { bus, told } = await watchedBus()
    const queue = ownName()
    await bus.declare([{ queue }])
    const signal = new AbortController().signal
    expect((await errorOf(bus.request(queue, 1, { signal, timeoutMs: 20 }))).code).toBe('request-timeout')
    const fired = Promise.withResolvers<void>()
    await bus.handle(queue, async (_, ctx) => {
      ctx.signal.addEventListener('abort', () => fired.resolve(), { once: true })
      await fired.promise
      return 'too late'
    })
    await fired.promise
    await eventually('it is told', () => ofKind(told, 'request-cancelled').length === 1)
    expect(ofKind(told, 'late-reply')).toEqual([])
  })

  test('[signal] one that never fires changes nothing; without one the handler is not told of a time-out', async () => {
    const { bus, told } = await watchedBus()
    const queue = ownName()
    const seen: boolean[] = []
    await bus.handle(queue, async (body, ctx) => {
      await new Promise(resolve => setTimeout(resolve, Number(body)))
      seen.push(ctx.signal.aborted)
      return body
    })
    const { signal } = new AbortController()
    expect(await bus.request(queue, 5, { signal })).toBe(5)
    expect((await errorOf(bus.request(queue, 60, { timeoutMs: 10 }))).code).toBe('request-timeout')
    await eventually('both are through', () => seen.length === 2)
    expect(seen).toEqual([false, false])
    expect(ofKind(told, 'request-cancelled')).toEqual([])
  })

  test('rejects with what keeps the request from being sent', async () => {
    const { bus } = await watchedBus()
    const price = Price()
    expect((await errorOf(bus.request(price, { sku: 1 } as never))).code).toBe('body-invalid')
    expect((await errorOf(bus.request(ownName(), 1, { declare: 'never' }))).code).toBe('destination-missing')
    expect((await errorOf(bus.request(ownName(), 1, { timeoutMs: 0 }))).code).toBe('option-invalid')
    expect((await errorOf(bus.request(command(ownName()) as never, 1))).code).toBe('option-invalid')
  })

  test('ends with the bus', async () => {
    const { bus } = await watchedBus()
    const waiting = errorOf(bus.request(ownName(), 1))
    await new Promise(resolve => setImmediate(resolve))
    await bus.close()
    expect((await waiting).code).toBe('closed')
  })

  test('a requester that is gone is no failure of the handler’s', async () => {
    const altered = await watchedBus()
    const price = Price()
    const body = Buffer.from('{"sku":"x"}')
    const to = { kind: 'queue', name: price.destination } as const
    await altered.bus.handle([on(price, () => ({ price: 1 }))])
    const message = { type: price.type, attributes: {}, headers: {}, replyTo: 'nobody', durable: true, body }
    await altered.driver.send([{ to, message }], Date.now() + 1000)
    await eventually('it is handled', () => ofKind(altered.told, 'handled').length === 1)
    await altered.bus.close()
    expect(ofKind(altered.told, 'attempt-failed')).toEqual([])
  })

  test('a handler may ask others', async () => {
    const { bus } = await watchedBus()
    const [outer, inner] = [ownName(), ownName()]
    await bus.handle(inner, body => `inner ${body}`)
    await bus.handle(outer, async (body, ctx) => `outer ${await ctx.request(inner, body)}`)
    expect(await bus.request(outer, 'x')).toBe('outer inner x')
  })
})
