import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CommandLine, refusal, scratchDirectory } from '../command-line.ts'
import { openProgram } from '../program.ts'

test('shows depth and consumers of a named queue, also while another process owns the directory', async () => {
  const { bus, url } = await openProgram()
  for (const body of ['a', 'b', 'c']) await bus.send('orders', body)
  const { code, out, err } = await CommandLine.run(['queues', 'orders', '--url', url])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const [head, row] = out.split('\n')
  expect(head).toMatch(/^QUEUE {2,}READY .*CONSUMERS/)
  expect(row).toMatch(/^orders +3 +.*0/)
})

test('[--json] one JSON line a queue', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 'a')
  const { code, out } = await CommandLine.run(['queues', 'orders', '--json', '--url', url])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ name: 'orders', ready: 1, consumers: 0 })
})

test('without names lists all queues of the directory, also while another process owns it, with the age of the oldest', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 'a')
  await bus.send('later', 'b', { delayMs: 3_600_000 })
  const { code, out } = await CommandLine.run(['queues', '--json', '--url', url])
  expect(code).toBe(0)
  const queues = out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(queues.map(({ name }) => name)).toEqual(['later', 'later.dead-letter', 'orders', 'orders.dead-letter'])
  expect(queues[0]).toMatchObject({ ready: 0, delayed: 1 })
  expect(queues[2]).toMatchObject({ ready: 1, oldestAgeMs: expect.any(Number) })
  const table = (await CommandLine.run(['queues', '--url', url])).out.split('\n')
  expect(table[0]).toMatch(/^QUEUE +READY +DELAYED +UNSETTLED +CONSUMERS .*OLDEST$/)
})

test("[--all] shows the lanes of a queue, and Chasqui's own queues, which else are counted only", async () => {
  const { bus, url } = await openProgram()
  for (const queue of ['orders.lane-0', 'orders.lane-1', 'orders.lane-members'])
    await bus.declare([{ queue, durable: false }])
  const short = await CommandLine.run(['queues', '--url', url])
  expect(short.out).toMatch(
    /^QUEUE +LANES .*\norders +2 +0 .*\n\n1 more are Chasqui's own, with 0 messages; --all shows/,
  )
  const all = await CommandLine.run(['queues', '--all', '--json', '--url', url])
  const names = all.out
    .trim()
    .split('\n')
    .map(line => JSON.parse(line).name)
  expect(names).toEqual(expect.arrayContaining(['orders.lane-0', 'orders.lane-1', 'orders.lane-members']))
})

test('a queue that is not there: a sentence and its code, exit code 1', async () => {
  const { url } = await openProgram()
  const plain = await CommandLine.run(['queues', 'nowhere', '--url', url])
  expect(plain).toMatchObject({ code: 1, out: '' })
  expect(plain.err).toMatch(/^chasqui: There is no queue "nowhere"\. .*\n$/)
  const json = await CommandLine.run(['queues', 'nowhere', '--url', url, '--json'])
  expect(JSON.parse(json.err)).toMatchObject({ error: 'destination-missing' })
})

test('started where no program of the user runs: a sentence, and no data directory is made', async () => {
  const { code, err } = await CommandLine.run(['queues'])
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: There is no \.chasqui in .*--url\.\n$/)
})

test('[--url] an engine that is not there: a sentence, exit code 1', async () => {
  const { code, err } = await CommandLine.run(['queues', '--url', 'amqp://127.0.0.1:1'])
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: Could not connect to 127\.0\.0\.1:1/)
})

test('[--watch] shows it again until SIGINT, then ends with exit code 0', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 'a')
  const command = new CommandLine('queues', 'orders', '--watch', '0.1', '--json', '--url', url)
  await expect.poll(() => command.out.split('\n').length, { timeout: 15_000 }).toBeGreaterThan(3)
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
  expect(command.err).toBe('')
})

test('[--watch] an engine that is away for a moment is told of and watched on', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 'a')
  const file = join(scratchDirectory(), 'driver.mjs')
  const [embedded, contract] = ['@chasqui/embedded', '@chasqui/driver'].map(name => import.meta.resolve(name))
  // The real driver, whose second look fails as a lost connection does.
  writeFileSync(
    file,
    `import { open as openReal } from '${embedded}'
     import { ChasquiError } from '${contract}'
     export async function open(options) {
       const driver = await openReal({ ...options, urls: options.urls.map(url => url.replace('away:', 'embedded:')) })
       const queues = driver.inspector.queues.bind(driver.inspector)
       let looks = 0
       driver.inspector.queues = async () => {
         if (++looks === 2) throw new ChasquiError('disconnected', 'The engine is away.')
         return await queues()
       }
       return driver
     }`,
  )
  const away = ['--url', url.replace('embedded:', 'away:'), '--driver', `away=${file}`]
  const command = new CommandLine('queues', 'orders', '--watch', '0.1', '--json', ...away)
  await expect.poll(() => command.out.split('\n').length, { timeout: 15_000 }).toBeGreaterThan(3)
  expect(command.err).toBe('chasqui: The engine is away.\n')
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
})

test('[--metrics-port] serves the depths to Prometheus while it watches, on this machine alone', async () => {
  const { bus, url } = await openProgram()
  for (const body of ['a', 'b']) await bus.send('orders', body)
  const command = new CommandLine('queues', 'orders', '--watch', '60', '--metrics-port', '0', '--url', url)
  const address = await command.metricsUrl()
  const response = await fetch(address)
  expect(response.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
  expect(await response.text()).toContain('\nchasqui_queue_ready{messaging_destination_name="orders"} 2\n')
  expect(address).toMatch(/^http:\/\/127\.0\.0\.1:/)
  expect((await fetch(address.replace('/metrics', '/'))).status).toBe(404)
  expect((await fetch(address, { method: 'POST' })).status).toBe(405)
  command.child.kill('SIGTERM')
  expect(await command.ended).toBe(0)
})

test('[--metrics-port] alone is a usage error, and a port that is taken a failure', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([{ queue: 'orders' }])
  expect((await refusal('queues', '--metrics-port', '0', '--url', url)).code).toBe(2)
  const first = new CommandLine('queues', 'orders', '--watch', '60', '--metrics-port', '0', '--url', url)
  const { port } = new URL(await first.metricsUrl())
  const second = await CommandLine.run(['queues', '--watch', '60', '--metrics-port', port, '--url', url])
  expect(second.code).toBe(1)
  expect(second.err).toMatch(/^chasqui: Port \d+ of 127\.0\.0\.1 is taken by another program\./)
})

test('[--watch] takes seconds', async () => {
  const { code, err } = await refusal('queues', '--watch', 'often')
  expect(code).toBe(2)
  expect(err).toMatch(/Give a number of seconds from 0\.1 to 86400/)
})
