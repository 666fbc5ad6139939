import { expect, test } from 'vitest'
import { assertSameIds, differenceOf } from '../src/ids.ts'

test('a loss is not hidden by a duplicate', () => {
  expect(differenceOf(['a', 'a', 'c'], ['a', 'b', 'c'])).toEqual({ missing: ['b'], extra: [], repeated: ['a'] })
  expect(() => assertSameIds(['a', 'a', 'c'], ['a', 'b', 'c'])).toThrow(
    'The ids differ: 1 missing: b; 0 extra; 1 repeated (0 permitted): a',
  )
})

test('repetitions are permitted up to their bound', () => {
  expect(() => assertSameIds([1, 1, 1, 2], [1, 2], { repeats: 2 })).not.toThrow()
  expect(() => assertSameIds([1, 1, 1, 2], [1, 2], { repeats: 1 })).toThrow('2 repeated (1 permitted): 1, 1')
})

test('what was in doubt may come or not, and nothing else may', () => {
  const doubtful = new Set([3, 4])
  expect(() => assertSameIds([1, 2, 3], [1, 2], { doubtful })).not.toThrow()
  expect(() => assertSameIds([1, 2, 5], [1, 2], { doubtful })).toThrow('1 extra: 5')
  expect(() => assertSameIds([1, 3], [1, 2], { doubtful })).toThrow('1 missing: 2')
})

test('of many ids the first ten are named', () => {
  const ids = Array.from({ length: 12 }, (_, n) => n)
  expect(() => assertSameIds([], ids)).toThrow('12 missing: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...')
})
