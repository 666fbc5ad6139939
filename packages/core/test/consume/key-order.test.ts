import { describe, expect, test } from 'vitest'
import { keyOrder, strictOrder } from '../../src/consume/key-order.ts'
import { Work } from '../../src/consume/work.ts'

let tag = 0
function work(key?: string): Work {
  tag += 1
  const message = {
    attributes: {},
    headers: {},
    durable: true,
    body: new Uint8Array(0),
    ...(key === undefined ? {} : { key }),
  }
  return new Work('lane', 1, { tag, message, redelivered: false })
}

/** Numbers from 0 to below 1, the same in each run. */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return state / 2_147_483_648
  }
}

describe('the backlog by key', () => {
  test('gives one of each key, and the next when that one is done', () => {
    const backlog = keyOrder()
    const [a1, a2, b1, a3] = [work('a'), work('a'), work('b'), work('a')]
    for (const one of [a1, a2, b1, a3]) backlog.push(one)
    expect([backlog.take(), backlog.take(), backlog.take(), backlog.size]).toEqual([a1, b1, undefined, 2])
    backlog.done(b1)
    expect(backlog.take()).toBeUndefined()
    backlog.done(a1)
    expect([backlog.take(), backlog.take()]).toEqual([a2, undefined])
    backlog.done(a2)
    expect([backlog.take(), backlog.size]).toEqual([a3, 0])
  })

  test('messages without key share one', () => {
    const backlog = keyOrder()
    const [first, second] = [work(), work()]
    backlog.push(first)
    backlog.push(second)
    expect([backlog.take(), backlog.take()]).toEqual([first, undefined])
  })

  test('one that was drained and comes back keeps its key: its followers wait for it', () => {
    const backlog = keyOrder()
    const [a1, a2, b1] = [work('a'), work('a'), work('b')]
    for (const one of [a1, a2, b1]) backlog.push(one)
    expect(backlog.take()).toBe(a1)
    backlog.comeBack(a1)
    const drained = backlog.drain()
    expect(drained).toEqual([a1, a2, b1])
    backlog.comeBack(a1)
    for (const one of [a2, b1]) backlog.push(one)
    expect([backlog.take(), backlog.take(), backlog.take()]).toEqual([a1, b1, undefined])
    backlog.done(a1)
    expect(backlog.take()).toBe(a2)
  })

  test('one that comes back goes before all others, and its followers still wait', () => {
    const backlog = keyOrder()
    const [a1, a2, b1] = [work('a'), work('a'), work('b')]
    backlog.push(a1)
    backlog.push(a2)
    expect(backlog.take()).toBe(a1)
    backlog.push(b1)
    backlog.comeBack(a1)
    expect([backlog.take(), backlog.take(), backlog.take()]).toEqual([a1, b1, undefined])
  })

  test('draining takes all that wait, and leaves the keys of those that were taken', () => {
    const backlog = keyOrder()
    const [a1, a2, b1, b2] = [work('a'), work('a'), work('b'), work('b')]
    for (const one of [a1, a2, b1, b2]) backlog.push(one)
    expect(backlog.take()).toBe(a1)
    expect(backlog.drain()).toEqual([b1, b2, a2])
    expect(backlog.size).toBe(0)
    const a3 = work('a')
    backlog.push(a3)
    expect(backlog.take()).toBeUndefined()
    backlog.done(a1)
    expect(backlog.take()).toBe(a3)
    backlog.done(b1)
    expect(backlog.take()).toBeUndefined()
  })

  test('in strict order gives one at a time, whatever the keys', () => {
    const backlog = strictOrder()
    const [a, b] = [work('a'), work('b')]
    backlog.push(a)
    backlog.push(b)
    expect([backlog.take(), backlog.take()]).toEqual([a, undefined])
    backlog.done(a)
    expect(backlog.take()).toBe(b)
  })

  test.each([1, 2, 3])('keeps the order of each key in any sequence of steps (seed %i)', seed => {
    const random = seeded(seed)
    const backlog = keyOrder()
    const taken: Work[] = []
    const begun = new Map<string, number[]>()
    const pushed = new Map<string, number[]>()
    const finish = () => backlog.done(taken.splice(Math.floor(random() * taken.length), 1)[0]!)
    for (let i = 0; i < 5000; i++) {
      const step = random()
      if (step < 0.4) {
        const one = work(`k${Math.floor(random() * 7)}`)
        const { key } = one.item.message
        pushed.set(key!, [...(pushed.get(key!) ?? []), one.item.tag])
        backlog.push(one)
      } else if (step < 0.7) {
        const one = backlog.take()
        if (one === undefined) continue
        const { key } = one.item.message
        expect(taken.some(other => other.item.message.key === key)).toBe(false)
        const list = begun.get(key!) ?? []
        if (list.at(-1) !== one.item.tag) begun.set(key!, [...list, one.item.tag])
        taken.push(one)
      } else if (step < 0.75 && taken.length > 0) {
        backlog.comeBack(taken.splice(Math.floor(random() * taken.length), 1)[0]!)
      } else if (taken.length > 0) {
        finish()
      }
    }
    for (let one = backlog.take(); one !== undefined || taken.length > 0; one = backlog.take()) {
      if (one === undefined) finish()
      else {
        const { key } = one.item.message
        const list = begun.get(key!) ?? []
        if (list.at(-1) !== one.item.tag) begun.set(key!, [...list, one.item.tag])
        taken.push(one)
      }
    }
    expect(begun).toEqual(pushed)
    expect(backlog.size).toBe(0)
  })
})
