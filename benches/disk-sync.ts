/** How often this disk syncs a small append: the ceiling of whoever confirms one message at a time. */
import { closeSync, fdatasyncSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const durationMs = 2_000
const directory = mkdtempSync(join(process.cwd(), '.bench-'))
const file = openSync(join(directory, 'log'), 'a')
const block = Buffer.alloc(4_096, 7)
let syncs = 0
const started = Date.now()
while (Date.now() - started < durationMs) {
  writeSync(file, block)
  fdatasyncSync(file)
  syncs++
}
const seconds = (Date.now() - started) / 1000
closeSync(file)
rmSync(directory, { recursive: true })
console.log(JSON.stringify({ syncs, seconds, perSecond: syncs / seconds }))
