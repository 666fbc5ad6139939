import { BASIC_ACK, BASIC_NACK, FrameReader, FrameWriter, type Method } from '@chasqui/amqp'
import { expect, test } from 'vitest'
import { Confirms } from '../../src/server/confirms.ts'

/** What the client is told, as `ack 3 multiple`. */
function told(confirms: Confirms): string[] {
  const said: string[] = []
  const reader = new FrameReader({
    onMethod: (_channel, method: Method) => {
      if (method.id !== BASIC_ACK && method.id !== BASIC_NACK) throw new Error('neither ack nor nack')
      const word = method.id === BASIC_ACK ? 'ack' : 'nack'
      said.push(`${word} ${method.deliveryTag}${method.multiple ? ' multiple' : ''}`)
    },
    onContent: () => undefined,
    onHeartbeat: () => undefined,
    onProtocolHeader: () => undefined,
    onContentRefused: () => undefined,
  })
  const writer = new FrameWriter(bytes => {
    reader.feed(bytes)
    return true
  })
  confirms.tell(writer, 1)
  writer.flush()
  return said
}

test('joins what is done in order into one ack with multiple', () => {
  const confirms = new Confirms()
  for (let i = 0; i < 5; i++) confirms.taken(0)
  expect(told(confirms)).toEqual(['ack 5 multiple'])
  expect(told(confirms)).toEqual([])
})

test('says multiple only for more than one', () => {
  const confirms = new Confirms()
  confirms.taken(0)
  expect(told(confirms)).toEqual(['ack 1'])
})

test('waits for the commit that covers a publish', () => {
  const confirms = new Confirms()
  confirms.taken(7)
  confirms.taken(8)
  confirms.taken(9)
  expect(confirms.pending).toBe(false)
  expect(confirms.waiting).toBe(true)
  confirms.committed(8)
  expect(told(confirms)).toEqual(['ack 2 multiple'])
  confirms.committed(9)
  expect(told(confirms)).toEqual(['ack 3'])
  expect(confirms.waiting).toBe(false)
})

test('tells what is done early alone, and covers it with nothing that still waits', () => {
  const confirms = new Confirms()
  confirms.taken(5)
  confirms.taken(0)
  confirms.taken(0)
  expect(told(confirms)).toEqual(['ack 2', 'ack 3'])
  confirms.committed(5)
  expect(told(confirms)).toEqual(['ack 1'])
})

test('joins early ones with what they waited behind when both are told at once', () => {
  const confirms = new Confirms()
  confirms.taken(5)
  confirms.taken(0)
  confirms.taken(6)
  confirms.committed(5)
  expect(told(confirms)).toEqual(['ack 2 multiple'])
})

test('nacks what was refused, before an ack that would cover it', () => {
  const confirms = new Confirms()
  confirms.taken(0)
  confirms.rejected()
  confirms.taken(0)
  expect(told(confirms)).toEqual(['nack 2', 'ack 3 multiple'])
})

test('settles every publish once, whatever the order of takes, refusals and commits', () => {
  for (let seed = 1; seed <= 200; seed++) {
    const random = generator(seed)
    const confirms = new Confirms()
    const open = new Set<number>()
    const due = new Map<number, number>()
    const refused = new Set<number>()
    let sequence = 0
    let commit = 0
    let committed = 0
    const check = () => {
      for (const said of told(confirms)) {
        const [word, tag, multiple] = said.split(' ')
        const covered = multiple ? [...open].filter(one => one <= Number(tag)) : [Number(tag)]
        for (const one of covered) {
          expect(open.delete(one)).toBe(true)
          if (word === 'ack') {
            expect(refused.has(one)).toBe(false)
            expect(due.get(one)).toBeLessThanOrEqual(committed)
          } else {
            expect(refused.has(one)).toBe(true)
          }
        }
      }
    }
    for (let step = 0; step < 200; step++) {
      const dice = random()
      if (dice < 0.7) {
        open.add(++sequence)
        if (dice < 0.1) {
          refused.add(sequence)
          confirms.rejected()
        } else if (dice < 0.3) {
          due.set(sequence, 0)
          confirms.taken(0)
        } else {
          due.set(sequence, ++commit)
          confirms.taken(commit)
        }
      } else if (dice < 0.85) {
        committed += Math.floor(random() * (commit - committed + 1))
        confirms.committed(committed)
      } else {
        check()
      }
    }
    committed = commit
    confirms.committed(commit)
    check()
    expect(open.size).toBe(0)
  }
})

/** Numbers from 0 to 1, the same for the same seed (Lehmer's generator). */
function generator(seed: number): () => number {
  let state = seed * 7919
  return () => {
    state = (state * 48_271) % 2_147_483_647
    return state / 2_147_483_647
  }
}
