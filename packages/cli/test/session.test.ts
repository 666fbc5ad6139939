/** What every command that talks to an engine takes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { CommandLine, scratchDirectory } from './command-line.ts'

/** A module that says what it was opened with, as its failure. */
function tellingDriver(): string {
  const file = join(scratchDirectory(), 'driver.mjs')
  writeFileSync(
    file,
    'export async function open({ urls, tls, engine }) { throw new Error(JSON.stringify({ urls, tls, engine })) }',
  )
  return file
}

async function told(...words: string[]): Promise<unknown> {
  const driver = `telling=${tellingDriver()}`
  const { code, err } = await CommandLine.run(['queues', 'orders', '--driver', driver, ...words])
  expect(code).toBe(1)
  return JSON.parse(/\{.*\}/.exec(err)![0])
}

test("[--driver --url --engine] reach somebody else's driver: nodes in order, numbers as numbers", async () => {
  const engine = ['--engine', 'heartbeatSeconds=5', '--engine', 'mechanism=EXTERNAL']
  expect(await told('--url', 'telling://a', '--url', 'telling://b', ...engine)).toEqual({
    urls: ['telling://a', 'telling://b'],
    engine: { heartbeatSeconds: 5, mechanism: 'EXTERNAL' },
  })
})

test('[--tls-ca --tls-cert --tls-key] are read from their files', async () => {
  const directory = scratchDirectory()
  const files = ['ca', 'cert', 'key'].flatMap(name => {
    const file = join(directory, `${name}.pem`)
    writeFileSync(file, `PEM of ${name}`)
    return [`--tls-${name}`, file]
  })
  expect(await told('--url', 'telling://a', ...files)).toMatchObject({
    tls: { ca: 'PEM of ca', cert: 'PEM of cert', key: 'PEM of key' },
  })
})

test('[--tls-ca] a file that cannot be read is a failure that names it', async () => {
  const { code, err } = await CommandLine.run(['queues', '--url', 'amqps://localhost', '--tls-ca', 'none.pem'])
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: The PEM file none\.pem cannot be read: /)
})

test('[--engine] an option that the engine does not have is a failure that names those it has', async () => {
  const { code, err } = await CommandLine.run([
    'queues',
    '--url',
    'amqp://127.0.0.1:1',
    '--engine',
    'queuetype=classic',
  ])
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: RabbitMQ has no option queuetype\. It has .*queueType/)
})

test('the password of a URL is not printed', async () => {
  const { err } = await CommandLine.run(['queues', '--url', 'amqp://me:hunter2@127.0.0.1:1'])
  expect(err).toMatch(/^chasqui: Could not connect/)
  expect(err).not.toContain('hunter2')
})
