import { expect, test } from 'vitest'
import { ReadSlab } from '../../src/client/read-slab.ts'

test('what was taken is never written to again, whatever comes after', () => {
  const slab = new ReadSlab()
  const source = Buffer.alloc(70_000)
  const taken: Buffer[] = []
  const lengths = [1, 65_536, 100, 70_000, 0, 30_000, 40_000, 65_535, 1]
  lengths.forEach((length, index) => {
    source.fill(index + 1)
    taken.push(slab.take(source, length))
  })
  taken.forEach((bytes, index) => {
    expect(bytes.equals(Buffer.alloc(lengths[index]!, index + 1))).toBe(true)
  })
})

test('small reads share one slab', () => {
  const slab = new ReadSlab()
  const [first, second] = [slab.take(Buffer.alloc(10), 10), slab.take(Buffer.alloc(10), 10)]
  expect(first.buffer).toBe(second.buffer)
})
