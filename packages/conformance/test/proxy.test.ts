import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { afterEach, expect, test } from 'vitest'
import { eventually } from '../src/eventually.ts'
import { DisturbingProxy } from '../src/proxy.ts'

const open: { close(): unknown }[] = []

afterEach(async () => {
  for (const one of open.splice(0)) await one.close()
})

/** Sends back whatever comes. */
async function echo(): Promise<number> {
  const server: Server = createServer(socket => {
    socket.on('error', () => undefined)
    socket.pipe(socket)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  open.push(server)
  return (server.address() as AddressInfo).port
}

async function proxyTo(port: number, seed: number): Promise<DisturbingProxy> {
  const proxy = await DisturbingProxy.start({ host: '127.0.0.1', port }, seed)
  open.push(proxy)
  return proxy
}

/** Writes 200 kB in single steps, each after the echo of the one before; resolves to how many bytes came back before the end. */
async function exchange(port: number): Promise<number> {
  const socket = connect({ host: '127.0.0.1', port })
  let bytes = 0
  const step = Buffer.alloc(1000)
  socket.on('error', () => undefined)
  socket.on('data', chunk => {
    bytes += chunk.length
    if (bytes >= 200_000) socket.end()
    else if (bytes % step.length === 0) socket.write(step)
  })
  socket.write(step)
  await new Promise(resolve => socket.once('close', resolve))
  return bytes
}

test('a calm proxy forwards every byte', async () => {
  const proxy = await proxyTo(await echo(), 1)
  expect(await exchange(proxy.port)).toBe(200_000)
  expect(proxy.losses).toBe(0)
})

test('the same seed disturbs the same connections in the same way', async () => {
  const port = await echo()
  const runs: object[] = []
  for (let run = 0; run < 2; run++) {
    const proxy = await proxyTo(port, 42)
    proxy.disturb()
    const lengths: number[] = []
    for (let n = 0; n < 8; n++) lengths.push(Math.floor((await exchange(proxy.port)) / 1000))
    runs.push({ lengths, done: { ...proxy.done } })
    expect(proxy.losses).toBeGreaterThan(0)
  }
  expect(runs[1]).toEqual(runs[0])
})

test('within 60 connections it cuts, resets, truncates and delays', async () => {
  const proxy = await proxyTo(await echo(), 7)
  proxy.disturb()
  await Promise.all(Array.from({ length: 60 }, () => exchange(proxy.port)))
  for (const [what, times] of Object.entries(proxy.done)) expect(times, what).toBeGreaterThan(0)
})

test('when it closes, both ends learn it', async () => {
  const proxy = await DisturbingProxy.start({ host: '127.0.0.1', port: await echo() }, 1)
  const socket = connect({ host: '127.0.0.1', port: proxy.port })
  await once(socket, 'connect')
  socket.write('x')
  await once(socket, 'data')
  await proxy.close()
  await eventually(
    () => socket.destroyed,
    () => 'the client to be closed',
  )
})
