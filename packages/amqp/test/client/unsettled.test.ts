import { describe, expect, test } from 'vitest'
import { Unsettled } from '../../src/client/unsettled.ts'

type Written = [tag: number, multiple: boolean]

function flush(unsettled: Unsettled): Written[] {
  const written: Written[] = []
  unsettled.flush((tag, multiple) => written.push([tag, multiple]))
  return written
}

function delivered(count: number, needsAck: (tag: number) => boolean = () => true): Unsettled {
  const unsettled = new Unsettled()
  for (let tag = 1; tag <= count; tag++) unsettled.delivered(tag, needsAck(tag))
  return unsettled
}

function ackAll(unsettled: Unsettled, ...tags: number[]): boolean[] {
  return tags.map(tag => unsettled.ack(tag))
}

describe('joining', () => {
  test('everything so far, in any order, is one frame', () => {
    const unsettled = delivered(5)
    ackAll(unsettled, 3, 1, 5, 2, 4)
    expect(flush(unsettled)).toEqual([[5, true]])
    expect(flush(unsettled)).toEqual([])
  })

  test('one is one, and says nothing of others', () => {
    const unsettled = delivered(5)
    ackAll(unsettled, 1)
    expect(flush(unsettled)).toEqual([[1, false]])
  })

  test('behind a hole each goes alone', () => {
    const unsettled = delivered(5)
    ackAll(unsettled, 2, 3, 5)
    expect(flush(unsettled)).toEqual([
      [2, false],
      [3, false],
      [5, false],
    ])
  })

  test('up to the hole they are joined; when it closes, what is behind counts as settled', () => {
    const unsettled = delivered(6)
    ackAll(unsettled, 1, 2, 4)
    expect(flush(unsettled)).toEqual([
      [2, true],
      [4, false],
    ])
    ackAll(unsettled, 3, 5)
    expect(flush(unsettled)).toEqual([[5, true]])
  })

  test('what needs no acknowledgement is no hole', () => {
    const unsettled = delivered(4, tag => tag !== 2)
    ackAll(unsettled, 1, 3)
    expect(flush(unsettled)).toEqual([[3, true]])
  })

  test('[nack] what was settled otherwise is no hole', () => {
    const unsettled = delivered(4)
    unsettled.settle(2, false)
    ackAll(unsettled, 1, 3)
    expect(flush(unsettled)).toEqual([[3, true]])
  })

  test('[multiple] settles all up to the tag; 0 stands for all', () => {
    const unsettled = delivered(6)
    unsettled.settle(3, true)
    ackAll(unsettled, 4, 5)
    expect(flush(unsettled)).toEqual([[5, true]])
    unsettled.settle(0, true)
    expect(unsettled.ack(6)).toBe(false)
  })

  test('[coalescing off] each goes alone, in the order of the calls', () => {
    const unsettled = delivered(3)
    unsettled.coalescing = false
    ackAll(unsettled, 2, 1, 3)
    expect(flush(unsettled)).toEqual([
      [2, false],
      [1, false],
      [3, false],
    ])
  })

  test('unknown, settled and doubled tags are for the broker to judge', () => {
    const unsettled = delivered(2)
    expect(ackAll(unsettled, 3, 0, 1, 1)).toEqual([false, false, true, false])
    flush(unsettled)
    expect(unsettled.ack(1)).toBe(false)
  })
})

describe('long lives', () => {
  test('one message that is never settled: the others go alone, and its own acknowledgement works at last', () => {
    const unsettled = new Unsettled()
    unsettled.delivered(1, true)
    let joined = 0
    for (let tag = 2; tag <= 200_000; tag++) {
      unsettled.delivered(tag, true)
      unsettled.ack(tag)
      if (tag % 1000 === 0) joined += flush(unsettled).filter(([, multiple]) => multiple).length
    }
    expect(joined).toBe(0)
    flush(unsettled)
    unsettled.delivered(200_001, true)
    unsettled.delivered(200_002, true)
    expect(ackAll(unsettled, 1, 200_001, 200_002)).toEqual([true, true, true])
    expect(flush(unsettled)).toEqual([[200_002, true]])
  })

  test('a tag that jumps far ahead costs neither time nor memory', () => {
    const unsettled = delivered(3)
    unsettled.delivered(2 ** 50, true)
    expect(ackAll(unsettled, 1, 2, 3, 2 ** 50)).toEqual([true, true, true, true])
    expect(flush(unsettled).length).toBeGreaterThan(0)
  })
})

test('[any order of anything] exactly what was acknowledged is acknowledged, as a broker sees it', () => {
  let state = 11
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return (state >>> 8) % below
  }
  for (let round = 0; round < 300; round++) {
    const unsettled = new Unsettled()
    const broker = new Set<number>()
    const expected = new Set<number>()
    const open: number[] = []
    let next = 1
    const apply = (tag: number, multiple: boolean): void => {
      expect(broker.has(tag)).toBe(true)
      if (!multiple) broker.delete(tag)
      else for (const other of broker) if (other <= tag) broker.delete(other)
    }
    const check = (): void => {
      unsettled.flush(apply)
      expect([...broker]).toEqual([...expected])
    }
    for (let step = 0; step < 400; step++) {
      const choice = random(12)
      if (choice < 5) {
        const needsAck = random(10) > 0
        unsettled.delivered(next, needsAck)
        if (needsAck) {
          broker.add(next)
          expected.add(next)
          open.push(next)
        }
        next++
      } else if (choice < 10 && open.length > 0) {
        // Mostly the oldest, as handlers do.
        const [tag] = open.splice(random(3) > 0 ? 0 : random(open.length), 1)
        expect(unsettled.ack(tag!)).toBe(true)
        expected.delete(tag!)
      } else if (choice === 10 && open.length > 0) {
        check()
        const [tag] = open.splice(random(open.length), 1)
        unsettled.settle(tag!, false)
        broker.delete(tag!)
        expected.delete(tag!)
      } else {
        check()
      }
    }
    check()
  }
})
