import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { open } from '../src/index.ts'
import { brokerUrl, Collector, inSeconds, openDriver, openProxy, poll, told, toQueue, uniqueName } from './fixture.ts'

const tlsUrl = process.env.CHASQUI_RABBITMQ_TLS_URL ?? ''
const caPath = process.env.CHASQUI_RABBITMQ_CA ?? ''
const address = new URL(brokerUrl || 'amqp://absent')
const host = `${address.hostname}:${address.port || 5672}`

function opening(url: string, options: object = {}) {
  return open({ urls: [url], name: 'chasqui test', connectTimeoutMs: 5000, ...options })
}

/** A listener that takes connections and says nothing, or only what it is told to. */
async function listener(greeting = ''): Promise<number> {
  const server = createServer(socket => {
    socket.on('error', () => socket.destroy())
    if (greeting !== '') socket.end(greeting)
  })
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.close()
  })
  const at = server.address()
  return typeof at === 'object' && at !== null ? at.port : 0
}

describe.runIf(brokerUrl)('open', () => {
  test('[capabilities] tells the engine and what it can do', async () => {
    const driver = await openDriver()
    expect(driver.state).toBe('up')
    expect(driver.capabilities).toMatchObject({
      operations: { delay: 'emulated', keyOrder: 'emulated' },
      properties: { durable: true },
    })
  })

  test.each([
    ['wrong password', `amqp://guest:hunter@${host}`, 'authentication-failed'],
    ['unknown user', `amqp://nobody:hunter@${host}`, 'authentication-failed'],
    ['unknown virtual host', `amqp://guest:guest@${host}/hunters`, 'access-refused'],
    ['unknown host', 'amqp://guest:hunter@no-such-host.invalid', 'connect-failed'],
    ['nobody listening', 'amqp://guest:hunter@127.0.0.1:1', 'connect-failed'],
  ])('[%s] %s fails fast with %s, with a sentence and no password [conformance 60]', async (_, url, code) => {
    const failure = await opening(url).catch(error => error)
    expect(failure).toMatchObject({ code, message: expect.stringMatching(/^Could not connect to .*\.$/s) })
    expect(`${failure.message} ${JSON.stringify(failure.details)}`).not.toMatch(/hunter(?!s)/)
  })

  test('[connect-timeout] a peer that takes the connection and says nothing', async () => {
    const port = await listener()
    await expect(opening(`amqp://127.0.0.1:${port}`, { connectTimeoutMs: 100 })).rejects.toMatchObject({
      code: 'connect-timeout',
    })
  })

  test('[protocol-error] a peer that speaks another protocol', async () => {
    const port = await listener('HTTP/1.1 400 Bad Request\r\n\r\n')
    await expect(opening(`amqp://127.0.0.1:${port}`)).rejects.toMatchObject({ code: 'protocol-error' })
  })

  test('[several hosts] takes the first that answers, and the next when it goes', async () => {
    const name = uniqueName()
    const [one, other] = [await openProxy(), await openProxy()]
    const driver = await openDriver({ urls: [`amqp://127.0.0.1:1,127.0.0.1:${one.port},127.0.0.1:${other.port}`] })
    expect([one.accepted, other.accepted]).toEqual([1, 0])
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    await one.refuse()
    await poll(() => expect(driver.state).toBe('down'))
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(20)))).toEqual(['ok'])
    expect(other.accepted).toBe(1)
  })

  test('[send only] opens one connection and no consumer [conformance 52]', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openDriver({ urls: [proxy.url] })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    await driver.send(toQueue(name, 'a'), inSeconds(10))
    expect(proxy.accepted).toBe(1)
  })

  test('[receive] comes on a connection of its own, so that a broker that reads no more publications reads settlements', async () => {
    const name = uniqueName()
    const proxy = await openProxy()
    const driver = await openDriver({ urls: [proxy.url] })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    const sinks = [new Collector(), new Collector()]
    for (const sink of sinks) await driver.receive({ kind: 'queue', name }, sink, { window: 10, order: 'none' })
    expect(proxy.accepted).toBe(2)
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['ok'])
    await poll(() => expect(sinks.flatMap(sink => sink.texts)).toEqual(['a']))
  })

  test('[close] twice, at once, and before anything was done [conformance 53]', async () => {
    const driver = await opening(brokerUrl)
    await Promise.all([driver.close(), driver.close()])
    await driver.close()
    await expect(driver.declare({ destinations: [] }, { create: true })).rejects.toMatchObject({ code: 'closed' })
  })
})

describe.runIf(tlsUrl)('open with TLS', () => {
  test('[tls.ca] an authority of our own is trusted when it is given', async () => {
    const name = uniqueName()
    const driver = await openDriver({ urls: [tlsUrl], tls: { ca: readFileSync(caPath) } })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['ok'])
  })

  test('[certificate-untrusted] fails fast without it, and where the name is another [conformance 60]', async () => {
    await expect(opening(tlsUrl)).rejects.toMatchObject({ code: 'certificate-untrusted' })
    const tls = { ca: readFileSync(caPath, 'utf8'), servername: 'elsewhere.example' }
    await expect(opening(tlsUrl, { tls })).rejects.toMatchObject({ code: 'certificate-untrusted' })
  })

  test('[rejectUnauthorized] false accepts any', async () => {
    const driver = await openDriver({ urls: [tlsUrl], tls: { rejectUnauthorized: false } })
    expect(driver.state).toBe('up')
  })

  test('[tls] spoken to a listener without it is an error that says so', async () => {
    await expect(opening(`amqps://${host}`)).rejects.toMatchObject({
      code: expect.stringMatching(/^(protocol-error|connect-failed|certificate-untrusted)$/),
    })
  })
})
