import { command, type Delivery, event } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ownName } from '../fixture.ts'

type TestBus = Awaited<ReturnType<typeof memoryBus>>

async function filled(bus: TestBus, bodies: readonly unknown[]): Promise<string> {
  const queue = ownName()
  await Promise.all(bodies.map(body => bus.send(queue, body)))
  return queue
}

const depth = async (bus: TestBus, queue: string) => bus.inspector!.depth({ kind: 'queue', name: queue })

describe('receive()', () => {
  test('hands out one by one, to be settled in any order', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, [1, 2, 3])
    const open: Delivery<unknown>[] = []
    for await (const delivery of bus.receive(queue)) {
      open.unshift(delivery)
      if (open.length < 3) continue
      for (const one of open) await one.ack()
      break
    }
    expect(open.map(one => one.body)).toEqual([3, 2, 1])
    expect(await depth(bus, queue)).toMatchObject({ ready: 0 })
  })

  test('leaving the loop gives back what is open, in order, and settling it then is stale', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, ['a', 'b', 'c'])
    let kept: Delivery<unknown> | undefined
    for await (const delivery of bus.receive(queue)) {
      kept = delivery
      break
    }
    expect((await errorOf(kept!.ack())).code).toBe('delivery-stale')
    expect(await depth(bus, queue)).toMatchObject({ ready: 3 })
    const again: unknown[] = []
    for await (const delivery of bus.receive(queue)) {
      again.push([delivery.body, delivery.redelivered])
      await delivery.ack()
      if (again.length === 3) break
    }
    expect(again.map(one => (one as unknown[])[0])).toEqual(['a', 'b', 'c'])
    expect(again[0]).toEqual(['a', true])
  })

  test("[subscription] hands out a subscription's own copies, and a command has none", async () => {
    const bus = await memoryBus()
    const Placed = event(ownName(), z.object({ id: z.number() }))
    await bus.declare([
      { topic: Placed, subscription: 'audit' },
      { topic: Placed, subscription: 'billing' },
    ])
    for (const id of [1, 2]) await bus.publish(Placed, { id })
    const bodies: unknown[] = []
    for await (const delivery of bus.receive(Placed, { subscription: 'audit' })) {
      bodies.push(delivery.body)
      await delivery.ack()
      if (bodies.length === 2) break
    }
    expect(bodies).toEqual([{ id: 1 }, { id: 2 }])
    const left = (name: string) => bus.inspector!.depth({ kind: 'subscription', topic: Placed.destination, name })
    expect([(await left('audit'))?.ready, (await left('billing'))?.ready]).toEqual([0, 2])

    const refused = async (from: unknown, options: object) =>
      (await errorOf(bus.receive(from as string, options).next())).code
    expect(await refused(command('charge'), { subscription: 'audit' })).toBe('option-invalid')
    expect(await refused(Placed, {})).toBe('option-invalid')
    expect(await refused(Placed.destination, { subscription: 'au.dit' })).toBe('name-invalid')
    expect(await refused('orders', { subscription: 1 })).toBe('option-invalid')
  })

  test('throwing in the loop gives back too', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, [1])
    const loop = async () => {
      for await (const _ of bus.receive(queue)) throw new Error('mine')
    }
    await expect(loop()).rejects.toThrow('mine')
    expect(await depth(bus, queue)).toMatchObject({ ready: 1 })
  })

  test.each(['ack', 'release', 'deadLetter'] as const)(
    'settling again after %s is refused and changes nothing',
    async how => {
      const bus = await memoryBus()
      const queue = await filled(bus, [1])
      for await (const delivery of bus.receive(queue)) {
        await delivery[how]('reason' as never)
        for (const again of [delivery.ack(), delivery.release(), delivery.deadLetter('x')]) {
          expect((await errorOf(again)).code).toBe('already-settled')
        }
        break
      }
      expect(await depth(bus, queue)).toMatchObject({ ready: how === 'release' ? 1 : 0 })
      expect(await depth(bus, `${queue}.dead-letter`)).toMatchObject({ ready: how === 'deadLetter' ? 1 : 0 })
    },
  )

  test('release() brings it back, marked as redelivered', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, ['x'])
    const seen: boolean[] = []
    for await (const delivery of bus.receive(queue)) {
      seen.push(delivery.redelivered)
      if (seen.length === 2) {
        await delivery.ack()
        break
      }
      await delivery.release()
    }
    expect(seen).toEqual([false, true])
  })

  test('release({ delayMs }) brings it back not before', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, ['x'])
    let released = 0
    for await (const delivery of bus.receive(queue)) {
      if (released > 0) {
        await delivery.ack()
        break
      }
      released = performance.now()
      void delivery.release({ delayMs: 50 })
    }
    expect(performance.now() - released).toBeGreaterThanOrEqual(49)
  })

  test('release() refuses a delay out of bounds, and the delivery stays open', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, ['x'])
    for await (const delivery of bus.receive(queue)) {
      expect((await errorOf(delivery.release({ delayMs: -1 }))).code).toBe('option-invalid')
      await delivery.ack()
      break
    }
    expect(await depth(bus, queue)).toMatchObject({ ready: 0 })
  })

  test('deadLetter() resolves when it lies there, with its reason', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, [{ a: 1 }])
    for await (const delivery of bus.receive(queue)) {
      await delivery.deadLetter('not for us')
      break
    }
    for await (const letter of bus.receive(`${queue}.dead-letter`)) {
      expect(letter).toMatchObject({ body: { a: 1 }, headers: { chasqui_reason: 'not for us' } })
      await letter.ack()
      break
    }
  })

  test('[contract] gives the schema’s output; what does not fit is dead-lettered and the loop goes on', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const strict = command(queue, z.object({ n: z.coerce.number<string>() }))
    await bus.send(queue, { n: 'not a number' })
    await bus.send(command(`${queue}.other`, { destination: queue }), 'of another type')
    await bus.send(strict, { n: '7' })
    for await (const delivery of bus.receive(strict)) {
      expect(delivery.body).toEqual({ n: 7 })
      await delivery.ack()
      break
    }
    expect(await depth(bus, `${queue}.dead-letter`)).toMatchObject({ ready: 2 })
  })

  test('[window] bounds what is unsettled', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, [1, 2, 3, 4, 5])
    const taken: Delivery<unknown>[] = []
    const waiting: unknown[] = []
    for await (const delivery of bus.receive(queue, { window: 2 })) {
      taken.push(delivery)
      if (taken.length % 2 === 1 && taken.length < 5) continue
      waiting.push(await depth(bus, queue))
      for (const one of taken.slice(-2)) if (one === delivery || taken.length < 5) await one.ack()
      if (taken.length === 5) break
    }
    expect(waiting).toMatchObject([
      { ready: 3, unsettled: 2 },
      { ready: 1, unsettled: 2 },
      { ready: 0, unsettled: 1 },
    ])
    expect(await depth(bus, queue)).toMatchObject({ ready: 0, unsettled: 0 })
  })

  test('[signal] ends the loop and gives back', async () => {
    const bus = await memoryBus()
    const queue = await filled(bus, [1])
    const abort = new AbortController()
    let taken = 0
    for await (const _ of bus.receive(queue, { signal: abort.signal })) {
      taken += 1
      setTimeout(() => abort.abort(), 5)
    }
    expect(taken).toBe(1)
    expect(await depth(bus, queue)).toMatchObject({ ready: 1 })
  })

  test('closing the bus ends a loop that waits', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const ended = (async () => {
      for await (const _ of bus.receive(queue)) expect.fail('there is nothing to receive')
      return 'ended'
    })()
    await eventually('it receives', async () => (await bus.health()).details.length === 2)
    await bus.close()
    expect(await ended).toBe('ended')
  })

  test('closing the bus waits for the loop to settle what it holds', async () => {
    const [bus, another] = await Promise.all([memoryBus(), memoryBus()])
    const queue = await filled(bus, [1, 2])
    const holding = Promise.withResolvers<void>()
    const go = Promise.withResolvers<void>()
    const loop = (async () => {
      for await (const delivery of bus.receive(queue)) {
        holding.resolve()
        await go.promise
        await delivery.ack()
      }
    })()
    await holding.promise
    let closed = false
    const closing = bus.close().then(() => {
      closed = true
    })
    await new Promise(resolve => setImmediate(resolve))
    expect(closed).toBe(false)
    go.resolve()
    await Promise.all([loop, closing])
    expect(await depth(another, queue)).toMatchObject({ ready: 1, unsettled: 0 })
  })

  test('[declare: never] says that the queue is missing', async () => {
    const bus = await memoryBus()
    expect((await errorOf(bus.receive(ownName(), { declare: 'never' }).next())).code).toBe('destination-missing')
  })
})
