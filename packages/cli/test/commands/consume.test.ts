import { expect, test } from 'vitest'
import { CommandLine, refusal } from '../command-line.ts'
import { openProgram, readyIn } from '../program.ts'

const jsonLines = (text: string) =>
  text
    .trim()
    .split('\n')
    .map(line => JSON.parse(line))

test('[--ack] prints bodies with what is known of them, takes them, and ends when nothing waits', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', { id: 1 }, { key: 'k', headers: { region: 'eu' } })
  await bus.send('orders', 'text')
  const { code, out, err } = await CommandLine.run(['consume', 'orders', '--ack', '--url', url])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(out).toMatch(/^\d{4}\S+ {2}orders {2}id \S+ {2}key k {2}region=eu\n\{"id":1\}\n\n/)
  expect(out).toMatch(/\ntext\n\n2 messages of orders shown and taken\.\n$/)
  expect(await readyIn(bus, 'orders')).toBe(0)
})

test('[--peek] shows them in order and lets them stay', async () => {
  const { bus, url } = await openProgram()
  for (const id of [1, 2, 3]) await bus.send('orders', { id })
  const { code, out } = await CommandLine.run(['consume', 'orders', '--peek', '--limit', '2', '--json', '--url', url])
  expect(code).toBe(0)
  expect(jsonLines(out).map(({ body }) => body)).toEqual([{ id: 1 }, { id: 2 }])
  await expect.poll(() => readyIn(bus, 'orders')).toBe(3)
})

test('[--json] a line a message: JSON as its value, bytes in base64', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', { id: 1 }, { key: 'k' })
  await bus.send('orders', Buffer.from([0xff, 0xfe]))
  const { out } = await CommandLine.run(['consume', 'orders', '--ack', '--json', '--url', url])
  const [first, second] = jsonLines(out)
  expect(first).toMatchObject({ body: { id: 1 }, key: 'k', destination: 'orders', attempt: 1, redelivered: false })
  expect(second).toMatchObject({ bodyBase64: '//4=', contentType: 'application/octet-stream' })
})

test('[--follow] listens to a topic with a subscription of its own, until SIGINT', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([{ topic: 'news', subscription: 'others' }])
  const command = new CommandLine('consume', 'news', '--follow', '--json', '--url', url)
  // Until it listens, what is published is not for it.
  await expect
    .poll(
      async () => {
        await bus.publish('news', { id: 1 })
        return command.out
      },
      { timeout: 15_000, interval: 100 },
    )
    .toContain('{"id":1}')
  command.child.kill('SIGINT')
  expect(await command.ended).toBe(0)
  expect(command.err).toBe('')
  expect(await readyIn(bus, 'news.others')).toBeGreaterThan(0)
  const left = (await bus.inspector!.queues!()).map(({ name }) => name)
  expect(left).toEqual(['news.others', 'news.others.dead-letter'])
})

test('[--follow --ack] goes on after the queue was empty; [--limit] ends it', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 1)
  const command = new CommandLine('consume', 'orders', '--follow', '--ack', '--limit', '2', '--json', '--url', url)
  await command.line()
  await bus.send('orders', 2)
  expect(await command.ended).toBe(0)
  expect(jsonLines(command.out).map(({ body }) => body)).toEqual([1, 2])
})

test('[--subscription] takes from that subscription alone', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([
    { topic: 'news', subscription: 'a' },
    { topic: 'news', subscription: 'b' },
  ])
  await bus.publish('news', { id: 1 })
  const { out } = await CommandLine.run(['consume', 'news', '--subscription', 'a', '--ack', '--json', '--url', url])
  expect(jsonLines(out)).toHaveLength(1)
  expect([await readyIn(bus, 'news.a'), await readyIn(bus, 'news.b')]).toEqual([0, 1])
})

test('what the reader did not take is not acknowledged', async () => {
  const { bus, url } = await openProgram()
  for (let id = 0; id < 500; id++) await bus.send('orders', { id, filler: 'x'.repeat(1000) })
  const command = new CommandLine('consume', 'orders', '--follow', '--ack', '--json', '--url', url)
  await command.line()
  command.child.stdout!.destroy()
  expect(await command.ended).toBe(0)
  const seen = command.out.split('\n').length - 1
  await expect.poll(() => readyIn(bus, 'orders')).toBeGreaterThan(0)
  // Some may lie in the pipe, which no writer can know.
  expect((await readyIn(bus, 'orders'))!).toBeLessThanOrEqual(500 - seen)
})

test("other people's control characters do not reach the terminal", async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 'a\x1b[2Jb\nc')
  const { out } = await CommandLine.run(['consume', 'orders', '--ack', '--url', url])
  expect(out).toContain('\na\\x1b[2Jb\nc\n')
})

test('an empty queue says so', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([{ queue: 'orders' }])
  const { code, out } = await CommandLine.run(['consume', 'orders', '--ack', '--url', url])
  expect({ code, out }).toEqual({ code: 0, out: 'Nothing waits in orders.\n' })
})

test('[--metrics-port] counts what was received', async () => {
  const { bus, url } = await openProgram()
  await bus.send('orders', 1)
  const words = ['consume', 'orders', '--ack', '--follow', '--metrics-port', '0', '--json', '--url', url]
  const command = new CommandLine(...words)
  const address = await command.metricsUrl()
  await command.line()
  expect(await (await fetch(address)).text()).toMatch(
    /\nmessaging_client_consumed_messages_total\{[^}]*messaging_destination_name="orders"[^}]*\} 1\n/,
  )
  command.child.kill('SIGTERM')
  expect(await command.ended).toBe(0)
})

test('a queue needs --peek or --ack, a topic --subscription or --follow, and what is not there is said to be missing', async () => {
  const { bus, url } = await openProgram()
  await bus.declare([{ queue: 'orders' }, { topic: 'news' }])
  const failed = async (...words: string[]) => (await CommandLine.run(['consume', ...words, '--url', url])).err
  expect(await failed('orders')).toMatch(
    /^chasqui: Say what to do with the messages of orders: --peek .* --ack takes them\.\n$/,
  )
  expect(await failed('news')).toMatch(/^chasqui: "news" is a topic, which keeps nothing itself\. /)
  expect(await failed('nowhere', '--ack')).toMatch(/^chasqui: There is no queue "nowhere"\.\n$/)
  expect(await failed('news', '--subscription', 'nobody', '--ack')).toMatch(
    /^chasqui: There is no subscription "nobody" of "news"\.\n$/,
  )
})

test.each([
  [['orders', '--peek', '--ack'], /cannot be used with option/],
  [['orders', '--peek', '--follow'], /--follow goes with --ack/],
  [['orders', '--peek', '--limit', '2001'], /--limit is at most 2000 with --peek/],
  [['orders', '--limit', '0'], /Give a whole number from 1/],
  [[], /missing required argument 'name'/],
])('%j: says what is wrong, exit code 2', async (words, sentence) => {
  const { code, err } = await refusal('consume', ...words)
  expect(code).toBe(2)
  expect(err).toMatch(sentence)
})
