import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { AuditRecord, DeadLetter, DeadLetterProgress } from '@chasqui/core'
import { command, event } from '@chasqui/core'
import { expect, onTestFinished, test } from 'vitest'
import * as z from 'zod'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'
import { depths, fill, lettersIn, numbered } from './letters.ts'

async function idsOf(list: AsyncIterable<DeadLetter>): Promise<(string | undefined)[]> {
  const ids: (string | undefined)[] = []
  for await (const letter of list) ids.push(letter.id)
  return ids
}

async function all(list: AsyncIterable<DeadLetter>): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = []
  for await (const letter of list) letters.push(letter)
  return letters
}

test('a real failure is listed with its reason, and sent back as it was sent, with attempts to be counted anew', async () => {
  const bus = await memoryBus()
  const queue = ownName()
  let broken = true
  class NoCard extends Error {}
  const handled: unknown[] = []
  await bus.handle(
    queue,
    (body, ctx) => {
      if (broken) throw new NoCard('no card')
      handled.push({ body, id: ctx.id, key: ctx.key, headers: { ...ctx.headers }, attempt: ctx.attempt })
    },
    { retry: { attempts: 2 } },
  )
  const { id } = await bus.send(queue, { amount: 1 }, { key: 'k', headers: { mine: 1 } })
  const letters = bus.deadLetters(queue)
  const [letter] = await eventually('the letter is there', async () => {
    const found = await all(letters.list())
    return found.length === 1 && found
  })
  expect(letter).toMatchObject({
    id,
    key: 'k',
    originalDestination: queue,
    error: { code: 'handler-failed', type: 'NoCard', message: 'no card' },
    attempts: 2,
    consumer: 'core-test',
    headers: { mine: 1 },
  })
  expect(letter!.decode()).toEqual({ amount: 1 })
  expect(letter!.lastFailedAt!.getTime()).toBeGreaterThanOrEqual(letter!.firstFailedAt!.getTime())
  broken = false
  expect(await letters.redrive()).toMatchObject({ total: 1, matched: 1, done: 1, failed: 0 })
  await eventually('it is handled', () => handled.length > 0)
  expect(handled).toEqual([{ body: { amount: 1 }, id, key: 'k', headers: { mine: 1 }, attempt: 1 }])
  expect(await idsOf(letters.list())).toEqual([])
  expect(ofKind(bus.told, 'redriven')).toMatchObject([{ id, destination: queue, by: 'core-test', isEdited: false }])
})

test('a letter that died of its time to live does not die of it again when it is sent back', async () => {
  const bus = await memoryBus()
  const queue = ownName()
  await bus.declare([{ queue }])
  const { id } = await bus.send(queue, 'late', { ttlMs: 1 })
  const letters = bus.deadLetters(queue)
  await eventually('it has expired', async () => (await idsOf(letters.list())).length === 1)
  expect(await letters.redrive()).toMatchObject({ done: 1 })
  const handled: unknown[] = []
  await bus.handle(queue, (body, ctx) => handled.push([body, ctx.id]))
  await eventually('it is handled', () => handled.length > 0)
  expect(handled).toEqual([['late', id]])
})

test('a subscription’s letters go back to that subscription alone', async () => {
  const bus = await memoryBus()
  const Placed = event<{ n: number }>(ownName())
  let broken = true
  const billed: unknown[] = []
  const shipped: unknown[] = []
  await bus.subscribe(
    Placed,
    'billing',
    body => {
      if (broken) throw new Error('no')
      billed.push(body)
    },
    { retry: { attempts: 1 } },
  )
  await bus.subscribe(Placed, 'shipping', body => void shipped.push(body))
  await bus.publish(Placed, { n: 1 })
  const letters = bus.deadLetters({ topic: Placed, subscription: 'billing' })
  await eventually('the letter is there', async () => (await idsOf(letters.list())).length === 1)
  broken = false
  await letters.redrive()
  await eventually('it is handled', () => billed.length > 0)
  expect([billed, shipped]).toEqual([[{ n: 1 }], [{ n: 1 }]])
})

test.each([
  ['error, by code', { error: 'handler-timeout' }, ['m1']],
  ['error, by class', { error: 'TypeError' }, ['m2']],
  ['type', { type: 'refund' }, ['m3']],
  ['key', { key: 'k' }, ['m4']],
  ['ids', { ids: ['m0', 'm5', 'nobody'] }, ['m0', 'm5']],
  ['since', { since: new Date('2026-03-01') }, ['m5']],
  ['until', { until: new Date('2026-02-02') }, ['m0', 'm1', 'm2', 'm3', 'm4']],
  ['where', { where: (letter: DeadLetter) => letter.body.length === 2 }, ['m0']],
  ['several at once', { ids: ['m0', 'm3'], type: 'refund' }, ['m3']],
  ['none', {}, ['m0', 'm1', 'm2', 'm3', 'm4', 'm5']],
])('[filter] %s', async (_, filter, ids) => {
  const failedAt = new Date('2026-02-01')
  const { letters } = await lettersIn([
    { id: 'm0', failedAt, body: '{}' },
    { id: 'm1', failedAt, error: 'handler-timeout' },
    { id: 'm2', failedAt, errorType: 'TypeError' },
    { id: 'm3', failedAt, type: 'refund' },
    { id: 'm4', failedAt, key: 'k' },
    { id: 'm5', failedAt: new Date('2026-03-01') },
  ])
  expect(await idsOf(letters.list(filter))).toEqual(ids)
})

test('listing changes nothing: the same letters in the same order, also when the list is left early', async () => {
  const { letters, queue, driver } = await lettersIn(numbered(1200))
  const ids = numbered(1200).map(({ id }) => id)
  expect(await idsOf(letters.list())).toEqual(ids)
  expect(await idsOf(letters.list({}, { limit: 3 }))).toEqual(['m0', 'm1', 'm2'])
  for await (const letter of letters.list()) if (letter.id === 'm700') break
  expect(await idsOf(letters.list())).toEqual(ids)
  expect(await depths(driver, queue)).toEqual({ letters: 1200, messages: 0 })
})

test('what does not fit stays in its place, and what does arrives in the order of the letters', async () => {
  const { bus, letters, queue } = await lettersIn(numbered(1200, at => ({ error: at % 3 === 0 ? 'a' : 'b' })))
  expect(await letters.redrive({ error: 'a' })).toMatchObject({ total: 1200, seen: 1200, matched: 400, done: 400 })
  expect(await idsOf(letters.list())).toEqual(numbered(1200).flatMap(({ id }, at) => (at % 3 === 0 ? [] : [id])))
  const arrived: (string | undefined)[] = []
  for await (const delivery of bus.receive(queue)) {
    arrived.push(delivery.id)
    await delivery.ack()
    if (arrived.length === 400) break
  }
  expect(arrived).toEqual(numbered(1200).flatMap(({ id }, at) => (at % 3 === 0 ? [id] : [])))
})

test('[limit] [dryRun] end after so many, and do nothing', async () => {
  const { letters, queue, driver } = await lettersIn(numbered(10))
  const dry = await letters.redrive({}, { dryRun: true, limit: 4 })
  expect(dry).toMatchObject({ matched: 4, done: 0 })
  expect(await letters.discard({}, { dryRun: true })).toMatchObject({ matched: 10, done: 0 })
  expect(await depths(driver, queue)).toEqual({ letters: 10, messages: 0 })
  expect(await letters.redrive({}, { limit: 4 })).toMatchObject({ matched: 4, done: 4 })
  expect(await depths(driver, queue)).toEqual({ letters: 6, messages: 4 })
  expect((await idsOf(letters.list()))[0]).toBe('m4')
})

test('letters that come while it runs are not taken: what fails again does not go round', async () => {
  const { bus, letters, queue } = await lettersIn(numbered(5))
  let calls = 0
  await bus.handle(
    queue,
    () => {
      calls++
      throw new Error('still broken')
    },
    { retry: { attempts: 1 } },
  )
  expect(await letters.redrive()).toMatchObject({ total: 5, done: 5 })
  await eventually('all came back', async () => (await idsOf(letters.list())).length === 5)
  expect(calls).toBe(5)
})

test('[ratePerSecond] keeps to it, [onProgress] tells how far it is', async () => {
  const { letters } = await lettersIn(numbered(20))
  const told: DeadLetterProgress[] = []
  const began = performance.now()
  await letters.redrive({}, { ratePerSecond: 100, onProgress: progress => told.push(progress) })
  // The first goes at once.
  expect(performance.now() - began).toBeGreaterThan(90)
  expect(told.at(-1)).toMatchObject({ total: 20, seen: 20, matched: 20, done: 20, failed: 0 })
  expect(told.map(({ done }) => done)).toEqual(told.map(({ done }) => done).toSorted((a, b) => a - b))
})

test('[signal] ends it as `aborted`, and running it again goes on', async () => {
  const { letters, queue, driver } = await lettersIn(numbered(50))
  const ended = new AbortController()
  const onProgress = ({ done }: DeadLetterProgress) => {
    if (done >= 5) ended.abort()
  }
  const error = await errorOf(letters.redrive({}, { ratePerSecond: 20, signal: ended.signal, onProgress }))
  expect(error.code).toBe('aborted')
  expect(error.message).toMatch(/after \d+ of 50 letters/)
  const { letters: left, messages } = await depths(driver, queue)
  expect(left + messages).toBe(50)
  expect(left).toBeGreaterThan(0)
  expect(await letters.redrive()).toMatchObject({ done: left })
  expect(await depths(driver, queue)).toEqual({ letters: 0, messages: 50 })
  expect((await errorOf(letters.discard({}, { signal: AbortSignal.abort() }))).code).toBe('aborted')
})

test('a letter whose destination is gone stays and is told of; the others go', async () => {
  const { letters, queue, driver } = await lettersIn(numbered(4, at => (at === 1 ? { to: ownName() } : {})))
  const result = await letters.redrive()
  expect(result).toMatchObject({ matched: 4, done: 3, failed: 1 })
  expect(result.failures).toMatchObject([{ id: 'm1', error: { code: 'destination-missing' } }])
  expect(await depths(driver, queue)).toEqual({ letters: 1, messages: 3 })
})

test('[discard] deletes those that fit, and says who did it', async () => {
  const { letters, queue, driver, told } = await lettersIn(numbered(3))
  expect(await letters.discard({ ids: ['m1'] }, { by: 'ana' })).toMatchObject({ matched: 1, done: 1 })
  expect(await depths(driver, queue)).toEqual({ letters: 2, messages: 0 })
  expect(ofKind(told, 'discarded')).toEqual([{ kind: 'discarded', source: queue, id: 'm1', type: 'charge', by: 'ana' }])
})

test('[edit] sends one back with another body, headers and key; the rest is as it was', async () => {
  const { bus, letters, queue } = await lettersIn(numbered(3))
  const change = { body: { amount: 2 }, headers: { more: true, mine: undefined }, key: 'new' }
  expect(await letters.edit('m1', change)).toMatchObject({ matched: 1, done: 1 })
  for await (const delivery of bus.receive(queue)) {
    expect(delivery).toMatchObject({ id: 'm1', type: 'charge', key: 'new', body: { amount: 2 } })
    expect(delivery.headers).toEqual({ more: true })
    await delivery.ack()
    break
  }
  expect(await idsOf(letters.list())).toEqual(['m0', 'm2'])
})

test('[edit] is checked by the contract where the letter is of its type; what does not fit stays', async () => {
  const Charge = command(ownName(), z.object({ amount: z.number() }))
  const { bus, queue, driver } = await lettersIn([{ id: 'a', type: Charge.type }], {}, Charge.destination)
  const letters = bus.deadLetters(Charge)
  expect((await errorOf(letters.edit('a', { body: { amount: 'two' } }))).code).toBe('body-invalid')
  expect((await errorOf(letters.edit('a', { body: Buffer.from('{"amount":"two"}') }))).code).toBe('body-invalid')
  expect((await errorOf(letters.edit('a', { body: Buffer.from('{') }))).code).toBe('body-not-decodable')
  expect((await errorOf(letters.edit('a', { headers: { chasqui_x: 1 } }))).code).toBe('header-invalid')
  expect((await errorOf(letters.edit('a', { body: 'x'.repeat(1_000_001) }))).code).toBe('body-too-large')
  expect((await errorOf(letters.edit('b', { key: 'k' }))).code).toBe('dead-letter-missing')
  expect(await depths(driver, queue)).toEqual({ letters: 1, messages: 0 })
  await letters.edit('a', { body: Buffer.from('{"amount": 2}') })
  expect(await depths(driver, queue)).toEqual({ letters: 0, messages: 1 })
})

test('[show] the letter of that id, or nothing', async () => {
  const { letters } = await lettersIn(numbered(3))
  expect((await letters.show('m2'))?.id).toBe('m2')
  expect(await letters.show('m3')).toBeUndefined()
})

test('[audit] JSON lines in a file, appended, with what could not be done; or a function', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'chasqui-audit-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  const audit = join(directory, 'audit.jsonl')
  const gone = ownName()
  const { letters, queue } = await lettersIn(numbered(3, at => (at === 1 ? { to: gone, key: 'k' } : {})))
  await letters.redrive({ ids: ['m0', 'm1'] }, { by: 'ana', audit })
  await letters.discard({ ids: ['m2'] }, { audit })
  const lines = readFileSync(audit, 'utf8').trimEnd().split('\n')
  const common = { source: queue, type: 'charge', error: 'handler-failed' }
  expect(lines.map(line => JSON.parse(line))).toMatchObject([
    { by: 'ana', action: 'redrive', id: 'm0', to: queue, outcome: 'done', ...common },
    { by: 'ana', action: 'redrive', id: 'm1', to: gone, key: 'k', outcome: 'destination-missing', ...common },
    { by: 'core-test', action: 'discard', id: 'm2', outcome: 'done', ...common },
  ])
  const told: AuditRecord[] = []
  await letters.discard({}, { audit: record => told.push(record), dryRun: true })
  expect(told).toEqual([])
  await letters.discard({}, { audit: record => told.push(record) })
  expect(told).toMatchObject([{ id: 'm1' }])
})

test('[audit] what cannot be put on record is not done', async () => {
  const { letters, queue, driver } = await lettersIn(numbered(3))
  const error = await errorOf(letters.discard({}, { audit: join(tmpdir(), ownName(), 'audit.jsonl') }))
  expect(error.code).toBe('audit-failed')
  const audit = () => Promise.reject(new Error('disk full'))
  expect((await errorOf(letters.discard({}, { audit }))).message).toMatch(/disk full/)
  expect(await depths(driver, queue)).toEqual({ letters: 3, messages: 0 })
  // A copy that was sent before is there twice rather than gone without a record.
  expect((await errorOf(letters.redrive({}, { audit }))).code).toBe('audit-failed')
  expect(await depths(driver, queue)).toMatchObject({ letters: 3 })
})

test('an engine that cannot move in one step: copy, confirm, acknowledge; the copy refused, the letter stays', async () => {
  let refuse = true
  const altering = {
    driver: (real: Parameters<NonNullable<NonNullable<Parameters<typeof lettersIn>[1]>['driver']>>[0]) => ({
      capabilities: {
        ...real.capabilities,
        operations: { ...real.capabilities.operations, transfer: 'unsupported' as const },
      },
      send: async (...given: Parameters<typeof real.send>) => {
        if (!refuse) return await real.send(...given)
        const { ChasquiError } = await import('@chasqui/core')
        return given[0].map(
          () => ({ ok: false, error: new ChasquiError('send-refused', 'no'), inDoubt: false }) as const,
        )
      },
    }),
  }
  const { letters, queue, driver } = await lettersIn(numbered(3), altering)
  expect(await letters.redrive()).toMatchObject({ done: 0, failed: 3 })
  expect(await depths(driver, queue)).toEqual({ letters: 3, messages: 0 })
  refuse = false
  expect(await letters.redrive()).toMatchObject({ done: 3, failed: 0 })
  expect(await depths(driver, queue)).toEqual({ letters: 0, messages: 3 })
})

test('a lost connection in the midst: what was sent and comes again is not sent again', async () => {
  let sends = 0
  const altering = {
    driver: (real: Parameters<NonNullable<NonNullable<Parameters<typeof lettersIn>[1]>['driver']>>[0]) => ({
      capabilities: {
        ...real.capabilities,
        operations: { ...real.capabilities.operations, transfer: 'unsupported' as const },
      },
      send: async (...given: Parameters<typeof real.send>) => {
        const results = await real.send(...given)
        // After the first copies are confirmed, and before they are acknowledged.
        if (sends++ === 0) lose()
        return results
      },
    }),
  }
  const altered = await lettersIn(numbered(1000), altering)
  const { letters, queue, driver, sinks } = altered
  const lose = () => {
    const stop = receivers.at(-1)!
    void stop().then(() => sinks.at(-1)!.revoke('', 0, 0))
  }
  const receivers: (() => Promise<void>)[] = []
  const real = driver.receive.bind(driver)
  driver.receive = async (...given) => {
    const receiver = await real(...given)
    receivers.push(() => receiver.stop())
    return receiver
  }
  const result = await letters.redrive()
  expect(result).toMatchObject({ total: 1000, done: 1000, failed: 0 })
  expect(receivers.length).toBeGreaterThan(1)
  expect(await depths(driver, queue)).toEqual({ letters: 0, messages: 1000 })
})

test('the dead-letter queue’s own name means the same letters; letters without our headers belong to the queue', async () => {
  const { bus, queue, driver, letters } = await lettersIn([])
  await driver.send(
    [
      {
        to: { kind: 'queue', name: `${queue}.dead-letter` },
        message: {
          attributes: {},
          headers: { 'x-death': [{ time: new Date('2026-02-01') }], 'x-first-death-reason': 'delivery_limit' },
          durable: true,
          body: Buffer.from('raw'),
        },
      },
    ],
    Date.now() + 10_000,
  )
  const [letter] = await all(bus.deadLetters(`${queue}.dead-letter`).list())
  expect(letter).toMatchObject({
    id: undefined,
    originalDestination: queue,
    reason: 'delivery_limit',
    attempts: undefined,
    lastFailedAt: new Date('2026-02-01'),
    headers: {},
  })
  expect(Buffer.from(letter!.decode() as Uint8Array).toString()).toBe('raw')
  expect(await letters.redrive()).toMatchObject({ done: 1 })
  expect(await depths(driver, queue)).toEqual({ letters: 0, messages: 1 })
})

test('letters that another reader has in hand are not seen, and the operation ends all the same', async () => {
  const { bus, letters, queue, driver } = await lettersIn(numbered(4))
  await fill(driver, queue, [{ id: 'late' }])
  const held = bus.receive(`${queue}.dead-letter`, { window: 2 })
  await held.next()
  expect(await idsOf(letters.list())).toEqual(['m2', 'm3', 'late'])
  await held.return()
  expect((await idsOf(letters.list())).length).toBe(5)
})

test('closing the bus ends what runs, with `closed`, in good order: each letter is at one place', async () => {
  const { bus, letters, queue, driver } = await lettersIn(numbered(50))
  const begun = Promise.withResolvers<void>()
  const redriven = errorOf(letters.redrive({}, { ratePerSecond: 20, onProgress: () => begun.resolve() }))
  await begun.promise
  const closed = bus.close()
  expect((await redriven).code).toBe('closed')
  await closed
  const { letters: left, messages } = await depths(driver, queue)
  expect(left + messages).toBe(50)
  expect((await errorOf(letters.discard({}))).code).toBe('closed')
  expect((await errorOf(letters.list().next())).code).toBe('closed')
})

test('a list that is read while the bus closes fails as `closed` rather than to end as if that were all', async () => {
  const { bus, letters } = await lettersIn(numbered(600))
  const list = letters.list()
  await list.next()
  await bus.close()
  const rest = async () => {
    for await (const _ of list);
  }
  expect((await errorOf(rest())).code).toBe('closed')
})

test('a consumer of a dead-letter queue takes letters as they are, however often they were looked at', async () => {
  const { bus, letters, told } = await lettersIn(numbered(5))
  for (let look = 0; look < 7; look++) await idsOf(letters.list())
  const handled: (string | undefined)[] = []
  await bus.handle(letters.queue, (_, ctx) => void handled.push(ctx.id), { concurrency: 1 })
  await eventually('all are handled', () => handled.length === 5)
  expect(handled).toEqual(['m0', 'm1', 'm2', 'm3', 'm4'])
  expect(ofKind(told, 'dead-letter-failed')).toEqual([])
})

test('bad input is refused with its code', async () => {
  const { bus, letters } = await lettersIn([])
  const Placed = event(ownName())
  const cases: [() => unknown, string][] = [
    [() => bus.deadLetters(Placed), 'destination-kind'],
    [() => bus.deadLetters('no spaces'), 'name-invalid'],
    [() => bus.deadLetters({} as never), 'option-invalid'],
    [() => bus.deadLetters({ topic: 'a', subscription: 'b.c' }), 'name-invalid'],
    [() => bus.deadLetters({ topic: command('x') as never, subscription: 'b' }), 'destination-kind'],
    [() => bus.deadLetters(ownName()).list().next(), 'destination-missing'],
    [() => letters.list({ eror: 'x' } as never).next(), 'option-invalid'],
    [() => letters.list({ ids: [1] as never }).next(), 'option-invalid'],
    [() => letters.list({ since: new Date(2), until: new Date(1) }).next(), 'option-invalid'],
    [() => letters.list({}, { limit: 0 }).next(), 'option-invalid'],
    [() => letters.redrive({}, { ratePerSecond: 0 }), 'option-invalid'],
    [() => letters.redrive({}, { audit: 7 as never }), 'option-invalid'],
    [() => letters.discard(undefined as never), 'option-invalid'],
    [() => letters.edit('x', {}), 'option-invalid'],
    [() => letters.edit('', { key: 'k' }), 'option-invalid'],
    [() => letters.show(''), 'option-invalid'],
  ]
  for (const [failing, code] of cases)
    expect((await errorOf(async () => await failing())).code, String(failing)).toBe(code)
})
