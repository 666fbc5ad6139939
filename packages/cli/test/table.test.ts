import { describe, expect, test } from 'vitest'
import { count, cut, duration, plain, table } from '../src/table.ts'

interface Row {
  readonly name: string
  readonly ready: number
}
const columns = [
  { title: 'QUEUE', cell: (row: Row) => row.name, shrinks: true },
  { title: 'READY', cell: (row: Row) => count(row.ready), align: 'right' },
] as const

test('columns are as wide as what stands in them, numbers at the right, no spaces at the end of a line', () => {
  const rows = [
    { name: 'orders', ready: 12_345 },
    { name: 'a', ready: 0 },
  ]
  expect(table(rows, columns, 80)).toBe('QUEUE    READY\norders  12,345\na            0')
})

test('an optional column in which nothing stands is left out', () => {
  const optional = [columns[0], { title: 'LANES', cell: () => '', optional: true }, columns[1]] as const
  expect(table([{ name: 'a', ready: 1 }], optional, 80)).toBe('QUEUE  READY\na          1')
})

test('what is too wide for the terminal loses the end of its names, never a number', () => {
  const rows = [{ name: 'a.very.long.name.of.a.queue', ready: 1_000_000 }]
  for (const line of table(rows, columns, 24).split('\n')) expect(line.length).toBeLessThanOrEqual(24)
  expect(table(rows, columns, 24)).toContain('a.very.long.…  1,000,000')
})

test('a wide character takes two columns, a joined one is not torn', () => {
  expect(cut('注文の一覧', 6)).toBe('注文…')
  expect(cut('👩‍👩‍👧‍👦👩‍👩‍👧‍👦', 3)).toBe('👩‍👩‍👧‍👦…')
  expect(cut('orders', 6)).toBe('orders')
})

test("other people's control characters do not reach the terminal", () => {
  expect(plain('a\x1b[2Jb\n')).toBe('a\\x1b[2Jb\\x0a')
  expect(table([{ name: 'a\x1b[31m', ready: 1 }], columns, 80)).not.toContain('\x1b')
})

describe('[duration]', () => {
  test.each([
    [0, '0 ms'],
    [850, '850 ms'],
    [12_400, '12 s'],
    [60_000, '1 min'],
    [185_000, '3 min 5 s'],
    [7_800_000, '2 h 10 min'],
    [356_400_000, '4 d 3 h'],
  ])('%d ms are %s', (ms, text) => {
    expect(duration(ms)).toBe(text)
  })
})
