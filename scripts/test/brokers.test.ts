import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { mkdtemp } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import { identify, isRunning, signal, speaksAmqp } from '../brokers/process.ts'
import { type BrokerControl, rabbitmq } from '../brokers.ts'

const open: BrokerControl[] = []

afterEach(async () => {
  for (const broker of open.splice(0)) await broker.remove()
})

async function ownBroker(): Promise<BrokerControl> {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-brokers-'))
  const broker = await rabbitmq({ name: `test-${process.pid}`, directory, port: 0, tlsPort: 0 })
  open.push(broker)
  return broker
}

const portOf = (url: string) => Number(new URL(url).port)

describe.runIf(process.env.CHASQUI_RABBITMQ_URL)('a RabbitMQ of our own', () => {
  test('starts on loopback only, is killed, comes back with its queues, and leaves nothing', {
    timeout: 90_000,
  }, async () => {
    const broker = await ownBroker()
    await broker.start()
    await broker.start()
    const port = portOf(broker.url)
    expect(await speaksAmqp(port)).toBe(true)
    const outside = Object.values(networkInterfaces())
      .flatMap(addresses => addresses ?? [])
      .filter(({ internal, family }) => !internal && family === 'IPv4')
    for (const { address } of outside) expect(await accepts(address, port)).toBe(false)

    const ca = readFileSync(broker.caPath)
    const socket = connectTls({ host: 'localhost', port: portOf(broker.tlsUrl), ca })
    await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject))
    expect(socket.authorized).toBe(true)
    socket.destroy()

    await broker.control(['add_vhost', 'kept'])
    const first = broker.pid
    await broker.kill()
    expect(broker.running).toBe(false)
    expect(await speaksAmqp(port)).toBe(false)
    await broker.start()
    expect(broker.pid).not.toBe(first)
    expect(await broker.control(['list_vhosts'])).toContain('kept')

    await broker.freeze()
    expect(await speaksAmqp(port, 500)).toBe(false)
    await broker.thaw()
    expect(await speaksAmqp(port)).toBe(true)
    await broker.stop()
    expect(await accepts('127.0.0.1', port)).toBe(false)
  })

  test('does not start on a port that another program has', async () => {
    const server = createServer()
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const directory = await mkdtemp(join(tmpdir(), 'chasqui-brokers-'))
    const { port } = server.address() as AddressInfo
    const broker = await rabbitmq({ name: `taken-${process.pid}`, directory, port, tlsPort: 0 })
    open.push(broker)
    await expect(broker.start()).rejects.toThrow(`Port ${port} on 127.0.0.1 is taken`)
    server.close()
  })
})

describe.runIf(process.env.CHASQUI_RABBITMQ4_URL)('RabbitMQ 4 from a Debian root', () => {
  test('starts, is killed, comes back, and leaves no mount', { timeout: 90_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), 'chasqui-brokers-'))
    const broker = await rabbitmq({ name: `four-${process.pid}`, directory, port: 0, tlsPort: 0, major: 4 })
    open.push(broker)
    await broker.start()
    expect(await broker.control(['version'])).toMatch(/^4\.0\./)
    await broker.control(['add_vhost', 'kept'])
    await broker.kill()
    expect(await speaksAmqp(portOf(broker.url))).toBe(false)
    await broker.start()
    expect(await broker.control(['list_vhosts'])).toContain('kept')
    expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(directory)
  })
})

test('a process id that now belongs to somebody else is not signalled', () => {
  const self = identify(process.pid)
  expect(isRunning(self)).toBe(true)
  const other = { pid: process.pid, startedAt: '1' }
  expect(isRunning(other)).toBe(false)
  expect(signal(other, 'SIGKILL')).toBe(false)
})

async function accepts(host: string, port: number): Promise<boolean> {
  return await new Promise(resolve => {
    const socket = connect({ host, port }, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

describe('npm run brokers', () => {
  const script = fileURLToPath(new URL('../brokers.ts', import.meta.url))
  const brokers = (...words: string[]) =>
    spawnSync(process.execPath, ['--conditions=@chasqui/source', script, ...words], { encoding: 'utf8' })

  test('status tells of every broker, urls of those that run; the exit code is 1 where none does', () => {
    const status = brokers('status', '--json')
    const told = status.stdout
      .trim()
      .split('\n')
      .map(line => JSON.parse(line))
    expect(told.map(({ engine }) => engine)).toEqual(['rabbitmq', 'rabbitmq4'])
    const running = told.filter(broker => broker.running)
    expect(status.status).toBe(running.length > 0 ? 0 : 1)
    const urls = brokers('urls', '--json')
    expect(Object.values(JSON.parse(urls.stdout))).toEqual(expect.arrayContaining(running.map(({ url }) => url)))
    expect(urls.status).toBe(status.status)
  })

  test('a broker that there is not: the known ones are named', () => {
    const { status, stderr } = brokers('status', 'rabbit')
    expect(status).toBe(1)
    expect(stderr).toMatch(/There is no broker "rabbit"; there are: rabbitmq, rabbitmq4\./)
  })
})
