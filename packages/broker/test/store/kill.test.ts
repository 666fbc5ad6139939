import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { Broker } from '@chasqui/broker'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../directory.ts'
import { bodyOf, openClient } from '../engine.ts'

interface Seen {
  confirmed: number
  /** How many left their queue in transfers that were committed. */
  transferred: number
  readonly acknowledged: Set<number>
  readonly deadLettered: Set<number>
}

/** Runs the program from this number on and kills it with SIGKILL once `confirms` more are confirmed. */
async function runAndKill(program: URL, directory: string, first: number, confirms: number): Promise<Seen> {
  const child = spawn(process.execPath, ['--conditions=@chasqui/source', program.pathname, directory, String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exit = once(child, 'exit')
  const seen: Seen = { confirmed: first - 1, transferred: 0, acknowledged: new Set(), deadLettered: new Set() }
  for await (const line of createInterface({ input: child.stdout })) {
    const [what, number] = [line[0], Number(line.slice(2))]
    if (what === 'c') seen.confirmed = number
    else if (what === 't') seen.transferred += number
    else if (what === 'a') seen.acknowledged.add(number)
    else if (what === 'd') seen.deadLettered.add(number)
    if (seen.confirmed >= first + confirms) child.kill('SIGKILL')
  }
  const [, signal] = await exit
  expect(signal).toBe('SIGKILL')
  return seen
}

test('[kill -9] while it publishes, five times: nothing confirmed is lost, order stands, a move is whole', async () => {
  const directory = temporaryDirectory()
  const confirmed: number[] = []
  const settled = new Set<number>()
  const deadLettered = new Set<number>()
  let next = 1
  for (let round = 0; round < 5; round++) {
    const seen = await runAndKill(
      new URL('./publisher-process.ts', import.meta.url),
      directory,
      next,
      500 + round * 700,
    )
    for (let number = next; number <= seen.confirmed; number++) confirmed.push(number)
    for (const number of seen.acknowledged) settled.add(number)
    for (const number of seen.deadLettered) deadLettered.add(number)
    next += 1_000_000

    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    expect(broker.damage).toEqual([])
    const { session } = openClient(broker)
    const handedOut = new Set([...seen.acknowledged, ...seen.deadLettered])
    expect(notMarked(session, 'consumed', handedOut)).toEqual([])
    const numbers = (queue: string) => drainAndPutBack(session, queue).map(body => Number(body.slice(0, 10)))
    const kept = numbers('kept')
    expect(missing(confirmed, new Set(kept))).toEqual([])
    expect(kept).toEqual(kept.toSorted((a, b) => a - b))
    expect(new Set(kept).size).toBe(kept.length)

    const waiting = numbers('consumed')
    const dead = numbers('dead')
    expect(waiting).toEqual(waiting.toSorted((a, b) => a - b))
    const somewhere = new Set([...waiting, ...dead, ...settled])
    expect(missing(confirmed, somewhere)).toEqual([])
    // What was dead-lettered is in one of the two queues, never in both, and only what was asked for.
    expect(new Set([...waiting, ...dead]).size).toBe(waiting.length + dead.length)
    expect(dead.filter(number => !deadLettered.has(number))).toEqual([])
    session.close()
    await broker.close()
  }
  expect(confirmed.length).toBeGreaterThan(5000)
})

test('[kill -9] while it transfers, six times: each number has left with both of its copies or with none, and once', async () => {
  const directory = temporaryDirectory()
  const confirmed: number[] = []
  let transferred = 0
  let next = 1
  for (let round = 0; round < 6; round++) {
    const seen = await runAndKill(
      new URL('./transfer-process.ts', import.meta.url),
      directory,
      next,
      100 + Math.floor(Math.random() * 1500),
    )
    for (let number = next; number <= seen.confirmed; number++) confirmed.push(number)
    transferred += seen.transferred
    next += 1_000_000

    const broker = new Broker({ dataDirectory: directory })
    await broker.start()
    expect(broker.damage).toEqual([])
    const { session } = openClient(broker)
    const [source, left, right] = ['source', 'left', 'right'].map(queue =>
      drainAndPutBack(session, queue).map(Number),
    ) as [number[], number[], number[]]
    expect(left).toEqual(right)
    const everywhere = [...source, ...left]
    expect(new Set(everywhere).size).toBe(everywhere.length)
    expect(missing(confirmed, new Set(everywhere))).toEqual([])
    expect(left.length).toBeGreaterThanOrEqual(transferred)

    // What is delayed is there, each once, and can be taken back by its id.
    const due = confirmed.filter(number => number % 7 === 0)
    expect(broker.vhost.inspect('later')).toMatchObject({ ready: 0 })
    expect(broker.vhost.inspect('later')!.delayed).toBeGreaterThanOrEqual(due.length)
    if (round === 5) {
      expect(due.filter(number => !session.cancelDelayed('later', `${number}`))).toEqual([])
      expect(due.filter(number => session.cancelDelayed('later', `${number}`))).toEqual([])
    }
    session.close()
    await broker.close()
  }
  expect(transferred).toBeGreaterThan(100)
}, 60_000)

test('[kill -9] a message whose delay ends while nobody runs comes after the restart, those due later when they are due', async () => {
  const directory = temporaryDirectory()
  const { confirmed } = await runAndKill(new URL('./transfer-process.ts', import.meta.url), directory, 7, 200)
  let now = Date.now() + 1_800_000
  const broker = new Broker({ dataDirectory: directory, clock: { now: () => now } })
  await broker.start()
  const { session } = openClient(broker)
  const count = broker.vhost.inspect('later')!.delayed
  expect(count).toBeGreaterThanOrEqual(Math.floor(confirmed / 7))
  now += 7_200_000
  await expect.poll(() => broker.vhost.inspect('later')).toMatchObject({ ready: count, delayed: 0 })
  const numbers = drainAndPutBack(session, 'later').map(Number)
  expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
  await broker.close()
  // Due since long when it starts again.
  const late = new Broker({ dataDirectory: directory, clock: { now: () => now } })
  await late.start()
  expect(late.vhost.inspect('later')).toMatchObject({ ready: count, delayed: 0 })
  await late.close()
})

function drainAndPutBack(session: ReturnType<typeof openClient>['session'], queue: string): string[] {
  const bodies: string[] = []
  for (let got = session.get(queue, false); got !== undefined; got = session.get(queue, false)) bodies.push(bodyOf(got))
  session.recover(true)
  return bodies
}

/** What a consumer had been given and is not marked as redelivered now. */
function notMarked(
  session: ReturnType<typeof openClient>['session'],
  queue: string,
  handedOut: ReadonlySet<number>,
): number[] {
  const found: number[] = []
  for (let got = session.get(queue, false); got !== undefined; got = session.get(queue, false)) {
    const number = Number(bodyOf(got).slice(0, 10))
    if (handedOut.has(number) && !got.redelivered) found.push(number)
  }
  session.recover(true)
  return found
}

function missing(wanted: readonly number[], present: ReadonlySet<number>): number[] {
  return wanted.filter(number => !present.has(number))
}
