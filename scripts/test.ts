/**
 * `npm test [-- FILES] [-t PATTERN]`: finds the engines, runs vitest with them, and says which were absent. With
 * CHASQUI_ENGINES=all an absent engine, or a test that did not run, is a failure. The last line counts.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { engines } from './engines.ts'

interface VitestReport {
  readonly numPassedTests: number
  readonly numFailedTests: number
  readonly numPendingTests: number
  readonly numTodoTests: number
  readonly success: boolean
  readonly testResults: readonly {
    readonly status: string
    readonly assertionResults: readonly { readonly status: string }[]
  }[]
}

async function main(args: readonly string[]): Promise<number> {
  const root = join(import.meta.dirname, '..')
  const found = await engines()
  const absent = found.filter(({ environment }) => environment === undefined)
  const everyEngine = process.env.CHASQUI_ENGINES === 'all'
  for (const { name, advice } of absent) console.log(`absent: ${name} (${advice})`)
  if (everyEngine && absent.length > 0) {
    console.error('CHASQUI_ENGINES=all, and not all engines are here.')
    return 1
  }
  const folder = await mkdtemp(join(tmpdir(), 'chasqui-test-'))
  try {
    const reportPath = join(folder, 'report.json')
    const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs')
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`]
    const child = spawn(process.execPath, ['--conditions=@chasqui/source', vitest, 'run', ...reporters, ...args], {
      cwd: root,
      stdio: 'inherit',
      env: { ...process.env, ...Object.assign({}, ...found.map(({ environment }) => environment ?? {})) },
    })
    // The terminal sends SIGINT to vitest too, which ends by itself and reports.
    process.on('SIGINT', () => undefined)
    process.on('SIGTERM', () => child.kill('SIGTERM'))
    const code = await new Promise<number>(resolve => child.once('exit', status => resolve(status ?? 1)))
    if (!existsSync(reportPath)) {
      console.error('vitest ended without a report.')
      return code || 1
    }
    const report = JSON.parse(readFileSync(reportPath, 'utf8')) as VitestReport
    // A file that fails beside its tests (an import, a hook) counts as one failure.
    const failedFiles = report.testResults.filter(
      file => file.status === 'failed' && !file.assertionResults.some(({ status }) => status === 'failed'),
    )
    const failed = report.numFailedTests + failedFiles.length
    const notRun = report.numPendingTests + report.numTodoTests
    const filtered = args.some(arg => arg === '-t' || arg.startsWith('--testNamePattern') || arg.startsWith('-t='))
    if (notRun > 0 && !filtered) {
      console.log(
        `${notRun} tests did not run${absent.length > 0 ? `, absent: ${absent.map(({ name }) => name).join(', ')}` : ''}`,
      )
    }
    const missed = everyEngine && notRun > 0 && !filtered
    if (missed) console.error('CHASQUI_ENGINES=all, and tests did not run: that counts as failed.')
    console.log(`${report.numPassedTests} passed, ${failed + (missed ? notRun : 0)} failed`)
    return code !== 0 ? code : failed > 0 || missed || !report.success ? 1 : 0
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

process.exitCode = await main(process.argv.slice(2))
