import { describe, expect, test } from 'vitest'
import type { Destination } from '../../src/router/exchange.ts'
import { TopicTree } from '../../src/router/topic.ts'

/** A destination is told apart by identity alone here. */
function named(name: string): Destination {
  return { name } as unknown as Destination
}

function matches(pattern: string, key: string): boolean {
  const tree = new TopicTree()
  tree.add(pattern, named('q'))
  const found = new Set<Destination>()
  tree.match(key, found)
  return found.size > 0
}

describe('topic', () => {
  // The table of rabbit_exchange_type_topic's documentation and the cases around it.
  test.each([
    ['a.b.c', 'a.b.c', true],
    ['a.b.c', 'a.b', false],
    ['a.b.c', 'a.b.c.d', false],
    ['*', 'a', true],
    ['*', '', true],
    ['*', 'a.b', false],
    ['#', '', true],
    ['#', 'a', true],
    ['#', 'a.b.c', true],
    ['a.*', 'a', false],
    ['a.*', 'a.b', true],
    ['a.*', 'a.b.c', false],
    ['a.#', 'a', true],
    ['a.#', 'a.b.c', true],
    ['a.#', 'b', false],
    ['#.c', 'c', true],
    ['#.c', 'a.b.c', true],
    ['#.c', 'a.b', false],
    ['*.#.c', 'c', false],
    ['*.#.c', 'a.c', true],
    ['a.#.#.c', 'a.c', true],
    ['#.b.#', 'a.b.c', true],
    ['#.b.#', 'a.c', false],
    ['*.b.*', 'a.b.c', true],
    ['', '', true],
    ['', 'a', false],
    ['a..c', 'a..c', true],
    ['a.*.c', 'a..c', true],
    // The key's own stars stand for themselves and are matched as any word.
    ['a', '*', false],
    ['*', '*', true],
    ['#', '#', true],
  ])('[pattern] %j against %j: %j', (pattern, key, expected) => {
    expect(matches(pattern, key)).toBe(expected)
  })

  test('[random] agrees with a plain recursive matcher', () => {
    const plain = (pattern: string[], key: string[]): boolean => {
      const [first, ...rest] = pattern
      if (first === undefined) return key.length === 0
      if (first === '#') return plain(rest, key) || (key.length > 0 && plain(pattern, key.slice(1)))
      return key.length > 0 && (first === '*' || first === key[0]) && plain(rest, key.slice(1))
    }
    let seed = 42
    const random = (below: number) => {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0
      return (seed >>> 8) % below
    }
    const words = (from: string[]) => Array.from({ length: 1 + random(5) }, () => from[random(from.length)]!)
    for (let round = 0; round < 3000; round++) {
      const pattern = words(['a', 'b', '*', '#'])
      const key = words(['a', 'b', 'c'])
      expect([pattern, key, matches(pattern.join('.'), key.join('.'))]).toEqual([pattern, key, plain(pattern, key)])
    }
  })

  test('[remove] takes away one binding and leaves those that share its words', () => {
    const tree = new TopicTree()
    const [a, b] = [named('a'), named('b')]
    tree.add('x.*.z', a)
    tree.add('x.*', b)
    tree.remove('x.*.z', a)
    tree.remove('never.bound', a)
    const found = new Set<Destination>()
    tree.match('x.y.z', found)
    tree.match('x.y', found)
    expect([...found]).toEqual([b])
  })
})
