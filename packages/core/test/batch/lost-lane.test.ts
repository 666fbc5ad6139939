/** Batches of which the engine takes some messages away. */
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { eventually, ofKind, ownName } from '../fixture.ts'

/** How long a batch may wait that is not to be closed by its age. */
const longMs = 60_000

function item(tag: number, body: string) {
  const message = { attributes: {}, headers: {}, contentType: 'text/plain', durable: true, body: Buffer.from(body) }
  return { tag, redelivered: false, message }
}

async function twoLanes(size: number) {
  const { bus, sinks, told } = await alteredBus({
    receiver: () => ({ settle: () => Promise.resolve('done') }),
  })
  const batches: unknown[][] = []
  const closed: string[] = []
  const go = Promise.withResolvers<void>()
  const signals: AbortSignal[] = []
  const queue = ownName()
  await bus.handleBatch(
    queue,
    async (items, ctx) => {
      batches.push(items.map(({ body }) => body))
      closed.push(ctx.closedBy)
      signals.push(ctx.signal)
      await go.promise
    },
    { size, maxAgeMs: longMs },
  )
  const sink = sinks[0]!
  sink.deliver({ lane: '0', epoch: 1, items: [item(1, 'a1'), item(2, 'a2')] })
  sink.deliver({ lane: '1', epoch: 1, items: [item(1, 'b1')] })
  await eventually('them to be taken', () => ofKind(told, 'received').length === 3)
  return { sink, batches, closed, signals, told, go: go.resolve }
}

describe('a lane that is taken away', () => {
  test('with grace: what is gathered is handled at once, and settled before the lane goes', async () => {
    const { sink, batches, closed, told, go } = await twoLanes(100)
    const revoked = sink.revoke('0', 1, 20_000)
    await eventually('the batch', () => batches.length === 1)
    go()
    await revoked
    expect([batches, closed]).toEqual([[['a1', 'a2', 'b1']], ['end']])
    expect(ofKind(told, 'handled')).toHaveLength(3)
    // The other lane gathers on.
    sink.deliver({ lane: '1', epoch: 1, items: [item(2, 'b2')] })
    await eventually('the next to be taken', () => ofKind(told, 'received').length === 4)
    expect(batches).toHaveLength(1)
  })

  test('without: what is gathered of it leaves its batch, the rest stays', async () => {
    const { sink, batches, go } = await twoLanes(4)
    await sink.revoke('0', 1, 0)
    sink.deliver({ lane: '1', epoch: 1, items: [item(2, 'b2'), item(3, 'b3'), item(4, 'b4')] })
    await eventually('a full batch', () => batches.length === 1)
    expect(batches).toEqual([['b1', 'b2', 'b3', 'b4']])
    go()
  })

  test('in the midst of a batch: its signal fires when none of it is left, not before', async () => {
    const { sink, batches, signals, told, go } = await twoLanes(3)
    await eventually('the batch', () => batches.length === 1)
    await sink.revoke('0', 1, 0)
    expect(signals[0]!.aborted).toBe(false)
    await sink.revoke('1', 1, 0)
    expect(signals[0]!.aborted).toBe(true)
    expect(signals[0]!.reason).toMatchObject({ code: 'delivery-stale' })
    go()
    await new Promise(resolve => setImmediate(resolve))
    expect(ofKind(told, 'handled')).toEqual([])
    expect(ofKind(told, 'attempt-failed')).toEqual([])
  })
})
