/** One line on a terminal that says how far something is, written over itself. Standard output stays free for the result. */
import type { Writable } from 'node:stream'
import { count, duration } from './table.ts'

/** How often the line is written, in milliseconds: as often as a person reads it. */
const everyMs = 100
const barColumns = 24

export interface Progress {
  readonly total: number
  readonly seen: number
  readonly done: number
  readonly failed: number
}

/** `[========>               ]  38%  3,800 of 10,000 seen, 3,790 sent back, 10 failed, 5,120/s, 2 s left` */
export function progressLine({ total, seen, done, failed }: Progress, doing: string, elapsedMs: number): string {
  const share = total === 0 ? 1 : seen / total
  const filled = Math.round(share * barColumns)
  const bar = filled === barColumns ? '='.repeat(barColumns) : `${'='.repeat(filled)}>`.padEnd(barColumns)
  const facts = [`${count(seen)} of ${count(total)} seen`, `${count(done)} ${doing}`]
  if (failed > 0) facts.push(`${count(failed)} failed`)
  if (elapsedMs >= 1000 && seen > 0) {
    facts.push(`${count(Math.round((seen * 1000) / elapsedMs))}/s`)
    if (seen < total) facts.push(`${duration((elapsedMs / seen) * (total - seen))} left`)
  }
  return `[${bar.slice(0, barColumns)}] ${String(Math.floor(share * 100)).padStart(3)}%  ${facts.join(', ')}`
}

export class ProgressBar {
  readonly #stream: Writable & { readonly columns?: number; readonly isTTY?: boolean }
  readonly #doing: string
  readonly #began = performance.now()
  #shownAt = Number.NEGATIVE_INFINITY

  /** Shows nothing where the stream is no terminal. */
  constructor(stream: Writable & { readonly columns?: number; readonly isTTY?: boolean }, doing: string) {
    this.#stream = stream
    this.#doing = doing
  }

  show(progress: Progress): void {
    const now = performance.now()
    if (!this.#stream.isTTY || now - this.#shownAt < everyMs) return
    this.#shownAt = now
    const line = progressLine(progress, this.#doing, now - this.#began)
    this.#stream.write(`\r\x1b[K${line.slice(0, (this.#stream.columns ?? 80) - 1)}`)
  }

  /** Takes the line away. */
  clear(): void {
    if (this.#stream.isTTY && this.#shownAt > 0) this.#stream.write('\r\x1b[K')
  }
}
