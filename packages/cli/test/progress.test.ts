import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { ProgressBar, progressLine } from '../src/progress.ts'

test('how far it is, how fast it goes, and what is left', () => {
  const progress = { total: 10_000, seen: 2500, done: 2490, failed: 10 }
  expect(progressLine(progress, 'sent back', 500)).toBe(
    '[======>                 ]  25%  2,500 of 10,000 seen, 2,490 sent back, 10 failed',
  )
  expect(progressLine(progress, 'sent back', 1000)).toMatch(/, 2,500\/s, 3 s left$/)
  expect(progressLine({ total: 0, seen: 0, done: 0, failed: 0 }, 'deleted', 0)).toMatch(/^\[={24}\] 100%/)
})

test('one line, written over itself and taken away; nothing where no person reads', () => {
  const terminal = Object.assign(new PassThrough(), { isTTY: true, columns: 40 })
  const bar = new ProgressBar(terminal, 'deleted')
  bar.show({ total: 10, seen: 5, done: 5, failed: 0 })
  bar.clear()
  const written = String(terminal.read())
  const parts = written.split('\r\x1b[K')
  expect(parts).toEqual(['', expect.stringMatching(/^\[=+> +\] {2}50% {2}5 of/), ''])
  expect(parts[1]!.length).toBe(39)
  const file = new PassThrough()
  const silent = new ProgressBar(file, 'deleted')
  silent.show({ total: 10, seen: 5, done: 5, failed: 0 })
  silent.clear()
  expect(file.read()).toBeNull()
})
