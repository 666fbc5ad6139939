/** Section C: what fails is tried again as agreed, and what is given up lies in the dead-letter queue, whole and with its reason. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { command } from '@chasqui/core'
import { rejectsWith } from './delivery.ts'
import { eventually, gate, settled } from './eventually.ts'
import { passed, schemaOf, sendRaw, take, takeRaw } from './reading.ts'
import type { Scenario } from './scenario.ts'

/** How much later than asked for a delayed attempt may begin, in milliseconds: ten times the second that the docs speak of. */
const latestMs = 10_000

export const failures: readonly Scenario[] = [
  {
    number: 21,
    title: 'a handler that always throws: after the configured attempts the message is a dead letter',
    source: 'golevelup/nestjs#310',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      let attempts = 0
      await bus.handle(
        queue,
        () => {
          attempts += 1
          throw new Error('never')
        },
        { retry: { attempts: 3, delays: [], immediate: 2 } },
      )
      const { id } = await bus.send(queue, 'always fails')
      const [dead] = await take(bus, `${queue}.dead-letter`, 1)
      assert.equal(dead!.id, id)
      assert.equal(dead!.body, 'always fails')
      assert.equal(attempts, 3)
    },
  },
  {
    number: 22,
    title: 'an error matched as fatal makes a dead letter on the first attempt',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      let attempts = 0
      class Hopeless extends Error {}
      await bus.handle(
        queue,
        () => {
          attempts += 1
          throw new Hopeless('no use')
        },
        { retry: { rules: [{ when: Hopeless, fatal: true }] } },
      )
      const { id } = await bus.send(queue, 1)
      const [dead] = await take(bus, `${queue}.dead-letter`, 1)
      assert.equal(dead!.id, id)
      assert.equal(attempts, 1)
    },
  },
  {
    number: 23,
    title: 'a handler that fails twice and then succeeds: three attempts, one effect, no dead letter',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const dead: unknown[] = []
      await bus.handle(`${queue}.dead-letter`, body => void dead.push(body))
      const attempts: number[] = []
      const effects: unknown[] = []
      await bus.handle(
        queue,
        (body, ctx) => {
          attempts.push(ctx.attempt)
          if (ctx.attempt < 3) throw new Error('not yet')
          effects.push(body)
        },
        { retry: { attempts: 3, immediate: 1, delays: [20] } },
      )
      await bus.send(queue, 'third time')
      await eventually(
        () => effects.length > 0,
        () => `one effect; attempts so far: ${attempts}`,
      )
      await bus.send(queue, 'after it')
      await eventually(
        () => effects.length > 1,
        () => 'the next message',
      )
      assert.deepEqual(attempts.slice(0, 3), [1, 2, 3])
      assert.deepEqual(effects, ['third time', 'after it'])
      assert.deepEqual(dead, [])
    },
  },
  {
    number: 24,
    title: 'a delayed retry comes not before its delay, and not much after it',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const delayMs = 400
      const begun: number[] = []
      let failedAt = 0
      await bus.handle(
        queue,
        (_, ctx) => {
          begun.push(Date.now())
          if (ctx.attempt === 1) {
            failedAt = Date.now()
            throw new Error('later')
          }
        },
        { retry: { attempts: 2, delays: [delayMs] } },
      )
      await bus.send(queue, 1)
      await eventually(
        () => begun.length === 2,
        () => `a second attempt; there were ${begun.length}`,
      )
      const waitedMs = begun[1]! - failedAt
      assert.ok(waitedMs >= delayMs, `the second attempt came ${delayMs - waitedMs} ms early`)
      assert.ok(waitedMs <= delayMs + latestMs, `the second attempt came ${waitedMs - delayMs} ms late`)
      return passed(stage.capabilities.operations.delay)
    },
  },
  {
    number: 25,
    title: 'while one message waits for its retry the others flow',
    source: 'dapr/components-contrib#237',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const handled: unknown[] = []
      await bus.handle(
        queue,
        (body, ctx) => {
          if (body === 'waits' && ctx.attempt === 1) throw new Error('later')
          handled.push(body)
        },
        // As many as may be unsettled at once; one that kept its place would be noticed.
        { concurrency: 2, window: 2, retry: { attempts: 2, delays: [3000] } },
      )
      await bus.send(queue, 'waits')
      for (let n = 0; n < 50; n++) await bus.send(queue, n)
      await eventually(
        () => handled.length === 51,
        () => `51 messages; ${handled.length} came`,
      )
      assert.equal(handled.at(-1), 'waits', 'the others did not wait for the one')
    },
  },
  {
    number: 26,
    title: 'a dead letter has the original bytes and headers, and bounded headers that say why it is there',
    source: 'moleculerjs/moleculer-channels#86',
    async run(stage) {
      const bus = await stage.connect({ name: 'the-consumer' })
      const queue = stage.name('queue')
      class Refused extends Error {
        override readonly name = 'Refused'
      }
      await bus.handle(
        queue,
        () => {
          throw new Refused('no '.repeat(50_000))
        },
        { retry: { attempts: 2, immediate: 1 } },
      )
      const before = Date.now()
      const body = Buffer.from([0, 1, 254, 255])
      const { id } = await bus.send(queue, body, { headers: { größe: '☃', n: 1 }, key: 'k' })
      const [dead] = await take(bus, `${queue}.dead-letter`, 1)
      assert.equal(dead!.id, id)
      assert.equal(dead!.key, 'k')
      assert.deepEqual(Buffer.from(dead!.body as Uint8Array), body)
      const headers = dead!.headers
      assert.equal(headers.größe, '☃')
      assert.equal(headers.n, 1)
      assert.equal(headers.chasqui_error_type, 'Refused')
      assert.ok(String(headers.chasqui_error_message).startsWith('no no '))
      assert.ok(String(headers.chasqui_error_message).length <= 1000, 'the message is bounded')
      assert.ok(String(headers.chasqui_error_stack).length <= 4000, 'the stack is bounded')
      assert.equal(headers.chasqui_attempts, 2)
      const [first, last] = [headers.chasqui_first_failed_at, headers.chasqui_last_failed_at].map(at =>
        Date.parse(String(at)),
      )
      assert.ok(
        before <= first! && first! <= last! && last! <= Date.now(),
        `${first} and ${last} are the failures' times`,
      )
      assert.equal(headers.chasqui_original_destination, queue)
      assert.equal(headers.chasqui_consumer, 'the-consumer')
    },
  },
  {
    number: 27,
    title: 'what a handler changes in the headers is gone at the next attempt, and not in the dead letter',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const seen: unknown[] = []
      await bus.handle(
        queue,
        (_, ctx) => {
          seen.push({ ...ctx.headers, chasqui_attempt: undefined, chasqui_first_failed_at: undefined })
          const headers = ctx.headers as Record<string, unknown>
          headers.n = 99
          headers.mine = true
          throw new Error('again')
        },
        { retry: { attempts: 3, immediate: 1, delays: [20] } },
      )
      await bus.send(queue, 1, { headers: { n: 1 } })
      const [dead] = await take(bus, `${queue}.dead-letter`, 1)
      const original = { n: 1, chasqui_attempt: undefined, chasqui_first_failed_at: undefined }
      assert.deepEqual(seen, [original, original, original])
      assert.equal(dead!.headers.n, 1)
      assert.equal(dead!.headers.mine, undefined)
    },
  },
  {
    number: 28,
    title: 'a body that cannot be decoded, or fails its schema, is a dead letter without a retry',
    source: 'golevelup/nestjs#137',
    async run(stage) {
      const bus = await stage.connect()
      const type = stage.name('typed')
      const Typed = command(
        type,
        schemaOf<number>('a number is expected', value => typeof value === 'number'),
      )
      let calls = 0
      const failed: unknown[] = []
      await bus.handle(Typed, () => void calls++, { onError: error => void failed.push(error) })
      const bodies = ['{ no json', JSON.stringify('a string')].map(text => Buffer.from(text))
      for (const [index, body] of bodies.entries()) {
        await sendRaw(stage, type, { id: `${type}.${index}`, type, contentType: 'application/json', body })
      }
      const dead = await takeRaw(stage, `${type}.dead-letter`, 2)
      const codes = dead.map(({ id, headers }) => [id, headers.chasqui_error_code, headers.chasqui_attempts])
      assert.deepEqual(codes.sort(), [
        [`${type}.0`, 'body-not-decodable', 1],
        [`${type}.1`, 'body-invalid', 1],
      ])
      assert.equal(calls, 0)
      assert.equal(failed.length, 2, 'each was tried once')
      await bus.send(Typed, 7)
      await eventually(
        () => calls === 1,
        () => 'the next message, which is as agreed',
      )
    },
  },
  {
    number: 29,
    title: 'an `onError` hook that throws emits `hook-failed`, and the message is retried all the same',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const told: string[] = []
      bus.observe(event => void told.push(event.kind), ['hook-failed'])
      const done = gate()
      await bus.handle(
        queue,
        (_, ctx) => {
          if (ctx.attempt < 3) throw new Error('again')
          done.open()
        },
        {
          onError: (_, ctx) => {
            if (ctx.attempt === 1) throw new Error('the hook')
            return Promise.reject(new Error('the hook, later'))
          },
          retry: { attempts: 3, immediate: 2 },
        },
      )
      await bus.send(queue, 1)
      await settled(done.opened, 'the third attempt')
      await eventually(
        () => told.length === 2,
        () => `two events; there were ${told.length}`,
      )
    },
  },
  {
    number: 30,
    title: 'a message sent from an `onError` hook is sent',
    async run(stage) {
      const bus = await stage.connect()
      const [queue, alarms] = [stage.name('queue'), stage.name('alarms')]
      await bus.handle(
        queue,
        () => {
          throw new Error('broken')
        },
        {
          onError: async (error, ctx) => {
            await ctx.send(alarms, { failed: ctx.id, why: (error as Error).message })
          },
          retry: { attempts: 1 },
        },
      )
      const { id } = await bus.send(queue, 1)
      const [alarm] = await take(bus, alarms, 1)
      assert.deepEqual(alarm!.body, { failed: id, why: 'broken' })
      assert.equal(alarm!.causationId, id)
    },
  },
  {
    number: 31,
    title: 'with `faults: true` NAME.fault gets the intact original; there is never a fault of a fault',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const faults: { id: string | undefined; body: unknown; headers: object }[] = []
      const fails = () => {
        throw new Error('broken')
      }
      const options = { faults: true, retry: { attempts: 2, immediate: 1 } }
      await bus.subscribe(
        `${queue}.fault`,
        'watch',
        (body, ctx) => {
          faults.push({ id: ctx.id, body, headers: { ...ctx.headers } })
          fails()
        },
        options,
      )
      await bus.handle(queue, fails, options)
      const { id } = await bus.send(queue, { a: 1 }, { headers: { mine: 'x' } })
      await take(bus, `${queue}.dead-letter`, 1)
      await eventually(
        () => faults.length === 2,
        () => `two attempts at the fault; ${faults.length} came`,
      )
      const intact = { id, body: { a: 1 }, headers: { mine: 'x' } }
      assert.deepEqual(faults, [intact, intact])
      const [dead] = await take(bus, `${queue}.fault.watch.dead-letter`, 1)
      assert.equal(dead!.id, id)
      for (const name of [`${queue}.fault.fault`, `${queue}.fault.watch.fault`]) {
        await rejectsWith(
          'destination-missing',
          bus.subscribe(name, 'all', () => undefined, { declare: 'never' }),
        )
      }
    },
  },
  {
    number: 33,
    title: 'an expired message is never delivered',
    async run(stage) {
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const { expiry } = stage.capabilities.operations
      assert.notEqual(expiry, 'unsupported', 'an engine that cannot let messages expire needs a rule of its own here')
      await bus.send(queue, 'expires', { ttlMs: 100 })
      await bus.send(queue, 'stays')
      await bus.send(queue, 'expires too', { ttlMs: 100 })
      await bus.send(queue, 'lives long enough', { ttlMs: 600_000 })
      await sleep(300)
      const received: unknown[] = []
      await bus.handle(queue, body => void received.push(body))
      await bus.send(queue, 'last')
      await eventually(
        () => received.includes('last'),
        () => `the last message; came: ${received.join(', ')}`,
      )
      assert.deepEqual(received.map(String).sort(), ['last', 'lives long enough', 'stays'])
      return passed(expiry)
    },
  },
]
