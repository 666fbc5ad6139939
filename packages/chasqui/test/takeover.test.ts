/** What users of buses notice when the process that served their data directory goes: a pause. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type Bus, type BusEvent, connect } from 'chasqui'
import { expect, onTestFinished, test, vi } from 'vitest'

const program = fileURLToPath(new URL('./owner-process.ts', import.meta.url))
const waiting = { timeout: 15_000, interval: 5 }

async function served(): Promise<{ url: string; owner: ChildProcess; asked: () => boolean }> {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-takeover-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const owner = fork(program, [directory])
  onTestFinished(() => void owner.kill('SIGKILL'))
  let isAsked = false
  const ready = new Promise<void>(resolve => {
    owner.on('message', said => {
      if (said === 'ready') resolve()
      else isAsked = true
    })
  })
  await ready
  return { url: `embedded:${directory}`, owner, asked: () => isAsked }
}

async function joined(url: string): Promise<Bus & { readonly told: BusEvent[] }> {
  const bus = await connect(url, { logger: false })
  onTestFinished(() => bus.close({ deadlineMs: 0 }))
  const told: BusEvent[] = []
  bus.observe(event => told.push(event))
  return Object.assign(bus, { told })
}

async function killed(owner: ChildProcess): Promise<void> {
  const exited = once(owner, 'exit')
  owner.kill('SIGKILL')
  await exited
}

test('[kill -9] a request whose handler died with the owner is answered by another, in another process', async () => {
  const { url, owner, asked } = await served()
  const requester = await joined(url)
  const answer = requester.request('double', 21, { timeoutMs: 20_000 })
  await vi.waitFor(() => expect(asked() && requester.told.some(({ kind }) => kind === 'sent')).toBe(true), waiting)
  const responder = await joined(url)
  await responder.handle('double', body => Number(body) * 2)
  await killed(owner)
  expect(await answer).toBe(42)
  expect((await requester.health()).ok).toBe(true)
})

test('[kill -9] a reply that is due after the hand-over finds its requester', async () => {
  const { url, owner } = await served()
  const [requester, responder] = [await joined(url), await joined(url)]
  let begun = 0
  const aborted: unknown[] = []
  await responder.handle('slow', async (body, ctx) => {
    begun++
    ctx.signal.addEventListener('abort', () => aborted.push(ctx.signal.reason))
    await sleep(begun === 1 ? 60_000 : 10, undefined, { signal: ctx.signal })
    return `${body} ${begun}`
  })
  const answer = requester.request('slow', 'attempt', { timeoutMs: 20_000 })
  await vi.waitFor(() => expect(begun).toBe(1), waiting)
  // Until it is confirmed it would be in doubt.
  await vi.waitFor(() => expect(requester.told.some(({ kind }) => kind === 'sent')).toBe(true), waiting)
  await killed(owner)
  // The first attempt lost its message, and was told so; the message came again.
  expect(await answer).toBe('attempt 2')
  expect(aborted).toMatchObject([{ code: 'delivery-stale' }])
})

test('[close] senders and handlers notice a pause and no error, and each message is handled', async () => {
  const { url, owner } = await served()
  const [sender, consumer] = [await joined(url), await joined(url)]
  const handled = new Set<number>()
  await consumer.handle('orders', body => void handled.add(Number(body)))
  await consumer.subscribe('sold', 'books', body => void handled.add(Number(body)))
  let next = 0
  let isOver = false
  const sending = async () => {
    while (!isOver) {
      await sender.send('orders', next++)
      await sender.publish('sold', next++)
    }
  }
  const senders = Promise.all(Array.from({ length: 20 }, sending))
  await vi.waitFor(() => expect(handled.size).toBeGreaterThan(200), waiting)
  const exited = once(owner, 'exit')
  owner.send('close')
  await exited
  const before = handled.size
  await vi.waitFor(() => expect(handled.size).toBeGreaterThan(before + 200), waiting)
  isOver = true
  await senders
  await vi.waitFor(() => expect(handled.size).toBe(next), waiting)
  expect(sender.told.filter(({ kind }) => kind === 'send-failed')).toEqual([])
  const states = consumer.told.filter(event => event.kind === 'state').map(({ state }) => state)
  expect(states.at(0)).toBe('down')
  expect(states.at(-1)).toBe('up')
  expect((await consumer.health()).ok).toBe(true)
  console.log(
    consumer.told.filter(({ kind }) => kind === 'reconnected'),
    states,
  )
})
