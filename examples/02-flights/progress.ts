/** One line that is rewritten on a terminal, and a plain line now and then elsewhere. */
const width = 16
const plainEveryMs = 2_000

export class Progress {
  readonly #started = Date.now()
  #lastPlain = 0

  show(done: number, total: number, text: string): void {
    const share = Math.min(1, done / total)
    const percent = `${Math.floor(share * 100)}%`.padStart(5)
    if (process.stdout.isTTY) {
      const filled = Math.round(share * width)
      const bar = '█'.repeat(filled) + '░'.repeat(width - filled)
      process.stdout.write(`\r\x1b[K${`${bar}${percent}  ${text}`.slice(0, (process.stdout.columns || 80) - 1)}`)
    } else if (Date.now() - this.#lastPlain >= plainEveryMs) {
      this.#lastPlain = Date.now()
      console.log(`${percent}  ${text}`)
    }
  }

  /** Prints a line of its own above the progress. */
  note(text: string): void {
    if (process.stdout.isTTY) process.stdout.write('\r\x1b[K')
    console.log(text)
  }

  elapsedSeconds(): number {
    return (Date.now() - this.#started) / 1000
  }
}
