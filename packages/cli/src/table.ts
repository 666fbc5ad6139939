/** Tables for people: columns as wide as what stands in them, names cut with an ellipsis where the terminal ends. */

export interface Column<Row> {
  readonly title: string
  /** What stands in the cell; empty where nothing is known. */
  readonly cell: (row: Row) => string
  /** Numbers stand at the right. Default: left. */
  readonly align?: 'left' | 'right'
  /** This column gives way when the table is too wide; at least `leastColumns` of it stay. Default: it does not. */
  readonly shrinks?: true
  /** The column is left out where no row has anything in it. */
  readonly optional?: true
}

const gap = '  '
const leastColumns = 8

/** The table, without a line end behind its last line. Lines are at most `width` wide unless no column gives way. */
export function table<Row>(rows: readonly Row[], all: readonly Column<Row>[], width: number): string {
  const columns = all.filter(({ optional, cell }) => !optional || rows.some(row => cell(row) !== ''))
  const lines = [
    columns.map(column => column.title),
    ...rows.map(row => columns.map(column => plain(column.cell(row)))),
  ]
  const widths = columns.map((_, at) => Math.max(...lines.map(cells => columnsOf(cells[at]!))))
  shrink(widths, columns, width)
  return lines.map(cells => lineOf(cells, columns, widths)).join('\n')
}

/** Takes from the widest column that gives way, until the table fits. */
function shrink<Row>(widths: number[], columns: readonly Column<Row>[], width: number): void {
  let over = widths.reduce((sum, one) => sum + one, gap.length * (widths.length - 1)) - width
  while (over > 0) {
    let widest = -1
    for (const [at, column] of columns.entries()) {
      if (column.shrinks && widths[at]! > leastColumns && (widest === -1 || widths[at]! > widths[widest]!)) widest = at
    }
    if (widest === -1) return
    widths[widest]!--
    over--
  }
}

function lineOf<Row>(cells: readonly string[], columns: readonly Column<Row>[], widths: readonly number[]): string {
  return cells
    .map((cell, at) => {
      const text = cut(cell, widths[at]!)
      const space = ' '.repeat(widths[at]! - columnsOf(text))
      return columns[at]!.align === 'right' ? space + text : text + space
    })
    .join(gap)
    .trimEnd()
}

/** The text in at most so many columns of a terminal, with an ellipsis in the place of what is gone. */
export function cut(text: string, columns: number): string {
  if (columnsOf(text) <= columns) return text
  let used = 0
  let kept = ''
  for (const { segment } of characters.segment(text)) {
    used += columnsOf(segment)
    if (used > columns - 1) break
    kept += segment
  }
  return `${kept}…`
}

const characters = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** How many columns a terminal gives the text: two for East Asian wide characters and for pictures. */
function columnsOf(text: string): number {
  let columns = 0
  for (const { segment } of characters.segment(text)) columns += wide.test(segment) ? 2 : 1
  return columns
}

const wide = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}\p{Emoji_Presentation}]/u

/** What other people's names and bodies hold must not steer the terminal. */
export function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, character => `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`)
}

/** A number as people read it: 12,345. */
export function count(number: number): string {
  return number.toLocaleString('en-US')
}

/** A length of time in its two largest units: `850 ms`, `12 s`, `3 min 5 s`, `2 h 10 min`, `4 d 3 h`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const seconds = Math.floor(ms / 1000)
  const parts: readonly [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ]
  const first = parts.findIndex(([number]) => number > 0)
  return parts
    .slice(first, first + 2)
    .filter(([number]) => number > 0)
    .map(([number, unit]) => `${number} ${unit}`)
    .join(' ')
}
