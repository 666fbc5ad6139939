/** What the core does when its driver fails: nothing is lost, nothing is judged twice, and it is told. */
import type { SendResult } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import { describe, expect, test, vi } from 'vitest'
import { alteredBus } from './altered-driver.ts'
import { errorOf, eventually, ofKind, ownName } from './fixture.ts'

const refused: SendResult = {
  ok: false,
  inDoubt: true,
  error: new ChasquiError('disconnected', 'The connection was lost before the engine answered.'),
}
const depthOf = async (altered: Awaited<ReturnType<typeof alteredBus>>, name: string) =>
  altered.driver.inspector!.depth({ kind: 'queue', name })

describe('sending', () => {
  test('each caller gets the result of its own message', async () => {
    const { bus, told } = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) => {
          const results = await real.send(batch, deadline)
          return results.map((result, i) => (String(batch[i]!.message.body) === '13' ? refused : result))
        },
      }),
    })
    const queue = ownName()
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, i) => bus.send(queue, i)))
    expect(outcomes.flatMap((outcome, i) => (outcome.status === 'rejected' ? [i] : []))).toEqual([13])
    expect(ofKind(told, 'send-failed')).toMatchObject([{ inDoubt: true, error: { code: 'disconnected' } }])
  })

  test('a driver that rejects or answers too little is a typed error for each caller', async () => {
    const throwing = () => {
      throw new Error('boom')
    }
    for (const send of [() => Promise.reject(new Error('boom')), async () => [], throwing]) {
      const { bus } = await alteredBus({ driver: () => ({ send }) })
      const queue = ownName()
      expect((await errorOf(bus.send(queue, 1))).code).toBe('internal')
    }
  })

  test('calls of one tick travel in one batch', async () => {
    const sizes: number[] = []
    const { bus } = await alteredBus({
      driver: real => ({
        send: (batch, deadline) => {
          sizes.push(batch.length)
          return real.send(batch, deadline)
        },
      }),
    })
    const queue = ownName()
    await bus.send(queue, 'declares')
    await Promise.all(Array.from({ length: 100 }, (_, i) => bus.send(queue, i)))
    expect(sizes).toEqual([1, 100])
  })

  test('concurrent first users share one declaration; one that failed is tried again', async () => {
    let declared = 0
    const { bus } = await alteredBus({
      driver: real => ({
        declare: async (topology, options) => {
          declared += 1
          if (declared === 1) throw new ChasquiError('disconnected', 'Not now.')
          return real.declare(topology, options)
        },
      }),
    })
    const queue = ownName()
    const first = await Promise.allSettled([bus.send(queue, 1), bus.send(queue, 2)])
    expect(first.map(one => one.status)).toEqual(['rejected', 'rejected'])
    await Promise.all([bus.send(queue, 3), bus.send(queue, 4)])
    await bus.send(queue, 5)
    expect(declared).toBe(2)
  })

  test('[sendTimeoutMs] bounds a declaration that the engine does not answer', async () => {
    const { bus } = await alteredBus(
      { driver: () => ({ declare: () => new Promise(() => {}) }) },
      { sendTimeoutMs: 20 },
    )
    expect((await errorOf(bus.send(ownName(), 1))).code).toBe('send-timeout')
  })

  test('[signal] gives up waiting for the confirm; the other sends go on', async () => {
    const hold = Promise.withResolvers<void>()
    const { bus } = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) => {
          await hold.promise
          return real.send(batch, deadline)
        },
      }),
    })
    const queue = ownName()
    const abort = new AbortController()
    const mine = bus.send(queue, 'mine', { signal: abort.signal })
    const other = bus.send(queue, 'other')
    setTimeout(() => abort.abort(new Error('changed my mind')), 5)
    const { code, cause } = await errorOf(mine)
    expect([code, cause]).toEqual(['aborted', new Error('changed my mind')])
    hold.resolve()
    await other
  })

  test('a queue deleted underneath is an error once, and made again by the next send', async () => {
    let gone = false
    const { bus } = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) => {
          if (!gone) return real.send(batch, deadline)
          gone = false
          return batch.map(() => ({
            ok: false,
            inDoubt: false,
            error: new ChasquiError('unroutable', 'No such queue.'),
          }))
        },
        declare: vi.fn((topology, options) => real.declare(topology, options)),
      }),
    })
    const queue = ownName()
    await bus.send(queue, 1)
    gone = true
    expect((await errorOf(bus.send(queue, 2))).code).toBe('unroutable')
    await bus.send(queue, 3)
  })
})

describe('closing while the engine takes nothing', () => {
  test('[deadlineMs] bounds the wait for confirms; every send settles all the same', async () => {
    const closing = Promise.withResolvers<void>()
    const closed: SendResult = { ok: false, inDoubt: true, error: new ChasquiError('closed', 'The driver was closed.') }
    const { bus } = await alteredBus({
      driver: real => ({
        send: async batch => {
          await closing.promise
          return batch.map(() => closed)
        },
        close: async () => {
          closing.resolve()
          await real.close()
        },
      }),
    })
    const waiting = [bus.send(ownName(), 1), bus.send(ownName(), 2)].map(sent => errorOf(sent))
    await bus.close({ deadlineMs: 10 })
    expect((await Promise.all(waiting)).map(error => error.code)).toEqual(['closed', 'closed'])
  })
})

describe('dead-lettering', () => {
  test('a copy that is not confirmed leaves the original where it is, and is tried again', async () => {
    let refusals = 2
    const altered = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) => {
          const { to } = batch[0]!
          if (!to.name.endsWith('.dead-letter') || refusals === 0) return real.send(batch, deadline)
          refusals -= 1
          expect(await depthOf(altered, queue)).toMatchObject({ unsettled: 1 })
          return batch.map(() => refused)
        },
      }),
    })
    const queue = ownName()
    let calls = 0
    await altered.bus.handle(queue, (_body, ctx) => {
      calls += 1
      ctx.deadLetter('no')
    })
    await altered.bus.send(queue, 1)
    const letters = `${queue}.dead-letter`
    await eventually('it moved at last', async () => (await depthOf(altered, letters))?.ready === 1)
    expect(calls).toBe(1)
    expect(ofKind(altered.told, 'dead-letter-failed').map(told => told.delayMs)).toEqual([1000, 2000])
    await eventually('the original is gone', async () => (await depthOf(altered, queue))?.unsettled === 0)
  })

  test('stop() does not wait for a move that cannot be: the original goes back', async () => {
    const altered = await alteredBus({
      driver: real => ({
        send: async (batch, deadline) =>
          batch[0]!.to.name.endsWith('.dead-letter') ? batch.map(() => refused) : real.send(batch, deadline),
      }),
    })
    const queue = ownName()
    const consumer = await altered.bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'))
    await altered.bus.send(queue, 1)
    await eventually('it was tried', () => ofKind(altered.told, 'dead-letter-failed').length > 0)
    await consumer.stop({ deadlineMs: 10 })
    expect(await depthOf(altered, queue)).toMatchObject({ ready: 1, unsettled: 0 })
  })

  test('[declare: never] without a dead-letter queue the message stays', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    await altered.driver.declare({ destinations: [{ kind: 'queue', name: queue, durable: true }] }, { create: true })
    await altered.bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'), { declare: 'never' })
    await altered.bus.send(queue, 1, { declare: 'never' })
    const [told] = await eventually('it was tried', () => {
      const failed = ofKind(altered.told, 'dead-letter-failed')
      return failed.length > 0 && failed
    })
    expect(told).toMatchObject({ error: { code: 'destination-missing' } })
    expect(await depthOf(altered, queue)).toMatchObject({ unsettled: 1 })
  })

  test('a consumer of dead letters that fails keeps them there', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    const letters = `${queue}.dead-letter`
    const failing = await altered.bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'))
    await altered.bus.send(queue, 1)
    await eventually('it lies there', async () => (await depthOf(altered, letters))?.ready === 1)
    await failing.stop()
    const reader = await altered.bus.handle(letters, () => {
      throw new Error('cannot read it either')
    })
    await eventually('it was tried', () => ofKind(altered.told, 'dead-letter-failed').length > 0)
    await reader.stop({ deadlineMs: 0 })
    expect(await depthOf(altered, letters)).toMatchObject({ ready: 1 })
    expect(await depthOf(altered, `${letters}.dead-letter`)).toBeUndefined()
  })

  test('[transfer] is one step where the engine has it', async () => {
    const transferred: unknown[] = []
    const altered = await alteredBus({
      driver: real => ({
        capabilities: {
          ...real.capabilities,
          operations: { ...real.capabilities.operations, transfer: 'native' },
        },
      }),
      receiver: real => ({
        transfer: async (lane, epoch, tags, out) => {
          transferred.push(out.map(one => one.to.name))
          return real.settle(lane, epoch, tags, 'ack')
        },
      }),
    })
    const queue = ownName()
    await altered.bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'))
    await altered.bus.send(queue, 1)
    await eventually('it moved', () => ofKind(altered.told, 'dead-lettered').length === 1)
    expect(transferred).toEqual([[`${queue}.dead-letter`]])
  })
})

describe('a lost connection', () => {
  test('[settle] stale acks are told of, and refused to those who settle by hand', async () => {
    const altered = await alteredBus({ receiver: () => ({ settle: async () => 'stale' }) })
    const queue = ownName()
    await altered.bus.send(queue, 1)
    for await (const delivery of altered.bus.receive(queue)) {
      expect((await errorOf(delivery.ack())).code).toBe('delivery-stale')
      break
    }
    expect(ofKind(altered.told, 'settled-late')).toMatchObject([{ source: queue, count: 1 }])
  })

  test.each([
    ['rejects', () => Promise.reject(new Error('gone'))],
    [
      'throws',
      () => {
        throw new Error('gone')
      },
    ],
  ])('[settle] that %s counts as stale: the engine hands out again', async (_how, settle) => {
    const altered = await alteredBus({ receiver: () => ({ settle }) })
    const queue = ownName()
    await altered.bus.handle(queue, () => {})
    await altered.bus.send(queue, 1)
    const [told] = await eventually('it is told', () => {
      const late = ofKind(altered.told, 'settled-late')
      return late.length > 0 && late
    })
    expect(told).toMatchObject({ count: 1, error: new Error('gone') })
  })

  test('[revoke] fires the signal of running handlers, drops what waits, and settles none of it', async () => {
    const settled: unknown[] = []
    const altered = await alteredBus({
      receiver: real => ({
        settle: (lane, epoch, tags, outcome) => {
          settled.push([tags, outcome])
          return real.settle(lane, epoch, tags, outcome)
        },
      }),
    })
    const queue = ownName()
    const begun: unknown[] = []
    const reason = Promise.withResolvers<unknown>()
    await altered.bus.handle(
      queue,
      async (body, ctx) => {
        begun.push(body)
        await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
        reason.resolve(ctx.signal.reason)
      },
      { concurrency: 1 },
    )
    await Promise.all([altered.bus.send(queue, 1), altered.bus.send(queue, 2)])
    await eventually('one runs', () => begun.length === 1)
    await altered.sinks[0]!.revoke(queue, 1, 0)
    expect(await reason.promise).toMatchObject({ code: 'delivery-stale' })
    await new Promise(resolve => setImmediate(resolve))
    expect([begun, settled]).toEqual([[1], []])
  })

  test('[revoke] with grace lets running handlers finish and settle first', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    const go = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<boolean>()
    let aborted = false
    await altered.bus.handle(queue, async (_body, ctx) => {
      begun.resolve(true)
      await go.promise
      aborted = ctx.signal.aborted
    })
    await altered.bus.send(queue, 1)
    await begun.promise
    const revoked = altered.sinks[0]!.revoke(queue, 1, 5000)
    go.resolve()
    await revoked
    expect(aborted).toBe(false)
    expect(await depthOf(altered, queue)).toMatchObject({ ready: 0, unsettled: 0 })
  })

  test('[fail] a consumer that ended for good is unhealthy, says why, and can be stopped', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    const consumer = await altered.bus.handle(queue, () => {})
    altered.sinks[0]!.fail(new ChasquiError('consumer-failed', 'The queue cannot be made again.'))
    expect(await altered.bus.health()).toMatchObject({
      ok: false,
      details: [{ ok: true }, { name: queue, ok: false, reason: 'The queue cannot be made again.' }],
    })
    expect(ofKind(altered.told, 'consumer-failed')).toHaveLength(1)
    await consumer.stop()
  })

  test('[fail] ends a receive loop with the error', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    const next = altered.bus.receive(queue).next()
    await eventually('it receives', () => altered.sinks.length === 1)
    altered.sinks[0]!.fail(new ChasquiError('consumer-failed', 'The queue cannot be made again.'))
    expect((await errorOf(next)).code).toBe('consumer-failed')
  })

  test('[state] changes are told, with the time that the engine was away', async () => {
    const states = Promise.withResolvers<(change: { state: 'up' | 'down' | 'blocked'; reason?: string }) => void>()
    const { bus, told } = await alteredBus({
      driver: () => ({
        onState: listener => {
          states.resolve(listener)
          return () => {}
        },
      }),
    })
    const tell = await states.promise
    tell({ state: 'down', reason: 'connection reset' })
    tell({ state: 'up' })
    expect(ofKind(told, 'state')).toMatchObject([{ state: 'down', reason: 'connection reset' }, { state: 'up' }])
    expect(ofKind(told, 'reconnected')).toMatchObject([{ downMs: expect.any(Number) }])
    await bus.close()
  })

  test('[health] says why the engine is away, and never throws', async () => {
    let listener: ((change: { state: 'down'; reason: string }) => void) | undefined
    const { bus } = await alteredBus({
      driver: () => ({
        state: 'down',
        onState: given => {
          listener = given
          return () => {}
        },
      }),
    })
    listener?.({ state: 'down', reason: 'connection refused' })
    expect(await bus.health()).toEqual({
      ok: false,
      details: [{ name: 'connection', ok: false, reason: 'connection refused' }],
    })
  })
})

describe('deliveries that come before receive() has resolved', () => {
  test('are handled and settled like all others', async () => {
    const altered = await alteredBus({
      driver: real => ({
        receive: async (source, sink, options) => {
          const receiver = await real.receive(source, sink, options)
          await eventually('they were delivered', async () => (await depthOf(altered, source.name))?.unsettled === 2)
          return receiver
        },
      }),
    })
    const queue = ownName()
    await Promise.all([altered.bus.send(queue, 1), altered.bus.send(queue, 2)])
    const got: unknown[] = []
    await altered.bus.handle(queue, body => got.push(body))
    await eventually('both are settled', async () => (await depthOf(altered, queue))?.unsettled === 0)
    expect(got).toEqual([1, 2])
  })
})
