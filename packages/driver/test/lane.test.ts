import { expect, test } from 'vitest'
import { laneOf } from '../src/index.ts'

test.each([
  // The published test vectors of FNV-1a, 32 bit (isthe.com/chongo, test_fnv.c).
  ['', 0x811c9dc5],
  ['a', 0xe40c292c],
  ['b', 0xe70c2de5],
  ['foobar', 0xbf9cf968],
])('[laneOf] the hash of %j is that of FNV-1a', (key, hash) => {
  for (const lanes of [1, 2, 7, 64, 1000]) expect(laneOf(key, lanes)).toBe(hash % lanes)
})

test('[laneOf] a key counts by its UTF-8 bytes, and none is as the empty one', () => {
  // FNV-1a of c3 b1, worked out by hand from the definition.
  let hash = 0x811c9dc5n
  for (const byte of [0xc3n, 0xb1n]) hash = ((hash ^ byte) * 0x01000193n) % 2n ** 32n
  expect(laneOf('ñ', 1000)).toBe(Number(hash % 1000n))
  expect(laneOf(undefined, 1000)).toBe(laneOf('', 1000))
})
