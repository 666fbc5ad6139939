import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connect } from '@chasqui/amqp/client'
import { localSocketPath } from '@chasqui/broker'
import type { Bus } from '@chasqui/core'
import { expect, test } from 'vitest'
import { CommandLine, scratchDirectory } from '../command-line.ts'
import { openProgram, readyIn } from '../program.ts'

/** A program whose consumer of `orders` gives up what it gets, until it is mended. */
async function openBroken(bodies: readonly unknown[]): Promise<{ bus: Bus; url: string; ids: string[] }> {
  const { bus, url } = await openProgram()
  const consumer = await bus.handle(
    'orders',
    body => {
      throw (body as { n: number }).n % 2 === 0 ? new TypeError('even numbers are hard') : new Error('odd ones too')
    },
    { retry: { attempts: 1 }, concurrency: 1 },
  )
  const ids: string[] = []
  for (const body of bodies) ids.push((await bus.send('orders', body, { headers: { mine: 'yes' }, key: 'k' })).id)
  await expect.poll(() => readyIn(bus, 'orders.dead-letter'), { timeout: 20_000 }).toBe(bodies.length)
  await consumer.stop()
  return { bus, url, ids }
}

const numbers = (count: number) => Array.from({ length: count }, (_, n) => ({ n }))

test('list shows why, oldest first, and changes nothing', async () => {
  const { bus, url, ids } = await openBroken(numbers(3))
  const { code, out, err } = await CommandLine.run(['dead-letters', 'list', 'orders', '--url', url])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const lines = out.trimEnd().split('\n')
  expect(lines[0]).toMatch(/^LAST FAILED +ID +TYPE +ERROR +MESSAGE +TRIED$/)
  expect(lines).toHaveLength(4)
  expect(lines.slice(1).map(line => line.split(/ {2,}/)[1])).toEqual(ids)
  const json = await CommandLine.run(['dead-letters', 'list', 'orders', '--error', 'TypeError', '--json', '--url', url])
  const letters = json.out
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(letters.map(letter => letter.id)).toEqual([ids[0], ids[2]])
  expect(letters[1]).toMatchObject({
    body: { n: 2 },
    headers: { mine: 'yes' },
    originalDestination: 'orders',
    error: { code: 'handler-failed', type: 'TypeError', message: 'even numbers are hard' },
    attempts: 1,
  })
  expect(await readyIn(bus, 'orders.dead-letter')).toBe(3)
})

test('[--limit] tells that there are more, and no letters are a sentence', async () => {
  const { url } = await openBroken(numbers(2))
  const some = await CommandLine.run(['dead-letters', 'list', 'orders', '--limit', '1', '--url', url])
  expect(some.out).toMatch(/\nThere are more than these 1; --limit shows more\.\n$/)
  const none = await CommandLine.run(['dead-letters', 'list', 'orders', '--until', '1h', '--url', url])
  expect(none).toMatchObject({ code: 0, out: 'There are no such dead letters in orders.dead-letter.\n' })
})

test('show prints one with its headers, stack and body; an id that is not there is a failure', async () => {
  const { url, ids } = await openBroken(numbers(1))
  const { code, out } = await CommandLine.run(['dead-letters', 'show', 'orders', ids[0]!, '--url', url])
  expect(code).toBe(0)
  expect(out).toContain(`id            ${ids[0]}\n`)
  expect(out).toContain('reason        the only attempt failed: even numbers are hard\n')
  expect(out).toContain('header mine   yes\n')
  expect(out).toMatch(/\nTypeError: even numbers are hard\n {4}at /)
  expect(out).toMatch(/\n\{"n":0\}\n$/)
  const missing = await CommandLine.run(['dead-letters', 'show', 'orders', 'nobody', '--json', '--url', url])
  expect(missing.code).toBe(1)
  expect(JSON.parse(missing.err)).toMatchObject({ error: 'dead-letter-missing' })
})

test('redrive: a dry run counts, then what fits goes back and is on record', async () => {
  const { bus, url, ids } = await openBroken(numbers(4))
  const audit = join(scratchDirectory(), 'audit.jsonl')
  const words = ['dead-letters', 'redrive', 'orders', '--error', 'TypeError', '--url', url]
  const dry = await CommandLine.run([...words, '--dry-run'])
  expect(dry).toMatchObject({ code: 0, out: '2 of 4 dead letters would be sent back.\n' })
  expect(await readyIn(bus, 'orders')).toBe(0)
  const real = await CommandLine.run([...words, '--by', 'ana', '--audit', audit])
  expect(real).toMatchObject({ code: 0, out: '2 of 4 dead letters sent back.\n', err: '' })
  expect(await readyIn(bus, 'orders')).toBe(2)
  const records = readFileSync(audit, 'utf8')
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(records).toMatchObject([
    { by: 'ana', action: 'redrive', id: ids[0], to: 'orders', outcome: 'done' },
    { by: 'ana', action: 'redrive', id: ids[2], to: 'orders', outcome: 'done' },
  ])
})

test('redrive of all goes on where nobody can be asked; letters that cannot be sent stay, with exit code 1', async () => {
  const { bus, url } = await openBroken(numbers(1))
  const connection = await connect({
    socketPath: localSocketPath(url.slice('embedded:'.length)),
    username: 'guest',
    password: 'guest',
    connectionName: 'test',
  })
  const channel = await connection.openChannel()
  await channel.confirmSelect()
  const headers = { chasqui_original_destination: 'renamed' }
  await new Promise<void>(confirmed => {
    channel.publishConfirmed('', 'orders.dead-letter', { messageId: 'lost', headers }, Buffer.from('{}'), {}, () =>
      confirmed(),
    )
  })
  await connection.close()
  const words = ['dead-letters', 'redrive', 'orders', '--url', url]
  const plain = await CommandLine.run(words)
  expect(plain).toMatchObject({ code: 1, out: '1 of 2 dead letters sent back, 1 could not be.\n' })
  expect(plain.err).toMatch(/^chasqui: lost: .*renamed/)
  const json = await CommandLine.run([...words, '--json'])
  expect(json.code).toBe(1)
  expect(JSON.parse(json.out)).toMatchObject({
    action: 'redrive',
    total: 1,
    matched: 1,
    done: 0,
    failed: 1,
    failures: [{ id: 'lost', error: 'destination-missing' }],
  })
  expect(await readyIn(bus, 'orders')).toBe(1)
})

test('a queue that has no dead letters is a sentence, with exit code 1', async () => {
  const { url } = await openProgram()
  const { code, err } = await CommandLine.run(['dead-letters', 'redrive', 'nowhere', '--url', url])
  expect(code).toBe(1)
  expect(err).toMatch(/^chasqui: There is no queue "nowhere\.dead-letter"\./)
})

async function idsOf(bus: Bus): Promise<(string | undefined)[]> {
  const ids: (string | undefined)[] = []
  for await (const letter of bus.deadLetters('orders').list()) ids.push(letter.id)
  return ids
}

test('edit sends one back with another body and headers; a body that is not what it says is refused', async () => {
  const { bus, url, ids } = await openBroken(numbers(1))
  const words = ['dead-letters', 'edit', 'orders', ids[0]!, '--url', url]
  const wrong = await CommandLine.run([...words, '--body', '{'])
  expect(wrong.code).toBe(1)
  expect(wrong.err).toMatch(/no JSON/)
  expect((await CommandLine.run(words)).err).toMatch(/nothing is to be changed/)
  const file = join(scratchDirectory(), 'body.json')
  writeFileSync(file, '{"n":7}')
  const changes = ['--body-file', file, '--header', 'more=1', '--remove-header', 'mine', '--key', 'other']
  const { code, out } = await CommandLine.run([...words, ...changes])
  expect({ code, out }).toEqual({ code: 0, out: `${ids[0]} sent back.\n` })
  for await (const delivery of bus.receive('orders')) {
    expect(delivery).toMatchObject({ id: ids[0], key: 'other', body: { n: 7 }, headers: { more: '1' } })
    expect(delivery.headers).not.toHaveProperty('mine')
    await delivery.ack()
    break
  }
})

test('discard wants --yes where nobody can be asked', async () => {
  const { bus, url, ids } = await openBroken(numbers(3))
  const words = ['dead-letters', 'discard', 'orders', '--id', ids[1]!, '--url', url]
  const refused = await CommandLine.run(words)
  expect(refused.code).toBe(2)
  expect(refused.err).toMatch(/^error: nobody can be asked here; say --yes/)
  expect((await CommandLine.run([...words, '--dry-run'])).out).toBe('1 of 3 dead letters would be deleted.\n')
  expect((await CommandLine.run([...words, '--yes'])).out).toBe('1 of 3 dead letters deleted.\n')
  expect(await idsOf(bus)).toEqual([ids[0], ids[2]])
})

test('Ctrl-C ends it with how far it came, and it goes on when it is run again', async () => {
  const { bus, url } = await openBroken(numbers(30))
  const command = new CommandLine('dead-letters', 'redrive', 'orders', '--rate', '10', '--url', url)
  await expect.poll(() => readyIn(bus, 'orders'), { timeout: 20_000 }).toBeGreaterThan(0)
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(1)
  expect(command.err).toMatch(/^chasqui: .* after \d+ of 30 letters\. Run it again to go on\.\n$/)
  const again = await CommandLine.run(['dead-letters', 'redrive', 'orders', '--url', url])
  expect(again.code).toBe(0)
  expect([await readyIn(bus, 'orders'), await readyIn(bus, 'orders.dead-letter')]).toEqual([30, 0])
})

test.each([
  ['--since', 'yesterday', /Give a moment as/],
  ['--limit', '0', /Give a whole number from 1/],
  ['--rate', '0', /Give a number a second/],
])('[%s] %s is a usage error', async (option, value, says) => {
  const { code, err } = await CommandLine.run(['dead-letters', 'redrive', 'orders', option, value])
  expect(code).toBe(2)
  expect(err).toMatch(says)
})
