/** Section B: a delivery is settled once; what is not settled comes back. */
import assert from 'node:assert/strict'
import type { Delivery } from '@chasqui/core'
import { rejectsWith } from './delivery.ts'
import { eventually, gate, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import type { Scenario } from './scenario.ts'

export const settlement: readonly Scenario[] = [
  {
    number: 13,
    title: 'a released message comes back',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const { id } = await bus.send(queue, 'again')
      let seen = 0
      for await (const delivery of bus.receive(queue)) {
        assert.equal(delivery.id, id)
        assert.equal(delivery.body, 'again')
        seen += 1
        if (seen === 3) {
          await delivery.ack()
          break
        }
        await delivery.release()
      }
      assert.equal(seen, 3)
      await bus.send(queue, 'the next one')
      for await (const delivery of bus.receive(queue)) {
        assert.equal(delivery.body, 'the next one', 'what was acknowledged after two releases came once more')
        await delivery.ack()
        break
      }
    },
  },
  {
    number: 14,
    title: '300 releases spread over consumers, then everything is consumed',
    async run(stage) {
      const buses = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const sent: string[] = []
      for (let n = 0; n < 300; n++) sent.push((await buses[0]!.send(queue, n)).id)
      const released = new Set<string>()
      const consumed: string[] = []
      const releasedBy = [0, 0, 0, 0]
      const done = new AbortController()
      const consume = async (index: number) => {
        const bus = buses[index % buses.length]!
        for await (const delivery of bus.receive(queue, { window: 20, signal: done.signal })) {
          const id = delivery.id!
          if (released.has(id)) {
            await delivery.ack()
            consumed.push(id)
            if (consumed.length >= 300) done.abort()
          } else {
            released.add(id)
            releasedBy[index]! += 1
            await delivery.release()
          }
        }
      }
      await settled(Promise.all(releasedBy.map((_, index) => consume(index))), '300 messages after 300 releases')
      assert.equal(released.size, 300)
      assert.ok(releasedBy.filter(count => count > 0).length > 1, `the releases were spread: ${releasedBy}`)
      assertSameIds(consumed, sent)
    },
  },
  {
    number: 16,
    title: 'a consumer process killed between its effect and its ack: redelivered, never lost',
    source: 'JasperFx/wolverine#4162',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const sent: string[] = []
      for (let n = 0; n < 20; n++) sent.push((await bus.send(queue, n)).id)
      const { url } = stage.engine
      if (!stage.capabilities.properties.shared) {
        // Another process of the same URL has an engine of its own: it takes nothing from here.
        const stranger = await stage.worker({ do: 'look', url, queue })
        await stranger.reported('looked')
        assert.deepEqual(stranger.reports.at(-1), { event: 'looked', exists: false })
      } else {
        const worker = await stage.worker({ do: 'hang', url, queue, concurrency: 5 })
        await worker.reported('effect', 5)
        await worker.kill()
        const effects = worker.reports.flatMap(report => (report.event === 'effect' ? [report.id!] : []))
        assert.equal(new Set(effects).size, 5)
        for (const id of effects) assert.ok(sent.includes(id))
      }
      const received: string[] = []
      await bus.handle(queue, (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length >= 20,
        () => `all 20 messages after the kill; ${received.length} came`,
      )
      assertSameIds(received, sent)
      return stage.capabilities.properties.shared ? 'pass' : 'weaker'
    },
  },
  {
    number: 18,
    title: 'a cancelled handler neither acks nor releases; its message is redelivered',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const sent = [(await bus.send(queue, 'returns')).id, (await bus.send(queue, 'throws')).id]
      const failures: unknown[] = []
      let [started, cancelled] = [0, 0]
      const consumer = await bus.handle(
        queue,
        async (body, ctx) => {
          started += 1
          await new Promise(resolve => ctx.signal.addEventListener('abort', resolve))
          cancelled += 1
          if (body === 'throws') throw new Error('cancelled')
        },
        { onError: error => void failures.push(error) },
      )
      await eventually(
        () => started === 2,
        () => `two handlers to start; ${started} did`,
      )
      await settled(consumer.stop({ deadlineMs: 0 }), 'stop() with a deadline of 0')
      await eventually(
        () => cancelled === 2,
        () => `both signals to fire; ${cancelled} did`,
      )
      const received: string[] = []
      await bus.handle(queue, (_, ctx) => void received.push(ctx.id!))
      await eventually(
        () => received.length >= 2,
        () => `both messages again; ${received.length} came`,
      )
      assertSameIds(received, sent)
      assert.deepEqual(failures, [])
    },
  },
  {
    number: 20,
    title: 'settling twice, or after close, is a typed error and changes nothing',
    async run(stage) {
      const bus = await stage.connect()
      const other = await stage.connect()
      const queue = stage.name('queue')
      for (const body of ['acked', 'left open', 'open at close']) await bus.send(queue, body)
      const held: Delivery<unknown>[] = []
      const closing = gate()
      const loop = (async () => {
        for await (const delivery of bus.receive(queue, { window: 3 })) {
          held.push(delivery)
          if (delivery.body === 'acked') {
            await delivery.ack()
            await rejectsWith('already-settled', delivery.ack())
            await rejectsWith('already-settled', delivery.release())
            await rejectsWith('already-settled', delivery.deadLetter('twice'))
          }
          if (held.length === 3) {
            closing.open()
            break
          }
        }
      })()
      await settled(closing.opened, 'three deliveries')
      await settled(loop, 'the loop to be left')
      await settled(bus.close(), 'close()')
      for (const delivery of held.filter(({ body }) => body !== 'acked')) {
        for (const late of [() => delivery.ack(), () => delivery.release(), () => delivery.deadLetter('late')]) {
          await rejectsWith(['closed', 'already-settled', 'delivery-stale'], late())
        }
      }
      const bodies: unknown[] = []
      await other.handle(queue, body => void bodies.push(body))
      await eventually(
        () => bodies.length >= 2,
        () => `the two that were left; came: ${bodies}`,
      )
      await other.send(queue, 'last')
      await eventually(
        () => bodies.includes('last'),
        () => 'the last message',
      )
      assert.deepEqual(bodies.map(String).sort(), ['last', 'left open', 'open at close'])
    },
  },
]
