/**
 * `npm run conformance`: runs the suite on every engine and writes its report, docs/reference/conformance.json, and the
 * table made from it. All engines must be there: a report with holes would claim less than is known, or more.
 */
import { spawn } from 'node:child_process'
import { globSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { DriverReport } from '@chasqui/conformance'
import { type ConformanceFile, conformancePage, conformanceReportPath } from './reference/conformance.ts'

const root = join(import.meta.dirname, '..')

async function main(): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'chasqui-conformance-'))
  try {
    const args = ['--conditions=@chasqui/source', join(root, 'scripts', 'test.ts'), 'packages/conformance/test']
    const child = spawn(process.execPath, args, {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, CHASQUI_ENGINES: 'all', CHASQUI_CONFORMANCE_REPORTS: folder },
    })
    const code = await new Promise<number>(resolve => child.once('exit', status => resolve(status ?? 1)))
    const reports = globSync('*.json', { cwd: folder })
      .map(name => JSON.parse(readFileSync(join(folder, name), 'utf8')) as DriverReport)
      .sort((a, b) => a.driver.localeCompare(b.driver))
    if (code !== 0) {
      console.error('The suite failed; the report in docs/reference stays as it was.')
      return code
    }
    const file: ConformanceFile = { date: new Date().toISOString().slice(0, 10), node: process.version, reports }
    writeFileSync(join(root, conformanceReportPath), `${JSON.stringify(file, null, 2)}\n`)
    writeFileSync(join(root, 'docs/reference/conformance.md'), conformancePage())
    console.log(`wrote ${conformanceReportPath} and its table`)
    return 0
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

process.exitCode = await main()
