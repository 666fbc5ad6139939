import { spawnSync } from 'node:child_process'
import { statSync, writeFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { dirname } from 'node:path'
import { connect } from '@chasqui/amqp/client'
import { Broker, type BrokerOptions, localSocketPath } from '@chasqui/broker'
import { describe, expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../directory.ts'
import { startBroker } from '../engine.ts'
import { makeAuthority } from './certificate.ts'
import { channelTo, connected, eventually, serve, socketTo } from './serving.ts'

async function refusedStart(options: BrokerOptions): Promise<unknown> {
  const broker = new Broker(options)
  onTestFinished(() => broker.close())
  return broker.start().then(
    () => undefined,
    error => error,
  )
}

test('[port 0] takes a free port and says which', async () => {
  const { broker, port } = await serve()
  expect(port).toBeGreaterThan(0)
  expect(broker.addresses).toEqual([{ host: '127.0.0.1', port, tls: false, url: `amqp://127.0.0.1:${port}` }])
})

test('[host] puts IPv6 addresses into brackets', async () => {
  const broker = await startBroker({ listeners: [{ host: '::1', port: 0 }] })
  expect(broker.addresses[0]).toMatchObject({ url: expect.stringMatching(/^amqp:\/\/\[::1\]:\d+$/) })
})

test('[port] in use is an error that says so, and nothing stays open', async () => {
  const { port } = await serve()
  const listeners = [
    { host: '127.0.0.1', port: 0 },
    { host: '127.0.0.1', port },
  ]
  const error = await refusedStart({ listeners })
  expect(error).toMatchObject({
    name: 'BrokerError',
    code: 'port-in-use',
    message: `Port ${port} of 127.0.0.1 is taken by another program. Stop it, or choose another port (0 takes any free one).`,
  })
})

test.each([
  [{ host: '192.0.2.1', port: 0 }, 'listen-failed', 'is no address of this machine'],
  [{ host: 'no-such-host.invalid', port: 0 }, 'listen-failed', 'is not known'],
  [{ host: '127.0.0.1', port: 65_536 }, 'option-invalid', 'port must be a whole number from 0 to 65535'],
  [{ host: '127.0.0.1', port: 1.5 }, 'option-invalid', 'port must be a whole number from 0 to 65535'],
  [{ host: '127.0.0.1', port: 0, tls: { key: 'x', cert: 'y' } }, 'option-invalid', 'TLS key, certificate'],
  [{ local: true }, 'option-invalid', 'A local socket needs a dataDirectory'],
] as const)('[listener] %j is refused', async (listener, code, text) => {
  expect(await refusedStart({ listeners: [listener] })).toMatchObject({
    name: 'BrokerError',
    code,
    message: expect.stringContaining(text),
  })
})

describe('[local]', () => {
  test('serves the local socket of the data directory, in a folder that is this user alone', async () => {
    const dataDirectory = temporaryDirectory()
    const broker = await startBroker({ dataDirectory, listeners: [{ local: true }] })
    const socketPath = localSocketPath(dataDirectory)
    expect(broker.addresses).toEqual([{ socketPath }])
    expect(statSync(dirname(socketPath)).mode & 0o777).toBe(0o700)
    const connection = await connect({ socketPath })
    const channel = await connection.openChannel()
    expect((await channel.declareQueue('q')).queue).toBe('q')
    await connection.close()
  })

  test('takes over the name that a killed owner left behind', async () => {
    const dataDirectory = temporaryDirectory()
    const socketPath = localSocketPath(dataDirectory)
    writeFileSync(socketPath, '')
    await startBroker({ dataDirectory, listeners: [{ local: true }] })
    const connection = await connect({ socketPath })
    await connection.close()
  })
})

describe('[tls]', () => {
  test('serves clients that trust the certificate, and only them', async () => {
    const { ca, server } = makeAuthority()
    const broker = await startBroker({ listeners: [{ host: '127.0.0.1', port: 0, tls: server }] })
    const address = broker.addresses[0]!
    expect(address).toMatchObject({ tls: true, url: expect.stringMatching(/^amqps:\/\/127\.0\.0\.1:\d+$/) })
    const port = 'port' in address ? address.port : 0
    const connection = await connected(port, { tls: { ca } })
    const channel = await connection.openChannel()
    await channel.declareQueue('q')
    const body = Buffer.alloc(1_000_000, 'x')
    await channel.confirmSelect()
    await channel.publishAndConfirm('', 'q', {}, body)
    expect((await channel.get('q'))?.body.equals(body)).toBe(true)
    await connection.close()
    await expect(connected(port, { tls: {} })).rejects.toMatchObject({ code: 'tls' })
    // Plain words on a TLS port are a client's mistake, not the broker's end.
    const plain = await socketTo(port)
    plain.write('AMQP\0\0\x09\x01')
    await eventually('it is closed', () => plain.destroyed)
    await (await connected(port, { tls: { ca } })).close()
  })

  test('[users] a client logs in by its certificate: the common name is the user, which must be known', async () => {
    const { ca, server, client, named } = makeAuthority()
    const tls = { ...server, ca, requestCert: true, users: ['billing'] }
    const broker = await startBroker({ listeners: [{ host: '127.0.0.1', port: 0, tls }] })
    const address = broker.addresses[0]!
    const port = 'port' in address ? address.port : 0
    const as = (pair: { key: string; cert: string }) =>
      connected(port, { tls: { ca, ...pair }, mechanism: 'EXTERNAL' as const })
    for (const user of ['billing', 'guest']) {
      const channel = await (await as(named(user))).openChannel()
      const { queue } = await channel.declareQueue('', { exclusive: true })
      // The user of the connection is that name: a message may say so, and nothing else.
      channel.publish('', queue, { userId: user }, Buffer.from('x'))
      await expect.poll(() => broker.vhost.inspect(queue)?.ready).toBe(1)
    }
    await expect(as(client)).rejects.toMatchObject({ message: expect.stringContaining('ACCESS_REFUSED') })
  })

  test('[requestCert] absent, EXTERNAL is not offered', async () => {
    const { ca, server, named } = makeAuthority()
    const broker = await startBroker({ listeners: [{ host: '127.0.0.1', port: 0, tls: { ...server, ca } }] })
    const address = broker.addresses[0]!
    const port = 'port' in address ? address.port : 0
    await expect(connected(port, { tls: { ca, ...named('guest') }, mechanism: 'EXTERNAL' })).rejects.toThrow(/EXTERNAL/)
  })

  test('[requestCert] refuses clients without a certificate of the authority', async () => {
    const { ca, server, client } = makeAuthority()
    const tls = { ...server, ca, requestCert: true }
    const broker = await startBroker({ listeners: [{ host: '127.0.0.1', port: 0, tls }] })
    const address = broker.addresses[0]!
    const port = 'port' in address ? address.port : 0
    await (await connected(port, { tls: { ca, ...client } })).close()
    await expect(connected(port, { tls: { ca } })).rejects.toThrow()
  })
})

test('[guest] is let in from this machine only', async () => {
  const outside = Object.values(networkInterfaces())
    .flat()
    .find(one => one?.family === 'IPv4' && !one.internal)
  const broker = await startBroker({ listeners: [{ host: '0.0.0.0', port: 0 }] })
  const address = broker.addresses[0]!
  const port = 'port' in address ? address.port : 0
  await (await connected(port)).close()
  // A machine without a network has no address of its own to come from; the rule itself is access.test.ts's.
  if (outside === undefined) return
  await expect(connected(port, { host: outside.address })).rejects.toMatchObject({ code: 'authentication' })
})

test('[close] leaves nobody on the port, twice is the same as once', async () => {
  const { broker, port } = await serve()
  await channelTo(port)
  await Promise.all([broker.close(), broker.close()])
  await expect(connected(port)).rejects.toMatchObject({ code: 'refused' })
})

test('[close] a broker in a program that has nothing else to do lets the program end', () => {
  const program = `
    import { Broker } from '@chasqui/broker'
    import { connect } from '@chasqui/amqp/client'
    const broker = new Broker({ listeners: [{ host: '127.0.0.1', port: 0 }] })
    await broker.start()
    await connect({ host: '127.0.0.1', port: broker.addresses[0].port })
    await broker.close()
    console.log('closed')
  `
  const { status, stdout } = spawnSync(
    process.execPath,
    ['--conditions=@chasqui/source', '--input-type=module', '--eval', program],
    { cwd: import.meta.dirname, encoding: 'utf8', timeout: 10_000 },
  )
  expect({ status, stdout }).toEqual({ status: 0, stdout: 'closed\n' })
})
