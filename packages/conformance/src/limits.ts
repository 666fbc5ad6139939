/** More of section C: headers beyond what the engine carries, a dead-letter queue that takes nothing. */
import assert from 'node:assert/strict'
import type { Bus } from '@chasqui/core'
import { isChasquiError } from '@chasqui/driver'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { take } from './reading.ts'
import type { Scenario } from './scenario.ts'

/** What `connect` allows by default, in bytes of names and values. */
const usualHeaderBytes = 65_536
const mostHeaderBytes = 1_048_576

export const limits: readonly Scenario[] = [
  {
    number: 84,
    title:
      'headers up to the limit arrive, also with a dead letter; what the engine cannot carry is a typed error, and harms no other message',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const full = headersOf(usualHeaderBytes)
      await rejectsWith('header-invalid', bus.send(queue, 'too much', { headers: headersOf(usualHeaderBytes + 1) }))
      await diesWhole(bus, queue, full)

      const generous = await stage.connect({ maxHeaderBytes: mostHeaderBytes })
      const other = stage.name('generous')
      await generous.send(other, 'before')
      // The longest that the engine carries, which it need not tell.
      let [most, tooMany] = [usualHeaderBytes, mostHeaderBytes + 1]
      const fits = (bytes: number) =>
        generous.send(other, bytes, { headers: headersOf(bytes) }).then(
          () => true,
          (error: unknown) => {
            assert.ok(isChasquiError(error) && error.code === 'header-invalid', `refused with header-invalid: ${error}`)
            return false
          },
        )
      let sent = 1
      while (tooMany - most > 1) {
        const middle = Math.floor((most + tooMany) / 2)
        if (await settled(fits(middle), `an answer for headers of ${middle} bytes`)) [most, sent] = [middle, sent + 1]
        else tooMany = middle
      }
      await take(generous, other, sent)
      await diesWhole(generous, stage.name('most'), headersOf(most))
    },
  },
  {
    number: 85,
    title:
      'a dead-letter queue that is full keeps the message where it is, where one is forbidden nothing is sent or consumed',
    source: 'dapr/dapr#5511',
    timeoutMs: 120_000,
    async run(stage) {
      const { makeFull, forbid } = stage.engine
      if (makeFull === undefined) {
        assert.ok(
          !stage.capabilities.properties.network,
          'others can fill its queues: the fixture must offer `makeFull`',
        )
        return 'weaker'
      }
      const bus = await stage.connect()
      const queue = stage.name('full')
      await makeFull(`${queue}.dead-letter`)
      await keepsAll(bus, queue, async () => void (await take(bus, `${queue}.dead-letter`, 1)))
      if (forbid === undefined) return 'pass'
      const other = stage.name('forbidden')
      const { url, allow } = await forbid(`${other}.dead-letter`)
      const restricted = await stage.connect({}, url)
      // Nobody sends or takes what could not be given up.
      const consume = () => restricted.handle(other, (_, ctx) => ctx.deadLetter('no'))
      await rejectsWith('access-refused', restricted.send(other, 1))
      await rejectsWith('access-refused', consume())
      await allow()
      await consume()
      const { id } = await restricted.send(other, 2)
      const [dead] = await take(bus, `${other}.dead-letter`, 1)
      assert.equal(dead!.id, id)
      return 'pass'
    },
  },
]

/** So many bytes of names and values together. */
function headersOf(bytes: number): Record<string, string> {
  return { fill: 'x'.repeat(bytes - 'fill'.length) }
}

/** The message is tried, retried by the engine, given up, and there with its headers at the end. */
async function diesWhole(bus: Bus, queue: string, headers: Readonly<Record<string, string>>): Promise<void> {
  let attempts = 0
  const consumer = await bus.handle(
    queue,
    () => {
      attempts += 1
      throw new Error('no '.repeat(1000))
    },
    { retry: { attempts: 2, delays: [10] } },
  )
  const { id } = await bus.send(queue, 7, { headers })
  const [dead] = await take(bus, `${queue}.dead-letter`, 1)
  assert.equal(dead!.id, id)
  assert.equal(attempts, 2)
  assert.ok(dead!.headers.fill === headers.fill, 'its own headers are whole')
  // Where they leave no room for the reason, it is not told.
  const { chasqui_error_code: code } = dead!.headers
  assert.ok(code === 'handler-failed' || (code === undefined && headers.fill!.length > usualHeaderBytes), String(code))
  await consumer.stop()
}

/** Nothing is lost while the dead-letter queue takes nothing, others are handled, and all are there once it does. */
async function keepsAll(bus: Bus, queue: string, open: () => Promise<void>): Promise<void> {
  const failures: string[] = []
  bus.observe(
    event => void (event.kind === 'dead-letter-failed' && failures.push(String(event.error))),
    ['dead-letter-failed'],
  )
  const handled: unknown[] = []
  const dead: string[] = []
  const bad: string[] = []
  await bus.handle(queue, (body, ctx) => {
    if (body === 'bad') ctx.deadLetter('no')
    handled.push(body)
  })
  for (let n = 0; n < 5; n++) {
    bad.push((await bus.send(queue, 'bad')).id)
    await bus.send(queue, n)
  }
  await eventually(
    () => failures.length > 0 && handled.length === 5,
    () => `a refused dead letter and five others; refused: ${failures.length}, handled: ${handled.join(', ')}`,
  )
  await open()
  await bus.handle(`${queue}.dead-letter`, (_, ctx) => void dead.push(ctx.id!))
  await eventually(
    () => dead.length >= 5,
    () => `five dead letters; ${dead.length} came; ${failures.at(-1)}`,
  )
  // A copy whose confirm was not waited for is made again.
  assertSameIds(dead, bad, { repeats: failures.length })
}
