import { expect, test } from 'vitest'
import { conformanceTable } from '../src/report.ts'
import { scenarios } from '../src/suite.ts'

test('the table has a row for each scenario and a column for each driver', () => {
  const [first] = scenarios
  const second = scenarios.find(({ source }) => source !== undefined)
  const table = conformanceTable(
    [first!, second!],
    [
      { driver: 'one', results: [{ number: first!.number, outcome: 'pass', durationMs: 1 }] },
      { driver: 'two', version: '3.10', results: [{ number: second!.number, outcome: 'failed', durationMs: 1 }] },
    ],
  )
  expect(table.split('\n')).toEqual([
    '| | scenario | one | two 3.10 |',
    '| --- | --- | --- | --- |',
    `| ${first!.number} | ${first!.title} | pass | - |`,
    `| ${second!.number} | ${second!.title} (${second!.source}) | - | **failed** |`,
  ])
})

test('each scenario has a number of its own, in order', () => {
  const numbers = scenarios.map(({ number }) => number)
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
})
