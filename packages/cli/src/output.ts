/**
 * Standard output: lines for people or JSON lines for programs, in order, waiting for a slow reader. A reader that has
 * gone (`chasqui queues | head -1`) ends the command and is no failure.
 */
import type { Writable } from 'node:stream'
import type { Column } from './table.ts'
import { table } from './table.ts'

/** Of a terminal that does not say how wide it is. */
const usualColumns = 80

export class Output {
  /** JSON lines are wanted. */
  readonly json: boolean
  readonly #stream: Writable & { readonly columns?: number; readonly isTTY?: boolean }
  readonly #closedListeners: (() => void)[] = []
  #closed = false
  #lastWrite: Promise<boolean> = Promise.resolve(true)

  constructor(stream: Writable, json: boolean) {
    this.#stream = stream
    this.json = json
    stream.on('error', () => this.#close())
  }

  /** A person reads it, as it comes. */
  get isTerminal(): boolean {
    return this.#stream.isTTY === true
  }

  /** A program that reads the table wants whole names. */
  get columns(): number {
    return this.isTerminal ? (this.#stream.columns ?? usualColumns) : Number.POSITIVE_INFINITY
  }

  /** Writes one line. Resolves once the reader's side has it: `false` when nobody reads any more. */
  line(text: string): Promise<boolean> {
    if (this.#closed) return Promise.resolve(false)
    this.#lastWrite = new Promise(resolve => {
      this.#stream.write(`${text}\n`, error => resolve(!error))
    })
    return this.#lastWrite
  }

  /** Writes the value as one JSON line; `undefined` fields are left out. */
  value(value: object): Promise<boolean> {
    return this.line(JSON.stringify(value))
  }

  /** With `--json` each row as a JSON line, else all of them as a table, or `empty` where there are none. */
  async rows<Row extends object>(
    rows: readonly Row[],
    columns: readonly Column<Row>[],
    empty: string,
  ): Promise<boolean> {
    if (!this.json) return await this.line(rows.length === 0 ? empty : table(rows, columns, this.columns))
    let read = true
    for (const row of rows) read = await this.value(row)
    return read
  }

  /** Begins at the top of an empty terminal. */
  clear(): void {
    this.#stream.write('\x1b[H\x1b[2J')
  }

  /** Resolves when all lines have left the process. */
  async flushed(): Promise<void> {
    await this.#lastWrite
  }

  onClosed(listener: () => void): void {
    this.#closedListeners.push(listener)
    if (this.#closed) listener()
  }

  #close(): void {
    this.#closed = true
    for (const listener of this.#closedListeners) listener()
  }
}
