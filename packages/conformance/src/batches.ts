/** Batches: handled together, settled one by one, and sent so that each item has an outcome of its own. */
import assert from 'node:assert/strict'
import type { BatchItem } from '@chasqui/core'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import { take } from './reading.ts'
import type { Scenario } from './scenario.ts'

const bodiesOf = (items: readonly BatchItem[]) => items.map(({ body }) => Number(body))

export const batches: readonly Scenario[] = [
  {
    number: 34,
    title: 'a poison item in a batch is isolated; its neighbours succeed',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const bodies = Array.from({ length: 100 }, (_, n) => n)
      const poisons = new Set([13, 14, 77])
      for (const { ok } of await settled(bus.sendBatch(queue, bodies), 'the batch to be sent')) assert.ok(ok)
      const done: number[] = []
      let alone = 0
      const consumer = await bus.handleBatch(
        queue,
        items => {
          const given = bodiesOf(items)
          if (given.length === 1 && poisons.has(given[0]!)) alone += 1
          if (given.some(body => poisons.has(body))) throw new Error('poison')
          done.push(...given)
        },
        { size: 25, maxAgeMs: 200, retry: { attempts: 2, immediate: 1 } },
      )
      const dead = await take(bus, `${queue}.dead-letter`, poisons.size)
      assertSameIds(
        dead.map(({ body }) => Number(body)),
        poisons,
      )
      for (const { headers } of dead) assert.equal(headers.chasqui_error_code, 'handler-failed')
      const neighbours = bodies.filter(body => !poisons.has(body))
      await eventually(
        () => done.length >= neighbours.length,
        () => `${neighbours.length} neighbours; ${done.length} are handled`,
      )
      assert.equal(alone, poisons.size * 2, 'an attempt counts when the poison fails alone, and there are two each')
      await settled(consumer.stop(), 'the consumer to stop')
      assertSameIds(done, neighbours)
      // What was acknowledged does not come again.
      await bus.send(queue, 'last')
      const [next] = await take(bus, queue, 1)
      assert.equal(next!.body, 'last')
    },
  },
  {
    number: 66,
    title: 'batch send reports per item; batch receive closes by size or by time; partial settlement',
    source: 'JasperFx/jasperfx#533',
    async run(stage) {
      const bus = await stage.connect({ maxBodyBytes: 1000 })
      const queue = stage.name('queue')
      const bodies = [0, 1, 2, 'x'.repeat(2000), 3, 4, 5, 6]
      const outcomes = await settled(bus.sendBatch(queue, bodies, { inFlight: 3 }), 'the batch to be sent')
      assert.deepEqual(
        outcomes.map(outcome => outcome.ok || (outcome.error as { code?: unknown }).code),
        [true, true, true, 'body-too-large', true, true, true, true],
      )
      const ids = outcomes.map(outcome => (outcome.ok ? outcome.receipt.id : undefined))

      const runs: { closedBy: string; bodies: number[] }[] = []
      const dead: (string | undefined)[] = []
      const again: (string | undefined)[] = []
      const consumer = await bus.handleBatch(
        queue,
        (items, { closedBy }) => {
          runs.push({ closedBy, bodies: bodiesOf(items) })
          for (const item of items) {
            const { id, attempt } = item.ctx
            if (item.body === 1) {
              dead.push(id)
              item.deadLetter('not this one')
            } else if (item.body === 2 && attempt === 1) {
              item.retry({ delayMs: 1 })
            } else if (item.body === 2) {
              again.push(id)
            } else if (item.body === 3) {
              item.ack()
            }
          }
        },
        { size: 5, maxAgeMs: 1000 },
      )
      await eventually(
        () => again.length > 0 && runs.flatMap(run => run.bodies).length >= 8,
        () => `seven messages and one again; so far ${JSON.stringify(runs)}`,
      )
      assert.deepEqual(runs[0], { closedBy: 'size', bodies: [0, 1, 2, 3, 4] })
      assert.ok(runs.slice(1).every(({ closedBy }) => closedBy === 'age'))
      assertSameIds(
        runs.flatMap(run => run.bodies),
        [0, 1, 2, 3, 4, 5, 6],
        { repeats: 1 },
      )
      const [letter] = await take(bus, `${queue}.dead-letter`, 1)
      assert.equal(letter!.id, ids[1])
      assert.deepEqual([dead, again], [[ids[1]], [ids[2]]])
      await settled(consumer.stop(), 'the consumer to stop')
      await bus.send(queue, 'last')
      const [next] = await take(bus, queue, 1)
      assert.equal(next!.body, 'last')
    },
  },
]
