/** Who serves when the owner of a directory goes. The owners are processes of their own, and they really die. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { realpath, rm } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { ownerOf } from '@chasqui/broker'
import type { Destination, Driver, Incoming, SendResult, Source, StateChange } from '@chasqui/driver'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { openGuest } from '../src/guest.ts'
import { SuccessorDriver } from '../src/successor.ts'
import { Collector, inTenSeconds, opened, outgoing, temporaryDirectory } from './fixture.ts'
import { message } from './message.ts'

const source = { kind: 'queue', name: 'orders' } as const
const destination: Destination = { ...source, durable: true }
const program = fileURLToPath(new URL('./owner-process.ts', import.meta.url))
const timeout = 15_000
const window = 50

async function member(directory: string): Promise<{ child: ChildProcess; role: string }> {
  const child = fork(program, [directory])
  onTestFinished(() => void child.kill('SIGKILL'))
  const [role] = await once(child, 'message')
  return { child, role }
}

async function owner(directory: string): Promise<ChildProcess> {
  const { child, role } = await member(directory)
  expect(role).toBe('owner')
  return child
}

async function killed(child: ChildProcess): Promise<void> {
  const exited = once(child, 'exit')
  child.kill('SIGKILL')
  await exited
}

async function isServedHere(directory: string): Promise<void> {
  await vi.waitFor(() => expect(ownerOf(directory)).toBe(process.pid), { timeout, interval: 5 })
}

function statesOf(driver: Driver): StateChange[] {
  const states: StateChange[] = []
  driver.onState(change => states.push(change))
  return states
}

/** Acknowledges what it gets, and keeps its ids. */
class Acknowledging extends Collector {
  override deliver(batch: Parameters<Collector['deliver']>[0]): void {
    super.deliver(batch)
    const tags = batch.items.map(item => item.tag)
    void this.receiver?.settle(batch.lane, batch.epoch, tags, 'ack')
  }
}

async function consuming(driver: Driver, from: Source = source): Promise<Acknowledging> {
  const sink = new Acknowledging()
  sink.receiver = await driver.receive(from, sink, { window, order: 'none' })
  return sink
}

/** Sends one after the other in each of ten lines until told to end; notes what became of each. */
class Load {
  readonly confirmed: string[] = []
  readonly doubtful: string[] = []
  readonly refused: SendResult[] = []
  #next = 0
  #ended = false
  readonly #lines: Promise<void>[]

  constructor(driver: Driver) {
    this.#lines = Array.from({ length: 10 }, () => this.#line(driver))
  }

  async end(): Promise<void> {
    this.#ended = true
    await Promise.all(this.#lines)
  }

  async more(count: number): Promise<void> {
    const until = this.confirmed.length + count
    await vi.waitFor(() => expect(this.confirmed.length).toBeGreaterThanOrEqual(until), { timeout, interval: 5 })
  }

  async #line(driver: Driver): Promise<void> {
    while (!this.#ended) {
      const id = `m-${this.#next++}`
      const [result] = await driver.send(outgoing(source, id), inTenSeconds())
      if (result!.ok) this.confirmed.push(id)
      else if (result!.inDoubt) this.doubtful.push(id)
      else this.refused.push(result!)
    }
  }
}

/** All that was confirmed arrived, nothing that was not sent, and more than once only what deaths explain. */
async function expectExactly(sink: Collector, load: Load, deaths: number): Promise<void> {
  await vi.waitFor(
    () => {
      const seen = new Set(sink.ids)
      expect(load.confirmed.filter(id => !seen.has(id))).toEqual([])
    },
    { timeout, interval: 20 },
  )
  const known = new Set([...load.confirmed, ...load.doubtful])
  expect(sink.ids.filter(id => !known.has(id!))).toEqual([])
  const repeats = sink.ids.length - new Set(sink.ids).size
  expect(repeats).toBeLessThanOrEqual(deaths * window)
}

describe('when the owner of a directory goes', () => {
  it('by kill -9 under load, a guest serves within a second, and exactly what was confirmed arrives', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const sender = await opened(`embedded:${directory}`)
    const receiver = await opened(`embedded:${directory}`)
    await sender.declare({ destinations: [destination] }, { create: true })
    await receiver.declare({ destinations: [destination] }, { create: true })
    const sink = await consuming(receiver)
    const load = new Load(sender)
    await load.more(200)
    const exited = once(first, 'exit')
    first.kill('SIGKILL')
    await exited
    await load.more(200)
    await load.end()
    expect(load.refused).toEqual([])
    // One in each line may have been on its way.
    expect(load.doubtful.length).toBeLessThanOrEqual(10)
    await expectExactly(sink, load, 1)
    expect(sink.revoked).toEqual([1])
    const epochs = sink.batches.map(({ epoch }) => epoch)
    expect(epochs).toEqual(epochs.toSorted((a, b) => a - b))
    expect(ownerOf(directory)).toBe(process.pid)
    expect([sender.state, receiver.state]).toEqual(['up', 'up'])
  })

  it('by close, another serves, and no send fails', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const sender = await opened(`embedded:${directory}`)
    await sender.declare({ destinations: [destination] }, { create: true })
    const sink = await consuming(sender)
    const load = new Load(sender)
    await load.more(100)
    first.send('close')
    await once(first, 'exit')
    await load.more(100)
    await load.end()
    expect(load.refused).toEqual([])
    expect(load.doubtful).toEqual([])
    await expectExactly(sink, load, 1)
    expect(ownerOf(directory)).toBe(process.pid)
  })

  it('by close, what was sent one upon the other arrives once and in its order', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const sender = await opened(`embedded:${directory}`)
    await sender.declare({ destinations: [destination] }, { create: true })
    const sends: Promise<readonly SendResult[]>[] = []
    let next = 0
    // Before it closes, while it does, and after it.
    for (let round = 0, since = 0; since < 100; round++) {
      if (round === 100) first.send('close')
      if (first.exitCode !== null) since++
      const ids = Array.from({ length: 10 }, () => String(next++))
      sends.push(sender.send(outgoing(source, ...ids), Date.now() + timeout))
      await new Promise(resolve => setTimeout(resolve, 1))
    }
    const results = (await Promise.all(sends)).flat()
    expect(results.filter(({ ok }) => !ok)).toEqual([])
    const sink = new Collector()
    await sender.receive(source, sink, { window: next, order: 'none' })
    await vi.waitFor(() => expect(sink.ids.length).toBeGreaterThanOrEqual(next), { timeout })
    expect(sink.ids).toEqual(Array.from({ length: next }, (_, index) => String(index)))
  })

  it('one of several guests is next, again and again, until the last one serves alone', async () => {
    const directory = await temporaryDirectory()
    const members = [await member(directory), await member(directory), await member(directory), await member(directory)]
    expect(members.map(({ role }) => role)).toEqual(['owner', 'guest', 'guest', 'guest'])
    const driver = await opened(`embedded:${directory}`)
    await driver.declare({ destinations: [destination] }, { create: true })
    const sink = await consuming(driver)
    const load = new Load(driver)
    let deaths = 0
    while (ownerOf(directory) !== process.pid) {
      await load.more(50)
      const serving = members.find(({ child }) => child.pid === ownerOf(directory))
      if (serving === undefined) continue
      await killed(serving.child)
      deaths++
      await vi.waitFor(() => expect(ownerOf(directory)).toBeDefined(), { timeout, interval: 5 })
    }
    await load.more(50)
    await load.end()
    expect(deaths).toBeGreaterThanOrEqual(1)
    expect(load.refused).toEqual([])
    await expectExactly(sink, load, deaths)
    // Those that are left are guests of this process now.
    for (const { child } of members) if (child.exitCode === null && child.signalCode === null) await killed(child)
    expect((await driver.send(outgoing(source, 'last'), inTenSeconds()))[0]).toEqual({ ok: true, durable: true })
  })

  it('delayed messages come in their time, and keys keep their order at the next one', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const driver = await opened(`embedded:${directory}`)
    await driver.declare(
      { destinations: [destination, { kind: 'queue', name: 'later', durable: true }] },
      { create: true },
    )
    const dueAt = Date.now() + 1500
    const later: Source = { kind: 'queue', name: 'later' }
    await driver.send([{ to: later, message: message('due', { notBefore: dueAt }) }], inTenSeconds())
    await driver.send([{ to: later, message: message('cancelled', { notBefore: dueAt + 60_000 }) }], inTenSeconds())
    const due = await consuming(driver, later)
    const ordered = new Collector()
    const receiver = await driver.receive(source, ordered, { window: 10, order: 'key' })
    const keyed = ['a1', 'a2', 'a3', 'b1', 'b2'].map(id => ({ to: source, message: message(id, { key: id[0]! }) }))
    await driver.send(keyed, inTenSeconds())
    await vi.waitFor(() => expect(ordered.ids).toEqual(['a1', 'b1']), { timeout })
    const [lost] = ordered.batches.splice(0)
    await killed(first)
    await isServedHere(directory)
    expect(await receiver.settle('orders', lost!.epoch, [lost!.items[0]!.tag], 'ack')).toBe('stale')
    const done: Incoming[] = []
    await vi.waitFor(
      async () => {
        for (const { lane, epoch, items } of ordered.batches.splice(0)) {
          expect(epoch).toBeGreaterThan(lost!.epoch)
          expect(new Set(items.map(item => item.message.key)).size).toBe(items.length)
          done.push(...items)
          await receiver.settle(
            lane,
            epoch,
            items.map(item => item.tag),
            'ack',
          )
        }
        expect(done).toHaveLength(5)
      },
      { timeout, interval: 5 },
    )
    const ids = done.map(item => item.message.id)
    expect(ids.filter(id => id!.startsWith('a'))).toEqual(['a1', 'a2', 'a3'])
    expect(ids.filter(id => id!.startsWith('b'))).toEqual(['b1', 'b2'])
    expect(await driver.cancelDelayed!(later, 'cancelled')).toBe(true)
    await vi.waitFor(() => expect(due.ids).toEqual(['due']), { timeout })
    expect(Date.now()).toBeGreaterThanOrEqual(dueAt)
  })

  it('what does not last is made again: queues of memory, subscriptions, reply queues', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const driver = await opened(`embedded:${directory}`)
    const hello = { kind: 'queue', name: 'hello' } as const
    const topic = { kind: 'topic', name: 'sales' } as const
    const subscription = { kind: 'subscription', topic: 'sales', name: 'screen' } as const
    const reply = { kind: 'reply', name: 'reply-1' } as const
    await driver.declare(
      {
        destinations: [
          { ...hello, durable: false },
          { ...topic, durable: true },
          { ...subscription, durable: false },
        ],
      },
      { create: true },
    )
    const sinks = [
      await consuming(driver, hello),
      await consuming(driver, subscription),
      await consuming(driver, reply),
    ]
    await killed(first)
    await isServedHere(directory)
    await vi.waitFor(() => expect(driver.state).toBe('up'), { timeout })
    const sent = [...outgoing(hello, 'h'), ...outgoing(topic, 's'), ...outgoing(reply, 'r')]
    expect(await driver.send(sent, inTenSeconds())).toEqual([
      { ok: true, durable: false },
      { ok: true, durable: true },
      { ok: true, durable: false },
    ])
    await vi.waitFor(() => expect(sinks.map(sink => sink.ids)).toEqual([['h'], ['s'], ['r']]), { timeout })
    const depths = await driver.inspector!.queues!()
    expect(depths.map(({ name }) => name)).toEqual(['hello', 'orders', 'reply-1', 'sales.screen'])
  })

  it('a paused receiver stays paused, a stopped one stays away, and a window that changed meanwhile counts', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const driver = await opened(`embedded:${directory}`)
    await driver.declare({ destinations: [destination] }, { create: true })
    const [paused, leaving] = [new Collector(), new Collector()]
    const pausing = await driver.receive(source, paused, { window: 5, order: 'none' })
    const stopping = await driver.receive(source, leaving, { window: 5, order: 'none' })
    await pausing.window(0)
    const stopped = new Promise<void>(resolve => {
      driver.onState(({ state }) => {
        if (state === 'down') resolve(stopping.stop())
      })
    })
    await killed(first)
    await stopped
    await isServedHere(directory)
    await vi.waitFor(() => expect(driver.state).toBe('up'), { timeout })
    const sent = await driver.send(outgoing(source, 'a', 'b', 'c'), inTenSeconds())
    expect(sent).toEqual(Array(3).fill({ ok: true, durable: true }))
    expect(await driver.inspector!.depth(source)).toMatchObject({ ready: 3, consumers: 0 })
    await pausing.window(2)
    await vi.waitFor(() => expect(paused.ids).toEqual(['a', 'b']), { timeout })
    expect(leaving.ids).toEqual([])
  })

  it('by freezing, it is waited for and named, and goes on where it was', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const path = await realpath(directory)
    const options = { urls: [], name: 'test', connectTimeoutMs: 500 }
    const guest = await openGuest(path, options, timeout, 1)
    const driver = new SuccessorDriver({ path, guest, onWarning: undefined, owner: () => ownerOf(path) })
    onTestFinished(() => driver.close())
    await driver.declare({ destinations: [destination] }, { create: true })
    const sink = await consuming(driver)
    const states = statesOf(driver)
    first.kill('SIGSTOP')
    await vi.waitFor(
      () =>
        expect(states.map(({ reason }) => reason)).toContainEqual(expect.stringContaining(`process ${first.pid} owns`)),
      { timeout },
    )
    expect(driver.state).toBe('down')
    const waiting = driver.send(outgoing(source, 'a'), Date.now() + timeout)
    first.kill('SIGCONT')
    expect(await waiting).toEqual([{ ok: true, durable: true }])
    await vi.waitFor(() => expect(sink.ids).toEqual(['a']), { timeout })
    expect(ownerOf(path)).toBe(first.pid)
    expect(driver.state).toBe('up')
  })

  it('and its directory with it, nobody makes that again', async () => {
    const directory = await temporaryDirectory()
    const first = await owner(directory)
    const driver = await opened(`embedded:${directory}`)
    const states = statesOf(driver)
    await rm(directory, { recursive: true })
    await killed(first)
    await vi.waitFor(
      () => expect(states.map(({ reason }) => reason)).toContainEqual(expect.stringContaining('was deleted')),
      { timeout },
    )
    expect(existsSync(directory)).toBe(false)
    await driver.close()
  })
})

it('a bus that closes while it seeks ends what waits, and leaves the directory to others', async () => {
  const directory = await temporaryDirectory()
  const first = await owner(directory)
  const driver = await opened(`embedded:${directory}`)
  await driver.declare({ destinations: [destination] }, { create: true })
  first.kill('SIGSTOP')
  const waiting = driver.send(outgoing(source, 'a'), inTenSeconds())
  const closed = driver.close()
  await killed(first)
  await closed
  expect(await waiting).toMatchObject([{ ok: false }])
  expect(await driver.send(outgoing(source, 'b'), inTenSeconds())).toMatchObject([
    { ok: false, inDoubt: false, error: { code: 'closed' } },
  ])
  await expect(driver.receive(source, new Collector(), { window: 1, order: 'none' })).rejects.toMatchObject({
    code: 'closed',
  })
  const next = await opened(`embedded:${directory}`)
  expect(next.capabilities.properties.separateProcess).toBe(false)
})
