/** The programs of docs/guides, run as they stand there: each page's first line of code names the file. */
import { execFile, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { connect } from '@chasqui/amqp/client'
import { expect, it, onTestFinished } from 'vitest'

const sources = '--conditions=@chasqui/source'

interface Guide {
  /** The folder with the programs, where packages resolve as they do for any example. */
  readonly folder: string
  /** What the page says that they print. */
  readonly output: string
}

async function guide(page: string): Promise<Guide> {
  const text = await readFile(new URL(`../docs/guides/${page}.md`, import.meta.url), 'utf8')
  const folder = await mkdtemp(join(import.meta.dirname, '.guide-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const programs = [...text.matchAll(/^```ts\n\/\/ (\S+\.ts)\n([\s\S]*?)^```$/gm)]
  for (const [, name, program] of programs) await writeFile(join(folder, name!), program!)
  return { folder, output: /^```text\n([\s\S]*?)^```$/m.exec(text)?.[1] ?? '' }
}

/** Runs to its end. Rejects when it fails. */
async function run(folder: string, program: string, environment: Record<string, string> = {}): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [sources, program], {
    cwd: folder,
    env: { ...process.env, CHASQUI_URL: undefined, NODE_ENV: undefined, ...environment },
  })
  return stdout
}

it('retry a failing call: prints what the guide says', { timeout: 60_000 }, async () => {
  const { folder, output } = await guide('retry-a-failing-call')
  const lines = (await run(folder, 'retry.ts')).trimEnd().split('\n')
  // Alice and Bob are called at the same time.
  expect(lines.toSorted()).toEqual(output.trimEnd().split('\n').toSorted())
  const alice = (text: readonly string[]) => text.filter(line => line.startsWith('alice'))
  expect(alice(lines)).toEqual(alice(output.split('\n')))
})

it('keep order per customer: prints what the guide says', { timeout: 60_000 }, async () => {
  const { folder, output } = await guide('keep-order-per-customer')
  expect(await run(folder, 'bookings.ts', { CHASQUI_URL: 'memory:' })).toBe(output)
})

it.runIf(process.env.CHASQUI_RABBITMQ_URL)(
  'keep order per customer: also on RabbitMQ',
  { timeout: 60_000 },
  async () => {
    const { folder, output } = await guide('keep-order-per-customer')
    // A queue of this run's own.
    const name = `bookings-${randomUUID()}`
    const program = join(folder, 'bookings.ts')
    await writeFile(program, (await readFile(program, 'utf8')).replace('bookings.book', name))
    const url = new URL(process.env.CHASQUI_RABBITMQ_URL ?? '')
    onTestFinished(async () => {
      const connection = await connect({ host: url.hostname, port: Number(url.port || 5672) })
      const channel = await connection.openChannel()
      const lanes = Array.from({ length: 8 }, (_, lane) => `${name}.lane-${lane}`)
      for (const queue of [...lanes, `${name}.dead-letter`]) await channel.deleteQueue(queue)
      await connection.close()
    })
    expect(await run(folder, 'bookings.ts', { CHASQUI_URL: url.href })).toBe(output)
  },
)

it('redrive what failed: prints what the guide says', { timeout: 60_000 }, async () => {
  const { folder, output } = await guide('redrive-what-failed')
  expect(await run(folder, 'redrive.ts', { CHASQUI_URL: 'memory:' })).toBe(output)
})

it('drain on deploy: SIGTERM in the midst costs no photo, and none comes twice', { timeout: 60_000 }, async () => {
  const { folder } = await guide('drain-on-deploy')
  await run(folder, 'photos.ts')
  const printed: string[] = []
  const serve = async (until: (lines: readonly string[]) => boolean) => {
    const lines: string[] = []
    const child = spawn(process.execPath, [sources, 'service.ts'], {
      cwd: folder,
      env: { ...process.env, CHASQUI_URL: undefined, NODE_ENV: undefined, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    onTestFinished(() => void child.kill('SIGKILL'))
    const exited = once(child, 'exit')
    let rest = ''
    let told = false
    for await (const chunk of child.stdout.setEncoding('utf8')) {
      const complete = `${rest}${chunk}`.split('\n')
      rest = complete.pop() ?? ''
      lines.push(...complete)
      if (told || !until(lines)) continue
      told = true
      child.kill('SIGTERM')
    }
    expect(await exited).toEqual([0, null])
    printed.push(...lines.filter(line => line.startsWith('photo')))
    return lines
  }
  const first = await serve(lines => lines.includes('photo 5'))
  expect(first[0]).toBe('ready')
  expect(first.slice(-1)).toEqual(['drained'])
  expect(first).toContain('SIGTERM: draining')
  expect(printed.length).toBeLessThan(20)
  const before = printed.length
  await serve(lines => before + lines.filter(line => line.startsWith('photo')).length === 20)
  expect(printed.toSorted()).toEqual(Array.from({ length: 20 }, (_, i) => `photo ${i + 1}`).toSorted())
})
