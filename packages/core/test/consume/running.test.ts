import { describe, expect, test } from 'vitest'
import { FifoQueue } from '../../src/consume/queue.ts'
import { Running } from '../../src/consume/running.ts'

const item = (name: string) => ({ name, slot: -1 })

describe('running deliveries', () => {
  test('leave in any order, once', () => {
    const running = new Running<ReturnType<typeof item>>()
    const items = ['a', 'b', 'c', 'd'].map(item)
    for (const one of items) running.enter(one)
    const names = () =>
      running
        .filter(() => true)
        .map(one => one.name)
        .toSorted()
    for (const gone of ['b', 'd', 'a', 'c']) {
      running.leave(items.find(one => one.name === gone)!)
      running.leave(items.find(one => one.name === gone)!)
      expect(names()).not.toContain(gone)
    }
    expect(running.size).toBe(0)
  })

  test('can be waited for, all or some, up to a limit', async () => {
    const running = new Running<ReturnType<typeof item>>()
    const [a, b] = [item('a'), item('b')]
    running.enter(a)
    running.enter(b)
    const done: string[] = []
    const some = running.noneLeft(one => one.name === 'a', 10_000).then(() => done.push('a'))
    const all = running.noneLeft(() => true, 10_000).then(() => done.push('all'))
    running.leave(a)
    await some
    expect(done).toEqual(['a'])
    running.leave(b)
    await all
    running.enter(b)
    await running.noneLeft(() => true, 1)
    expect(running.size).toBe(1)
  })
})

describe('the queue of a consumer', () => {
  test('is first in, first out, however it is filled and emptied', () => {
    const queue = new FifoQueue<number>()
    const out: (number | undefined)[] = []
    let next = 0
    for (let round = 0; round < 300; round++) {
      for (let i = 0; i < round % 7; i++) queue.push(next++)
      for (let i = 0; i < round % 5; i++) if (queue.size > 0) out.push(queue.shift())
    }
    out.push(...queue.drain())
    expect(out).toEqual(Array.from({ length: next }, (_, i) => i))
    expect([queue.size, queue.shift()]).toEqual([0, undefined])
  })
})
