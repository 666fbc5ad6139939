/** More of section C: what becomes of ten thousand dead letters. */
import assert from 'node:assert/strict'
import { type Bus, command, type DeadLetterFilter, type DeadLetters } from '@chasqui/core'
import type { HeaderValue, WireMessage } from '@chasqui/driver'
import { rejectsWith } from './delivery.ts'
import { eventually } from './eventually.ts'
import { schemaOf } from './reading.ts'
import type { Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

const letterCount = 10_000
/** Letters that a kill may leave in both places: copied, and not yet acknowledged. The docs state it. */
const mostDoubled = 1_000

export const deadLetters: readonly Scenario[] = [
  {
    number: 32,
    title:
      'redrive, edit and discard by query can be repeated, and page over 10,000 letters; what fits no query stays in order',
    timeoutMs: 240_000,
    async run(stage) {
      const bus = await stage.connect()
      const Charge = command(
        stage.name('charge'),
        schemaOf<{ n: number }>('n', value => typeof (value as { n?: unknown }).n === 'number'),
      )
      const queue = Charge.destination
      await bus.declare([Charge])
      const written = await writeLetters(stage, queue)
      const letters = bus.deadLetters(Charge)

      assert.deepEqual(await idsOf(letters), written, 'all of them, each once, oldest first')
      assert.deepEqual(await idsOf(letters), written, 'looking has changed nothing')
      const third = { error: 'TypeError' }
      const thirdIds = written.filter((_, at) => at % 3 === 0)
      assert.deepEqual(await idsOf(letters, third), thirdIds)
      assert.deepEqual(await idsOf(letters, third, 100), thirdIds.slice(0, 100))
      const { matched } = await letters.redrive(third, { dryRun: true })
      assert.equal(matched, thirdIds.length)
      assert.deepEqual(await idsOf(letters), written, 'a dry run has changed nothing')

      const first = await letters.redrive(third)
      assert.deepEqual([first.total, first.done, first.failed], [letterCount, thirdIds.length, 0])
      const again = await letters.redrive(third)
      assert.deepEqual([again.matched, again.done], [0, 0], 'a second time there is nothing to do')
      assert.deepEqual(await takeAll(bus, queue, thirdIds.length), thirdIds, 'they arrived in the order of the letters')

      const rest = written.filter((_, at) => at % 3 !== 0)
      assert.deepEqual(await idsOf(letters), rest, 'the others keep their order')
      const [edited] = rest
      await rejectsWith('body-invalid', letters.edit(edited!, { body: { n: 'none' } }))
      await letters.edit(edited!, { body: { n: -1 }, headers: { edited: true } })
      await rejectsWith('dead-letter-missing', letters.edit(edited!, { body: { n: -1 } }))
      for await (const delivery of bus.receive(Charge)) {
        assert.deepEqual(
          [delivery.id, delivery.body, delivery.headers],
          [edited, { n: -1 }, { mine: 'yes', edited: true }],
        )
        await delivery.ack()
        break
      }

      const sevenths = { where: (letter: { key?: string | undefined }) => letter.key === '0' }
      const discarded = written.filter((_, at) => at % 3 !== 0 && at % 7 === 0 && written[at] !== edited)
      assert.equal((await letters.discard(sevenths)).done, discarded.length)
      assert.equal((await letters.discard(sevenths)).done, 0)
      const gone = new Set([edited, ...discarded])
      assert.deepEqual(
        await idsOf(letters),
        rest.filter(id => !gone.has(id)),
      )
    },
  },
  {
    number: 97,
    title:
      'a redrive that is interrupted goes on when it is run again: nothing is lost, and little doubled where it was killed',
    timeoutMs: 240_000,
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      await bus.declare([{ queue }])
      const written = await writeLetters(stage, queue)
      const letters = bus.deadLetters(queue)
      const ended = new AbortController()
      const onProgress = ({ done }: { readonly done: number }) => {
        if (done >= 1000) ended.abort()
      }
      await rejectsWith('aborted', letters.redrive({}, { signal: ended.signal, onProgress }))
      const left = await depthOf(bus, letters.queue)
      assert.ok(left > 0 && left <= letterCount - 1000, `${left} letters are left`)
      assert.equal(left + (await depthOf(bus, queue)), letterCount, 'an end in good order doubles nothing')

      const { shared } = stage.capabilities.properties
      if (shared) {
        const worker = await stage.worker({ do: 'redrive', url: stage.engine.url, queue, ratePerSecond: 2000 })
        await worker.reported('redriven', 5)
        await worker.kill()
        await eventually(
          async () => (await depthOf(bus, letters.queue)) + (await depthOf(bus, queue)) >= letterCount,
          () => 'what the killed process had in hand to be back',
        )
        assert.ok((await depthOf(bus, letters.queue)) > 0, 'it was killed in the midst')
      }
      await letters.redrive()
      assert.equal(await depthOf(bus, letters.queue), 0)
      const count = await depthOf(bus, queue)
      assert.ok(count - letterCount <= (shared ? mostDoubled : 0), `${count - letterCount} are doubled`)
      const arrived = await takeAll(bus, queue, count)
      assert.deepEqual([...new Set(arrived)].sort(), [...written].sort(), 'all of them arrived')
      return shared ? 'pass' : 'weaker'
    },
  },
]

/** Ten thousand dead letters as consumers would have left them, without waiting for as many failures. Their ids, in order. */
async function writeLetters(stage: Stage, queue: string): Promise<string[]> {
  const driver = await stage.driver()
  const name = `${queue}.dead-letter`
  await driver.declare({ destinations: [{ kind: 'queue', name, durable: true }] }, { create: true })
  const ids: string[] = []
  for (let from = 0; from < letterCount; from += 500) {
    const batch = Array.from({ length: 500 }, (_, offset) => ({
      to: { kind: 'queue', name } as const,
      message: letterOf(queue, from + offset),
    }))
    for (const result of await driver.send(batch, Date.now() + 30_000)) if (!result.ok) throw result.error
    ids.push(...batch.map(({ message }) => message.id!))
  }
  await driver.close()
  return ids
}

function letterOf(queue: string, n: number): WireMessage {
  const at = new Date(Date.now() - letterCount + n).toISOString()
  const headers: Record<string, HeaderValue> = {
    mine: 'yes',
    chasqui_error_code: 'handler-failed',
    chasqui_error_type: n % 3 === 0 ? 'TypeError' : 'Error',
    chasqui_attempts: 5,
    chasqui_first_failed_at: at,
    chasqui_last_failed_at: at,
    chasqui_original_destination: queue,
    chasqui_reason: 'the last of 5 attempts failed',
  }
  const body = Buffer.from(JSON.stringify({ n }))
  const about = { type: queue, key: String(n % 7), contentType: 'application/json', attributes: {}, durable: true }
  return { id: `${queue}.${n}`, ...about, headers, body }
}

async function idsOf(letters: DeadLetters, filter: DeadLetterFilter = {}, limit?: number): Promise<string[]> {
  const ids: string[] = []
  for await (const letter of letters.list(filter, limit === undefined ? {} : { limit })) ids.push(letter.id!)
  return ids
}

/** The ids of that many messages, in the order in which they come. */
async function takeAll(bus: Bus, queue: string, count: number): Promise<string[]> {
  const ids: string[] = []
  const consumer = await bus.handle(queue, (_, ctx) => void ids.push(ctx.id!), { concurrency: 1, window: 500 })
  await eventually(
    () => ids.length >= count,
    () => `${count} messages; ${ids.length} came`,
    90_000,
  )
  await consumer.stop()
  return ids
}

async function depthOf(bus: Bus, name: string): Promise<number> {
  return (await bus.inspector!.depth({ kind: 'queue', name }))?.ready ?? 0
}
