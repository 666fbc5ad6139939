import type { Receiver } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import { EventHub } from '../../src/observe/events.ts'
import { OpenDelivery, Settlements } from '../../src/settle/settlement.ts'
import { errorOf } from '../fixture.ts'

const message = { attributes: {}, headers: {}, durable: true, body: new Uint8Array(0) }
const delivery = (tag: number, lane = 'a', epoch = 1) =>
  new OpenDelivery(lane, epoch, { tag, message, redelivered: false })

function recording(answer: 'done' | 'stale' = 'done') {
  const calls: unknown[] = []
  const receiver: Receiver = {
    window: async () => {},
    settle: async (lane, epoch, tags, outcome) => {
      calls.push([lane, epoch, [...tags], outcome])
      return answer
    },
    stop: async () => {},
  }
  const settlements = new Settlements('a', new EventHub())
  settlements.attach(receiver)
  return { settlements, calls }
}

describe('settlements', () => {
  test('of one tick travel in one call for each lane, epoch and outcome', async () => {
    const { settlements, calls } = recording()
    const settled = [
      settlements.settle(delivery(1), 'ack'),
      settlements.settle(delivery(2), 'ack'),
      settlements.settle(delivery(3), 'requeue'),
      settlements.settle(delivery(4, 'b'), 'ack'),
      settlements.settle(delivery(5, 'a', 2), 'ack'),
      settlements.settle(delivery(6), 'ack'),
    ]
    expect(await Promise.all(settled)).toEqual(Array.from({ length: 6 }, () => 'done'))
    expect(calls).toEqual([
      ['a', 1, [1, 2, 6], 'ack'],
      ['a', 1, [3], 'requeue'],
      ['b', 1, [4], 'ack'],
      ['a', 2, [5], 'ack'],
    ])
  })

  test('that keep coming tick after tick wait for each other, but not for ever', async () => {
    const { settlements, calls } = recording()
    for (let tag = 0; tag < 200; tag++) {
      void settlements.settle(delivery(tag), 'ack')
      await Promise.resolve()
    }
    await settlements.flushed()
    expect(calls.length).toBeLessThan(20)
    expect(calls.length).toBeGreaterThan(2)
    expect(calls.flatMap(call => (call as [string, number, number[]])[2])).toEqual(
      Array.from({ length: 200 }, (_, i) => i),
    )
  })

  test('are made once: the second is refused, and so is one of a lost lane', async () => {
    const { settlements, calls } = recording()
    const [once, lost] = [delivery(1), delivery(2)]
    await settlements.settle(once, 'ack')
    lost.state = 'stale'
    expect((await errorOf(() => settlements.settle(once, 'requeue'))).code).toBe('already-settled')
    expect((await errorOf(() => settlements.settle(lost, 'ack'))).code).toBe('delivery-stale')
    expect(calls).toHaveLength(1)
  })

  test('resolve to stale when the engine has forgotten the delivery, or there is no receiver', async () => {
    expect(await recording('stale').settlements.settle(delivery(1), 'ack')).toBe('stale')
    expect(await new Settlements('a', new EventHub()).settle(delivery(1), 'ack')).toBe('stale')
  })

  test('flushed() resolves when all of them were told', async () => {
    const { settlements, calls } = recording()
    void settlements.settle(delivery(1), 'ack')
    await settlements.flushed()
    expect(calls).toHaveLength(1)
    await settlements.flushed()
  })
})
