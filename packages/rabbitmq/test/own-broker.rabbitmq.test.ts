/** What is shown only by a broker that may be alarmed, stopped and killed: a node of this file's own. */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { freePort, run } from '../../../scripts/brokers/process.ts'
import { type BrokerControl, rabbitmq } from '../../../scripts/brokers.ts'
import {
  brokerUrl,
  Collector,
  inSeconds,
  messageOf,
  openDriver,
  patienceMs,
  poll,
  texts,
  told,
  toQueue,
  uniqueName,
} from './fixture.ts'

describe.runIf(brokerUrl)('a broker of our own', () => {
  let broker: BrokerControl
  let directory = ''
  let count = 0
  let name = ''

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'chasqui-rabbitmq-'))
    broker = await rabbitmq({ name: 'driver-test', directory, port: 0, tlsPort: 0 })
    await broker.start()
  })
  afterAll(() => broker.remove())
  beforeEach(() => {
    name = `q${count++}`
  })

  async function openWithQueue(durable = true) {
    const driver = await openDriver({ urls: [broker.url] })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable }] }, { create: true })
    return driver
  }

  /** With values for the environment of an application, since the configuration was read long ago. */
  async function enablePlugin(plugin: string, ...environment: readonly (readonly [string, string, string])[]) {
    await writeFile(join(directory, 'enabled_plugins'), `[${plugin}].\n`)
    const settings = environment.map(
      ([application, key, value]) =>
        `application:load(${application}), application:set_env(${application}, ${key}, ${value}, [{persistent, true}]),`,
    )
    await broker.control([
      'eval',
      `${settings.join(' ')} rabbit_plugins:ensure(rabbit_plugins:enabled_plugins_file()).`,
    ])
  }

  /** Has RabbitMQ ask clients for a certificate, and make one that its authority signed. */
  async function listenForCertificates(commonName: string) {
    const port = await freePort()
    const at = (file: string) => join(directory, 'certificates', file)
    const options = `[{cacertfile, "${broker.caPath}"}, {certfile, "${at('server.pem')}"}, {keyfile, "${at('server.key')}"}, {verify, verify_peer}, {fail_if_no_peer_cert, true}]`
    await broker.control([
      'eval',
      // EXTERNAL is refused to all unless the node's own options ask for certificates, too.
      `Options = ${options}, application:set_env(rabbit, ssl_options, Options), rabbit_networking:start_ssl_listener({"127.0.0.1", ${port}, inet}, Options, 1).`,
    ])
    const request = ['req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc']
    await run('openssl', [
      ...[...request, '-keyout', at('client.key'), '-out', at('client.csr'), '-subj', `/CN=${commonName}`],
    ])
    await run('openssl', [
      ...['x509', '-req', '-in', at('client.csr'), '-CA', broker.caPath, '-CAkey', at('ca.key'), '-CAcreateserial'],
      ...['-out', at('client.pem'), '-days', '2'],
    ])
    const [ca, cert, key] = await Promise.all(
      [broker.caPath, at('client.pem'), at('client.key')].map(file => readFile(file)),
    )
    return { url: `amqps://localhost:${port}`, tls: { ca: ca!, cert: cert!, key: key! } }
  }

  test('[queues] the management interface tells of every queue; where it is off, those of our own are told', {
    timeout: 90_000,
  }, async () => {
    const driver = await openWithQueue()
    const plain = (await driver.inspector!.queues!()).map(info => info.name)
    expect(plain).toContain(name)
    // Of one that uses none an empty list would be no answer.
    const idle = await openDriver({ urls: [broker.url] })
    await expect(idle.inspector!.queues!()).rejects.toMatchObject({ code: 'unsupported' })

    const [port, tlsPort] = [await freePort(), await freePort()]
    const pem = (file: string) => join(directory, 'certificates', file)
    await enablePlugin(
      'rabbitmq_management',
      ['rabbitmq_management', 'tcp_config', `[{port, ${port}}, {ip, "127.0.0.1"}]`],
      [
        'rabbitmq_management',
        'ssl_config',
        `[{port, ${tlsPort}}, {ip, "127.0.0.1"}, {certfile, "${pem('server.pem')}"}, {keyfile, "${pem('server.key')}"}]`,
      ],
    )
    const managementUrl = `http://127.0.0.1:${port}`
    const other = await openDriver({ urls: [broker.url], engine: { managementUrl } })
    expect((await other.inspector!.queues!()).map(info => info.name)).toContain(name)
    const encrypted = await openDriver({
      urls: [broker.tlsUrl],
      tls: { ca: await readFile(broker.caPath) },
      engine: { managementUrl: `https://localhost:${tlsPort}` },
    })
    expect((await encrypted.inspector!.queues!()).map(info => info.name)).toContain(name)
    await driver.send(toQueue(name, ...texts(7)), inSeconds(10))
    const sink = new Collector()
    const receiver = await driver.receive({ kind: 'queue', name }, sink, { window: 3, order: 'none' })
    // Queues tell of themselves every few seconds.
    await poll(async () =>
      expect(await other.inspector!.queues!()).toContainEqual(
        expect.objectContaining({ name, ready: 4, unsettled: 3, consumers: 1 }),
      ),
    )
    await receiver.stop()

    const elsewhere = await openDriver({
      urls: [broker.url],
      engine: { managementUrl: broker.url.replace('amqp', 'http') },
    })
    await expect(elsewhere.inspector!.queues!()).rejects.toMatchObject({ code: 'connect-failed' })
    await broker.control(['add_user', 'plain', 'secret'])
    await broker.control(['set_permissions', 'plain', '.*', '.*', '.*'])
    const untagged = await openDriver({
      urls: [broker.url],
      username: 'plain',
      password: 'secret',
      engine: { managementUrl },
    })
    await expect(untagged.inspector!.queues!()).rejects.toMatchObject({
      code: 'authentication-failed',
      message: expect.not.stringContaining('secret'),
    })
  })

  test("[EXTERNAL] signs in by the client's certificate, on both connections", async () => {
    await enablePlugin(
      'rabbitmq_auth_mechanism_ssl',
      ['rabbit', 'auth_mechanisms', "['PLAIN', 'EXTERNAL']"],
      ['rabbit', 'ssl_cert_login_from', 'common_name'],
    )
    const { url, tls } = await listenForCertificates('guest')
    const engine = { mechanism: 'EXTERNAL' }
    const driver = await openDriver({ urls: [url], tls, engine, username: 'nobody', password: 'wrong' })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    const sink = new Collector()
    await driver.receive({ kind: 'queue', name }, sink, { window: 10, order: 'none' })
    expect(told(await driver.send(toQueue(name, 'a'), inSeconds(10)))).toEqual(['ok'])
    await poll(() => expect(sink.texts).toEqual(['a']))

    const stranger = await listenForCertificates('stranger')
    await expect(openDriver({ urls: [stranger.url], tls: stranger.tls, engine })).rejects.toMatchObject({
      code: 'authentication-failed',
    })
    await expect(openDriver({ urls: [url], tls: { ca: tls.ca } })).rejects.toMatchObject({
      code: expect.stringMatching(/^(certificate-untrusted|connect-failed|authentication-failed)$/),
    })
  })

  test('[blocked] in an alarm sends wait or time out, consumers go on, and declarations too [conformance 53, 61]', async () => {
    const driver = await openWithQueue()
    const states: string[] = []
    driver.onState(({ state, reason }) => states.push(reason === undefined ? state : `${state}: ${reason}`))
    await driver.send(toQueue(name, 'before'), inSeconds(10))
    await broker.setMemoryLimit(1_000_000)
    // The broker tells a connection that it is blocked once it publishes.
    const doubtful = driver.send(toQueue(name, 'first'), inSeconds(60))
    await poll(() => expect(states).toEqual(['blocked: low on memory']))
    const [late] = await driver.send(toQueue(name, 'late'), Date.now() + 100)
    expect(late).toMatchObject({ ok: false, inDoubt: false, error: { code: 'send-timeout' } })
    const waits = driver.send(toQueue(name, ...texts(10)), inSeconds(60))

    await driver.declare({ destinations: [{ kind: 'queue', name: `${name}.more`, durable: true }] }, { create: true })
    const sink = new Collector()
    const receiver = await driver.receive({ kind: 'queue', name }, sink, { window: 100, order: 'none' })
    await poll(() => expect(sink.texts[0]).toBe('before'))
    expect(await receiver.settle(name, 1, [1], 'ack')).toBe('done')

    const another = await openWithQueue()
    const lost = another.send(toQueue(name, 'lost'), inSeconds(60))
    await poll(() => expect(another.state).toBe('blocked'))
    await another.close()
    expect(told(await lost)).toEqual(['closed?'])

    await broker.setMemoryLimit(undefined)
    expect(told([...(await doubtful), ...(await waits)])).toEqual(Array(11).fill('ok'))
    await poll(() => expect(sink.texts.filter(text => text !== 'lost')).toEqual(['before', 'first', ...texts(10)]))
    expect(states.at(-1)).toBe('up')
  })

  test(
    '[restart] a broker that stops and comes back: consumers consume, transient queues are there again [conformance 55]',
    async () => {
      const durable = await openWithQueue()
      const durableName = name
      name = `${name}.transient`
      const transient = await openWithQueue(false)
      const sinks = [new Collector(), new Collector()]
      await durable.receive({ kind: 'queue', name: durableName }, sinks[0]!, { window: 10, order: 'none' })
      await transient.receive({ kind: 'queue', name }, sinks[1]!, { window: 10, order: 'none' })
      const states: string[] = []
      durable.onState(({ state }) => states.push(state))
      for (const end of ['restart', 'kill'] as const) {
        await broker[end]()
        if (end === 'kill') await broker.start()
        const sent = await Promise.all([
          durable.send(toQueue(durableName, end), inSeconds(30)),
          transient.send(toQueue(name, end), inSeconds(30)),
        ])
        expect(told(sent.flat())).toEqual(['ok', 'ok'])
        for (const sink of sinks) await poll(() => expect(sink.texts.at(-1)).toBe(end))
        await poll(() => expect([durable.state, transient.state]).toEqual(['up', 'up']))
      }
      expect(states.filter(state => state === 'down').length).toBeGreaterThanOrEqual(2)
    },
    4 * patienceMs,
  )

  test(
    '[several hosts] the first is dead, the one that is connected is killed: the next one serves, with the topology that was declared',
    async () => {
      const own = uniqueName()
      const urls = ['amqp://127.0.0.1:1', broker.url, brokerUrl]
      const driver = await openDriver({ urls })
      await driver.declare({ destinations: [{ kind: 'queue', name: own, durable: true }] }, { create: true })
      const sink = new Collector()
      await driver.receive({ kind: 'queue', name: own }, sink, { window: 10, order: 'none' })
      const onNext = await openDriver()
      expect(await onNext.inspector!.depth({ kind: 'queue', name: own })).toBeUndefined()
      expect(told(await driver.send(toQueue(own, 'a'), inSeconds(10)))).toEqual(['ok'])
      await poll(() => expect(sink.texts).toEqual(['a']))
      const states: string[] = []
      driver.onState(({ state }) => void states.push(state))
      await broker.kill()
      try {
        // What is sent before the loss is noticed is in doubt, as it must be.
        await poll(() => expect(states).toContain('down'))
        expect(told(await driver.send(toQueue(own, 'b'), inSeconds(30)))).toEqual(['ok'])
        await poll(() => expect(sink.texts).toEqual(['a', 'b']))
        await poll(() => expect(driver.state).toBe('up'))
        expect(await onNext.inspector!.depth({ kind: 'queue', name: own })).toMatchObject({ consumers: 1 })
      } finally {
        await broker.start()
      }
    },
    4 * patienceMs,
  )

  test('[heartbeat] a broker that falls silent is given up after two intervals [amqp 4.2.7]', async () => {
    const driver = await openDriver({ urls: [broker.url], engine: { heartbeatSeconds: 1 } })
    await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
    const reasons: (string | undefined)[] = []
    driver.onState(({ state, reason }) => state === 'down' && reasons.push(reason))
    await broker.freeze()
    await poll(() => expect(driver.state).toBe('down'))
    await broker.thaw()
    expect(reasons).toEqual([expect.stringContaining('silent')])
    expect(told(await driver.send([{ to: { kind: 'queue', name }, message: messageOf('a') }], inSeconds(30)))).toEqual([
      'ok',
    ])
  })
})
