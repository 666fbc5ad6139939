/** The main job as `npm start` runs it: nothing lost though a worker is killed, and the table says so. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it, onTestFinished } from 'vitest'
import { rabbitmq } from '../../scripts/brokers.ts'

const program = fileURLToPath(new URL('./main.ts', import.meta.url))

async function flights(...words: string[]): Promise<{ code: number; output: string }> {
  const cwd = await mkdtemp(join(tmpdir(), 'chasqui-flights-'))
  onTestFinished(() => rm(cwd, { recursive: true, force: true }))
  return await new Promise(resolve => {
    const env = { ...process.env, CHASQUI_URL: undefined, NODE_ENV: undefined }
    execFile(process.execPath, ['--conditions=@chasqui/source', program, ...words], { cwd, env }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), output: out + err }),
    )
  })
}

function row(output: string, name: string): number {
  return Number(new RegExp(`^  ${name} +([\\d,]+)$`, 'm').exec(output)?.[1]?.replaceAll(',', ''))
}

it('loses none of 20,000 flights on the embedded broker, with a worker killed halfway', {
  timeout: 120_000,
}, async () => {
  const { code, output } = await flights()
  expect(output).toMatch(/Killed worker \d+ \(SIGKILL\)/)
  expect(row(output, 'published')).toBe(20_000)
  expect(row(output, 'handled')).toBe(20_000)
  expect(row(output, 'lost')).toBe(0)
  expect(row(output, 'order violations')).toBe(0)
  // Every tenth flight of five airports: none fails twice.
  expect(row(output, 'retried')).toBe(66)
  // 1,089 flights are more than an hour late, and ten of them more than five: rebooked after all, once sent back.
  expect(row(output, 'rebooked')).toBe(1_089)
  expect(row(output, 'dead-lettered')).toBe(10)
  expect(row(output, 'redriven')).toBe(10)
  // What the killed worker had unsettled comes twice: at most its window, for each of the two kinds of message.
  expect(row(output, 'duplicates')).toBeLessThanOrEqual(1100)
  for (const line of output.split('\n')) expect(line.length).toBeLessThan(80)
  expect(code).toBe(0)
})

it.runIf(process.env.CHASQUI_RABBITMQ_URL)('loses none of them on RabbitMQ either', { timeout: 120_000 }, async () => {
  // A node of its own: the flights' queues have the same names in every run.
  const broker = await rabbitmq({ name: `flights-${randomBytes(3).toString('hex')}`, port: 0, tlsPort: 0 })
  onTestFinished(() => broker.remove(), 60_000)
  await broker.start()
  const { code, output } = await flights('--url', broker.url)
  expect(row(output, 'lost')).toBe(0)
  expect(row(output, 'handled')).toBe(20_000)
  expect(row(output, 'order violations')).toBe(0)
  expect(row(output, 'retried')).toBe(66)
  expect(row(output, 'dead-lettered')).toBe(10)
  expect(row(output, 'redriven')).toBe(10)
  expect(code).toBe(0)
})

it('says in a sentence what is wrong with a URL, and exits with 1', async () => {
  const { code, output } = await flights('--url', 'gopher://localhost')
  expect(code).toBe(1)
  expect(output).toContain('gopher')
  expect(output).not.toMatch(/^\s+at /m)
})
