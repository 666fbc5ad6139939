import { join } from 'node:path'
import { type Bus, connect } from '@chasqui/core'
import { expect, onTestFinished, test } from 'vitest'
import { CommandLine, scratchDirectory } from '../command-line.ts'

/** A bus on a directory of its own, as a user's program has one open. */
async function program(): Promise<{ bus: Bus; url: string }> {
  const url = `embedded:${join(scratchDirectory(), 'data')}`
  const bus = await connect(url, { logger: false })
  onTestFinished(() => bus.close())
  return { bus, url }
}

test('shows depth and consumers of a named queue, also while another process owns the directory', async () => {
  const { bus, url } = await program()
  for (const body of ['a', 'b', 'c']) await bus.send('orders', body)
  const { code, out, err } = await CommandLine.run(['queues', 'orders', '--url', url])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const [head, row] = out.split('\n')
  expect(head).toMatch(/^QUEUE {2,}READY {2,}UNSETTLED {2,}CONSUMERS/)
  expect(row).toMatch(/^orders +3 +.*0/)
})

test('[--json] one JSON line a queue', async () => {
  const { bus, url } = await program()
  await bus.send('orders', 'a')
  const { code, out } = await CommandLine.run(['queues', 'orders', '--json', '--url', url])
  expect(code).toBe(0)
  expect(JSON.parse(out)).toMatchObject({ name: 'orders', ready: 1, consumers: 0 })
})

test('a queue that is not there: a sentence and its code, exit code 1', async () => {
  const { url } = await program()
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
  const { bus, url } = await program()
  await bus.send('orders', 'a')
  const command = new CommandLine('queues', 'orders', '--watch', '0.1', '--json', '--url', url)
  await expect.poll(() => command.out.split('\n').length, { timeout: 15_000 }).toBeGreaterThan(3)
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
  expect(command.err).toBe('')
})

test('[--watch] takes seconds', async () => {
  const { code, err } = await CommandLine.run(['queues', '--watch', 'often'])
  expect(code).toBe(2)
  expect(err).toMatch(/Give a number of seconds from 0\.1 to 86400/)
})
