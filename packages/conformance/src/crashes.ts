/** More of sections C and E: consumer processes that a message kills, and that a deployment ends. */
import assert from 'node:assert/strict'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { take } from './reading.ts'
import type { Outcome, Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'
import type { Worker } from './worker-process.ts'

const concurrency = 5
const deadly = 'kills its process'
/** Twice the one attempt, and six: the bound on starts that rule 5 of crash loops gives. */
const mostStarts = 8

export const crashes: readonly Scenario[] = [
  {
    number: 80,
    title: 'a message that kills its process each time is found, and is a dead letter; its neighbours are handled',
    source: 'onebeyond/rascal "Dealing With Redeliveries"',
    timeoutMs: 180_000,
    async run(stage) {
      const { durable, shared } = stage.capabilities.properties
      const queue = stage.name('queue')
      if (!shared && !durable) return await diesWithItsProcess(stage, queue)
      await findsTheDeadly(stage, stage.engine.url, queue)
      // An engine in the process of its user goes down with it, and must know the count afterwards.
      if (stage.process === undefined) await findsTheDeadly(stage, `${stage.engine.url}-${stage.name('own')}`, queue)
      return 'pass'
    },
  },
  {
    number: 82,
    title:
      'SIGTERM under load: intake stops, handlers finish, nothing is lost, nothing is done twice, the exit code is 0',
    source: 'nestjs/nest#4076, golevelup/nestjs#688',
    timeoutMs: 120_000,
    async run(stage) {
      const queue = stage.name('queue')
      const task = { do: 'serve', url: stage.engine.url, queue, concurrency: 10, workMs: 20 } as const
      if (!stage.capabilities.properties.shared) {
        // The worker has an engine of its own, which ends with it: what it began it finishes all the same.
        await drained(await stage.worker({ ...task, own: 300 }))
        return 'weaker'
      }
      const bus = await stage.connect()
      const sends = Array.from({ length: 300 }, async (_, n) => (await bus.send(queue, n)).id)
      const sent = await settled(Promise.all(sends), '300 sends')
      const handled = await drained(await stage.worker(task))
      assert.ok(handled.length < 300, 'SIGTERM came while messages waited')
      await bus.handle(queue, (_, ctx) => void handled.push(ctx.id!))
      await eventually(
        () => handled.length >= 300,
        () => `300 messages; ${handled.length} were handled`,
      )
      assertSameIds(handled, sent, { repeats: stage.engine.forgetsLastAcks ? task.concurrency : 0 })
      return 'pass'
    },
  },
]

async function findsTheDeadly(stage: Stage, url: string, queue: string): Promise<void> {
  const sender = await stage.connect({}, url)
  for (let n = 0; n < 10; n++) await sender.send(queue, n)
  const { id } = await sender.send(queue, deadly)
  for (let n = 10; n < 20; n++) await sender.send(queue, n)
  if (url !== stage.engine.url) await sender.close()
  const workers: Worker[] = []
  const seen = (event: 'effect' | 'handled') => workers.flatMap(worker => worker.seen(event))
  let last: Worker
  do {
    assert.ok(workers.length < mostStarts + 4, `worker ${workers.length + 1} would die as those before it`)
    last = await stage.worker({ do: 'serve', url, queue, concurrency, deadly })
    workers.push(last)
    const found = last
    await eventually(
      () => !found.running || found.seen('dead-lettered').length > 0,
      () => `worker ${workers.length} to die, or to find out why the others did`,
    )
  } while (last.seen('dead-lettered').length === 0)
  const starts = seen('effect').filter(({ body }) => body === deadly).length
  assert.ok(starts >= 2 && starts <= mostStarts, `the deadly message was begun ${starts} times`)
  assert.deepEqual(last.seen('dead-lettered'), [{ event: 'dead-lettered', id, code: 'crash-loop' }])
  const numbers = Array.from({ length: 20 }, (_, n) => n)
  const handled = () => new Set(seen('handled').map(({ body }) => body))
  await eventually(
    () => numbers.every(n => handled().has(n)),
    () => `its 20 neighbours; handled were ${[...handled()].join(', ')}`,
  )
  await last.end()
  // An acknowledgement may be lost with the process that made it.
  const bodies = seen('handled').map(({ body }) => body as number)
  assertSameIds(bodies, numbers, { repeats: workers.length * concurrency })
  const bus = url === stage.engine.url ? sender : await stage.connect({}, url)
  const deadLetters = `${queue}.dead-letter`
  const [dead] = await take(bus, deadLetters, 1)
  assert.deepEqual([dead!.id, dead!.body, dead!.headers.chasqui_error_code], [id, deadly, 'crash-loop'])
  await eventually(
    async () => {
      const depth = await bus.inspector?.depth({ kind: 'queue', name: deadLetters })
      return depth === undefined || depth.ready + (depth.unsettled ?? 0) === 0
    },
    () => 'the dead-letter queue to hold nothing else',
  )
}

/** Without an engine that outlives it, the message is gone with the process, and so is the danger. */
async function diesWithItsProcess(stage: Stage, queue: string): Promise<Outcome> {
  const { url } = stage.engine
  const worker = await stage.worker({ do: 'serve', url, queue, concurrency, own: 1 })
  await worker.reported('handled')
  await worker.kill()
  const next = await stage.worker({ do: 'look', url, queue })
  await next.reported('looked')
  assert.deepEqual(next.seen('looked'), [{ event: 'looked', exists: false }])
  return 'weaker'
}

/** Lets it handle some, asks it to end, and gives the ids that it handled: each that it began. */
async function drained(worker: Worker): Promise<string[]> {
  await worker.reported('handled', 50)
  worker.signal('SIGTERM')
  await settled(worker.ended, 'the worker to end after SIGTERM')
  assert.equal(worker.exitCode, 0)
  assert.equal(worker.reports.at(-1)?.event, 'drained')
  const [begun, handled] = [worker.seen('effect'), worker.seen('handled')]
  assert.deepEqual(begun.map(({ id }) => id).sort(), handled.map(({ id }) => id).sort(), 'each handler finished')
  return handled.map(({ id }) => id!)
}
