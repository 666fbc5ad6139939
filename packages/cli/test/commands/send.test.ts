import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Bus, Delivery } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { CommandLine, refusal, scratchDirectory } from '../command-line.ts'
import { openProgram, readyIn } from '../program.ts'

/** Takes so many messages off the queue. */
async function taken(bus: Bus, queue: string, number: number): Promise<Delivery<unknown>[]> {
  const all: Delivery<unknown>[] = []
  for await (const delivery of bus.receive(queue)) {
    all.push(delivery)
    await delivery.ack()
    if (all.length === number) break
  }
  return all
}

describe('chasqui send', () => {
  test('sends text, tells the id, and a handler gets it', async () => {
    const { bus, url } = await openProgram()
    const { code, out, err } = await CommandLine.run(['send', 'hello', 'Hello World!', '--url', url])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const [delivery] = await taken(bus, 'hello', 1)
    expect(out).toBe(`sent ${delivery!.id} to hello\n`)
    expect(delivery).toMatchObject({ body: 'Hello World!', type: 'hello', contentType: 'text/plain; charset=utf-8' })
  })

  test('[--type --key --header] travel, and JSON is told to be JSON, byte for byte', async () => {
    const { bus, url } = await openProgram()
    const options = ['--type', 'order.placed', '--key', '42', '--header', 'region=eu', '--header', 'note=a=b', '--json']
    const { out } = await CommandLine.run(['send', 'orders', '{ "total": 1.0 }', ...options, '--url', url])
    expect(JSON.parse(out)).toMatchObject({ destination: 'orders', id: expect.any(String), durable: true })
    expect((await taken(bus, 'orders', 1))[0]).toMatchObject({
      body: { total: 1 },
      type: 'order.placed',
      key: '42',
      headers: { region: 'eu', note: 'a=b' },
      contentType: 'application/json',
    })
  })

  test('[--file] sends what the file holds, and its bytes where it is no text', async () => {
    const { bus, url } = await openProgram()
    const file = join(scratchDirectory(), 'picture.bin')
    writeFileSync(file, Buffer.from([0xff, 0x00, 0xfe]))
    expect((await CommandLine.run(['send', 'pictures', '--file', file, '--url', url])).code).toBe(0)
    const [delivery] = await taken(bus, 'pictures', 1)
    expect([...(delivery!.body as Uint8Array)]).toEqual([0xff, 0x00, 0xfe])
    expect(delivery!.contentType).toBe('application/octet-stream')
  })

  test('[-] each line of standard input is a message, in order, whatever its bytes and its line end', async () => {
    const { bus, url } = await openProgram()
    const lines = Array.from({ length: 2500 }, (_, number) => `line ${number}`)
    const { code, out } = await CommandLine.run(['send', 'lines', '-', '--url', url], lines.join('\r\n'))
    expect({ code, out }).toEqual({ code: 0, out: 'sent 2,500 messages to lines\n' })
    expect((await taken(bus, 'lines', 2500)).map(({ body }) => body)).toEqual(lines)
  })

  test('[-] a line that cannot be sent is told of by its number, the others go, and the exit code is 1', async () => {
    const { bus, url } = await openProgram()
    const words = ['send', 'lines', '-', '--content-type', 'application/json', '--json', '--url', url]
    const { code, out, err } = await CommandLine.run(words, '1\n{\n3\n')
    expect(code).toBe(1)
    expect(
      out
        .trim()
        .split('\n')
        .map(line => JSON.parse(line).line),
    ).toEqual([1, 3])
    const [failure, summary] = err
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(failure).toMatchObject({ line: 2, error: 'body-not-encodable' })
    expect(summary).toMatchObject({ error: 'send-refused' })
    expect(await readyIn(bus, 'lines')).toBe(2)
  })

  test('[-] SIGINT stops reading, confirms what was read, and says how far it came', async () => {
    const { bus, url } = await openProgram()
    const command = new CommandLine('send', 'lines', '-', '--json', '--url', url)
    command.child.stdin!.write('a\nb\n')
    await expect.poll(() => command.out.split('\n').length, { timeout: 15_000 }).toBe(3)
    command.child.kill('SIGINT')
    expect(await command.ended).toBe(1)
    expect(JSON.parse(command.err)).toEqual({ error: 'aborted', message: expect.stringContaining('line 2') })
    expect(await readyIn(bus, 'lines')).toBe(2)
  })

  test('[--metrics-port] counts what was sent while lines come', async () => {
    const { url } = await openProgram()
    const command = new CommandLine('send', 'lines', '-', '--json', '--metrics-port', '0', '--url', url)
    const address = await command.metricsUrl()
    command.child.stdin!.write('a\nb\n')
    await expect.poll(() => command.out.split('\n').length, { timeout: 15_000 }).toBe(3)
    expect(await (await fetch(address)).text()).toMatch(
      /\nmessaging_client_sent_messages_total\{[^}]*messaging_destination_name="lines"[^}]*\} 2\n/,
    )
    command.child.stdin!.end()
    expect(await command.ended).toBe(0)
  })

  test('[--delay] waits in the queue, and the moment is told', async () => {
    const { bus, url } = await openProgram()
    const { out } = await CommandLine.run(['send', 'later', 'x', '--delay', '1h', '--url', url])
    expect(out).toMatch(/^sent \S+ to later, not to be delivered before \d{4}-\d\d-\d\dT/)
    const list = await bus.inspector!.queues!()
    expect(list.find(({ name }) => name === 'later')).toMatchObject({ ready: 0, delayed: 1 })
  })

  test('[--no-create] a queue that is absent is a failure that says so, and is not made', async () => {
    const { bus, url } = await openProgram()
    const { code, err } = await CommandLine.run(['send', 'nowhere', 'x', '--no-create', '--url', url])
    expect(code).toBe(1)
    expect(err).toBe('chasqui: There is no queue "nowhere". Leave out --no-create to have it made.\n')
    expect(await readyIn(bus, 'nowhere')).toBeUndefined()
  })

  test.each([
    [['hello'], /give the body as an argument, with --file, or as -/],
    [['hello', 'x', '--file', 'y'], /give the body as an argument, with --file, or as -/],
    [['hello', 'x', '--delay', '10'], /Give a length of time with its unit/],
    [['hello', 'x', '--at', 'soon'], /Give a moment as/],
    [['hello', 'x', '--delay', '1s', '--at', '2030-01-01'], /cannot be used with option '--at/],
    [['hello', 'x', '--header', 'novalue'], /Give it as name=value/],
  ])('%j: says what is wrong, exit code 2, and sends nothing', async (words, sentence) => {
    const { code, err } = await refusal('send', ...words)
    expect(code).toBe(2)
    expect(err).toMatch(sentence)
  })

  test.each([
    [['he llo', 'x'], 'name-invalid'],
    [['hello', '--file', 'no-such-file'], 'option-invalid'],
    [['hello', '{', '--content-type', 'application/json'], 'body-not-encodable'],
    [['hello', 'x', '--header', 'chasqui_attempt=1'], 'header-invalid'],
  ])('%j: fails with %s', async (words, code) => {
    const ran = await CommandLine.run(['send', ...words, '--url', 'memory:', '--json'])
    expect(ran.code).toBe(1)
    expect(JSON.parse(ran.err)).toMatchObject({ error: code })
  })
})

test('chasqui publish: each subscription gets a copy', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([
    { topic: 'news', subscription: 'a' },
    { topic: 'news', subscription: 'b' },
  ])
  const { code, out } = await CommandLine.run(['publish', 'news', '{"id":1}', '--url', url])
  expect(code).toBe(0)
  expect(out).toMatch(/^sent \S+ to news\n$/)
  expect([await readyIn(bus, 'news.a'), await readyIn(bus, 'news.b')]).toEqual([1, 1])
})
