import { expect, test } from 'vitest'
import { readEntries, SettledEntries } from '../../src/store/settled.ts'

function read(bytes: Buffer): number[][] {
  const found: number[][] = []
  readEntries(bytes, 0, (...entry) => found.push(entry))
  return found
}

test('[runs] neighbours of one queue become one entry, also when queues take turns', () => {
  const entries = new SettledEntries()
  for (let ordinal = 0; ordinal < 100; ordinal++) {
    entries.delivered(1, ordinal)
    entries.settled(1, ordinal)
    entries.settled(2, ordinal)
  }
  entries.settled(1, 200)
  entries.returned(3, 7, 2)
  expect(read(entries.bytes())).toEqual([
    [1, 0, 2, 100],
    [1, 0, 1, 100],
    [2, 0, 1, 100],
    [1, 200, 1, 1],
    [3, 7, 3, 2],
  ])
  entries.clear()
  expect(entries.bytes()).toHaveLength(0)
  entries.settled(1, 201)
  expect(read(entries.bytes())).toEqual([[1, 201, 1, 1]])
})

test('[check] zeros, noise and cut entries say nothing', () => {
  const entries = new SettledEntries()
  entries.settled(1, 5)
  const sound = entries.bytes()
  expect(read(Buffer.alloc(64))).toEqual([])
  expect(read(Buffer.alloc(64, 0xff))).toEqual([])
  for (let length = 0; length < 16; length++) expect(read(sound.subarray(0, length))).toEqual([])
  for (let bit = 0; bit < 128; bit++) {
    const turned = Buffer.from(sound)
    turned[bit >> 3]! ^= 1 << (bit & 7)
    expect(read(turned)).toEqual([])
  }
  expect(read(Buffer.concat([Buffer.alloc(16), sound]))).toEqual([[1, 5, 1, 1]])
})
