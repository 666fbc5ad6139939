import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Bus, on, type WorkerHandler } from '@chasqui/core'
import { describe, expect, test } from 'vitest'
import { alteredBus } from '../altered-driver.ts'
import { errorOf, eventually, memoryBus, ofKind, ownName } from '../fixture.ts'

process.env.CHASQUI_TEST_RUN = `test-${randomUUID()}`
const { Echo, Step } = await import('./contracts.ts')

function module(name: string): URL {
  return new URL(`./threads/${name}.ts`, import.meta.url)
}

const tasks: WorkerHandler = { worker: module('tasks'), threads: 1 }

/** How many worker threads this process has. */
function threads(): number {
  return (process.report.getReport() as { readonly workers: readonly unknown[] }).workers.length
}

/** The first message of the queue. */
async function next(bus: Bus, queue: string): Promise<Record<string, unknown>> {
  for await (const delivery of bus.receive(queue)) {
    await delivery.ack()
    return delivery.body as Record<string, unknown>
  }
  throw new Error('the loop ended')
}

/** Sends the task and tells the code and the reason of its dead letter. */
async function deadLetterOf(bus: Awaited<ReturnType<typeof memoryBus>>, queue: string, task: object) {
  const { id } = await bus.send(queue, task)
  const dead = await eventually('a dead letter', () => ofKind(bus.told, 'dead-lettered').find(one => one.id === id))
  return { code: dead.code, attempts: dead.attempts, error: dead.error as Error & Record<string, unknown> }
}

/** The consumer still does what it is there for. */
async function expectWorking(bus: Bus, queue: string): Promise<void> {
  const to = ownName()
  await bus.send(queue, { do: 'tell', to })
  expect((await next(bus, to)).destination).toBe(queue)
}

describe('a worker', () => {
  test('handles messages in threads, with what is known of them', async () => {
    const bus = await memoryBus()
    const [queue, to] = [ownName(), ownName()]
    await bus.handle(queue, tasks)
    const { id } = await bus.send(queue, { do: 'tell', to }, { key: 'k', headers: { tenant: 'a' } })
    const told = await next(bus, to)
    expect(told).toMatchObject({
      id,
      type: queue,
      key: 'k',
      headers: { tenant: 'a' },
      attempt: 1,
      redelivered: false,
      destination: queue,
      contentType: 'application/json',
      body: { do: 'tell', to },
    })
    expect(told.threadId).toBeGreaterThan(0)
    expect(Date.parse(told.time as string)).toBeGreaterThan(Date.now() - 60_000)
    await eventually('the acknowledgement', () => ofKind(bus.told, 'handled').length === 1)
  })

  test('what it sends carries the correlation on', async () => {
    const bus = await memoryBus()
    const [queue, to] = [ownName(), ownName()]
    await bus.handle(queue, tasks)
    const { id } = await bus.send(queue, { do: 'tell', to })
    for await (const delivery of bus.receive(to)) {
      expect([delivery.correlationId, delivery.causationId]).toEqual([id, id])
      await delivery.ack()
      break
    }
  })

  test('answers requests; schemas are checked on the way in and out', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    await bus.handle(Echo, { worker: module('echo'), threads: 1 })
    expect(await bus.request(Echo, { text: 'ab' })).toEqual({ text: 'abab!' })
    await bus.send(Echo.destination, { text: 7 })
    const [dead] = await eventually('the one that does not fit', () => {
      const letters = ofKind(bus.told, 'dead-lettered')
      return letters.length > 0 && letters
    })
    expect(dead!.code).toBe('body-invalid')
  })

  test('sends, publishes and asks by contracts, whose functions run in the thread', async () => {
    const bus = await memoryBus()
    const [queue, to] = [ownName(), ownName()]
    const steps: unknown[] = []
    await bus.handle(Step, (body, ctx) => void steps.push([body.n, ctx.key, ctx.type]))
    await bus.handle(Echo, ({ text, count }) => ({ text: text.repeat(count) }))
    await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'send contracts', to })
    expect(await next(bus, to)).toEqual({
      refused: 'body-invalid',
      missing: 'name-invalid',
      aborted: 'aborted',
      bad: 'body-not-encodable',
      oks: [true, false],
    })
    await eventually('two steps', () => steps.length === 2)
    expect(steps).toEqual([
      [1, 'k', Step.type],
      [2, 'k', Step.type],
    ])
    await bus.send(queue, { do: 'ask', to })
    expect(await next(bus, to)).toEqual({ reply: { text: 'whowho!' } })
  })

  test('bytes come as a Buffer', async () => {
    const bus = await memoryBus()
    const [queue, to] = [ownName(), ownName()]
    await bus.handle(queue, { worker: module('bytes'), threads: 1 })
    await bus.send(queue, Buffer.from('raw'), { headers: { to } })
    expect(await next(bus, to)).toBe('true raw')
  })

  test('is one route of several, and handles a subscription', async () => {
    const bus = await memoryBus()
    const topic = ownName()
    const to = ownName()
    await bus.subscribe(topic, 'all', tasks)
    await bus.publish(topic, { do: 'tell', to })
    expect((await next(bus, to)).destination).toBe(topic)
    const consumer = await bus.handle([on(Echo, { worker: module('echo'), threads: 2 })])
    expect(consumer.concurrency).toBe(2)
    expect(await bus.request(Echo, { text: 'x', count: 3 })).toEqual({ text: 'xxx!' })
  })

  test('logs by the bus, also what cannot be cloned', async () => {
    const lines: unknown[] = []
    const line = (level: string) => (fields: object, message?: string) => void lines.push([level, fields, message])
    const logger = { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') }
    const bus = await memoryBus({ logger })
    const queue = ownName()
    await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'log' })
    await eventually('two lines', () => lines.filter(one => JSON.stringify(one).includes('depth')).length === 2)
    expect(lines).toContainEqual(['warn', expect.objectContaining({ queue, depth: '3' }), 'from the thread'])
    expect(lines).toContainEqual(['error', expect.objectContaining({ queue, depth: 4, attempt: 1 }), 'once more'])
  })

  test('the event loop of the process goes on while it computes, and threads work side by side', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(queue, { worker: module('tasks'), threads: 2 })
    expect(consumer.concurrency).toBe(2)
    let turns = 0
    const ticking = setInterval(() => {
      turns += 1
    }, 1)
    const spin = async () => (await bus.request(queue, { do: 'spin', ms: 100 })) as { threadId: number }
    // The second thread may be starting while the first one takes both.
    await eventually('two threads at once', async () => {
      const [one, other] = await Promise.all([spin(), spin()])
      return one.threadId !== other.threadId
    })
    clearInterval(ticking)
    expect(turns).toBeGreaterThan(10)
  })
})

describe('a worker whose handler fails', () => {
  test('errors keep their name, message, code and fields', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await bus.handle(queue, tasks)
    const { code, error } = await deadLetterOf(bus, queue, { do: 'fail' })
    expect(code).toBe('handler-failed')
    expect(error).toBeInstanceOf(Error)
    expect({ ...error, name: error.name, message: error.message }).toEqual({
      name: 'TypeError',
      message: 'a mistake',
      code: 'E_TEST',
      retryAfterMs: 1,
      hint: { deep: true },
    })
    expect(error.stack).toContain('tasks.ts')
    const ours = await deadLetterOf(bus, queue, { do: 'throw ours' })
    expect([ours.code, ours.error.details]).toEqual(['destination-full', { depth: 9 }])
    const value = await deadLetterOf(bus, queue, { do: 'throw a value' })
    expect([value.code, value.error.cause]).toEqual(['handler-failed', 'just text'])
  })

  test('ctx.retry() and ctx.deadLetter() do what they do elsewhere', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'retry' })
    await eventually('the second attempt', () => ofKind(bus.told, 'handled').some(({ attempt }) => attempt === 2))
    const dead = await deadLetterOf(bus, queue, { do: 'dead-letter' })
    expect([dead.code, dead.attempts, dead.error.message]).toEqual(['dead-lettered', 1, 'not this one'])
  })

  test.each([
    ['exit', /process\.exit\(3\)/],
    ['throw later', /nobody catches this/],
    ['reject later', /nobody catches this/],
  ])('[worker-crashed] "%s" costs that message an attempt and nothing else', async (trick, sentence) => {
    const bus = await memoryBus({ consume: { retry: { attempts: 2 } } })
    const queue = ownName()
    await bus.handle(queue, tasks)
    const { code, attempts, error } = await deadLetterOf(bus, queue, { do: trick })
    expect([code, attempts]).toEqual(['worker-crashed', 2])
    expect(error.message).toMatch(sentence)
    await expectWorking(bus, queue)
  })

  test('[maxHeapMb] a handler that eats all memory costs its attempt', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await bus.handle(queue, { ...tasks, maxHeapMb: 32 })
    const { code, error } = await deadLetterOf(bus, queue, { do: 'eat memory' })
    expect(code).toBe('worker-crashed')
    expect(error.details).toMatchObject({ outOfMemory: true })
    expect(error.message).toMatch(/32 MiB/)
    await expectWorking(bus, queue)
  })

  test('[timeoutMs] an endless loop is ended with its thread; neighbours are not disturbed', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 2 } } })
    const queue = ownName()
    await bus.handle(queue, { ...tasks, threads: 2 }, { timeoutMs: 500 })
    const neighbour = bus.request(queue, { do: 'spin', ms: 100 })
    const { code, attempts } = await deadLetterOf(bus, queue, { do: 'spin for ever' })
    expect([code, attempts]).toEqual(['handler-timeout', 2])
    expect(await neighbour).toMatchObject({ threadId: expect.any(Number) })
    await expectWorking(bus, queue)
  })

  test('[timeoutMs] counts from when a thread gets the message, not while it waits for one', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await bus.handle(queue, tasks, { timeoutMs: 1000, concurrency: 10 })
    const replies = await Promise.all(Array.from({ length: 8 }, () => bus.request(queue, { do: 'spin', ms: 300 })))
    expect(replies).toHaveLength(8)
  })

  test('[timeoutMs] the handler hears its signal before its thread ends', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const [queue, to] = [ownName(), ownName()]
    await bus.handle(queue, tasks, { timeoutMs: 50 })
    await bus.send(queue, { do: 'obey', to })
    expect(await next(bus, to)).toBe('handler-timeout')
  })

  test('an error between messages is told, and another thread takes over', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'crash when idle' })
    const told = await eventually('the event', () => ofKind(bus.told, 'hook-failed')[0])
    expect((told.error as Error).message).toMatch(/between messages/)
    await expectWorking(bus, queue)
  })

  test('a result that cannot be cloned is refused with a sentence', async () => {
    const bus = await memoryBus({ consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await bus.handle(queue, tasks)
    const { code, error } = await deadLetterOf(bus, queue, { do: 'return a function' })
    expect(code).toBe('body-not-encodable')
    expect(error.message).toMatch(/What the handler returned cannot be copied/)
  })

  test('a body that cannot be cloned is refused with a sentence', async () => {
    const functions = (message: { body: unknown }, next: (message: never) => unknown) => {
      message.body = { f: () => {} }
      return next(message as never)
    }
    const bus = await memoryBus({ incoming: [functions], consume: { retry: { attempts: 1 } } })
    const queue = ownName()
    await bus.handle(queue, tasks)
    const { code, error } = await deadLetterOf(bus, queue, { do: 'x' })
    expect(code).toBe('body-not-encodable')
    expect(error.message).toMatch(/The body cannot be copied/)
  })
})

describe('the end of a worker', () => {
  test('stop() waits for running handlers', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'spin', ms: 200 })
    await eventually('its beginning', () => ofKind(bus.told, 'received').length === 1)
    await consumer.stop()
    expect(ofKind(bus.told, 'handled')).toHaveLength(1)
  })

  test('[stop deadlineMs] ends threads that do not end; their messages go back', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const consumer = await bus.handle(queue, tasks)
    await bus.send(queue, { do: 'spin for ever', onlyFirst: true })
    await eventually('its beginning', () => ofKind(bus.told, 'received').length === 1)
    await sleep(50)
    await consumer.stop({ deadlineMs: 20 })
    const ready = async () => (await bus.inspector?.depth({ kind: 'queue', name: queue }))?.ready
    await eventually('it to be back', async () => (await ready()) === 1)
    expect(ofKind(bus.told, 'handled')).toEqual([])
  })

  test('a lane that is lost ends the thread of its message; the others go on', async () => {
    const { bus, sinks, told } = await alteredBus({})
    const queue = ownName()
    await bus.handle(queue, { ...tasks, threads: 2 })
    await bus.send(queue, { do: 'spin for ever', onlyFirst: true })
    await eventually('its beginning', () => ofKind(told, 'received').length === 1)
    await sleep(50)
    const before = threads()
    await sinks[0]!.revoke(queue, 1, 0)
    await eventually('the thread to be gone', () => threads() < before)
    expect(ofKind(told, 'attempt-failed')).toEqual([])
    await expectWorking(bus, queue)
  })

  test('no thread is left when the bus is closed', async () => {
    const before = threads()
    const bus = await memoryBus()
    const queue = ownName()
    await bus.handle(queue, { ...tasks, threads: 2 })
    await bus.handle(ownName(), tasks)
    await bus.request(queue, { do: 'spin', ms: 5 })
    expect(threads()).toBeGreaterThanOrEqual(before + 2)
    await bus.close()
    expect(threads()).toBe(before)
  })
})

describe('a worker that cannot be', () => {
  test.each([
    ['no-default', /no function as its default export/],
    ['throws', /it does not like to be loaded/],
    ['exits', /process\.exit\(4\)/],
    ['absent', /cannot find module/i],
  ])('[worker-invalid] %s: handle() rejects, and nothing is consumed', async (name, sentence) => {
    const bus = await memoryBus()
    const queue = ownName()
    const { code, message } = await errorOf(bus.handle(queue, { worker: module(name) }))
    expect(code).toBe('worker-invalid')
    expect(message).toMatch(sentence)
    expect(ofKind(bus.told, 'consumer-started')).toEqual([])
    expect((await bus.health()).details.map(({ name }) => name)).toEqual(['connection'])
  })

  test.each([
    [{ worker: './resize.ts' }, /must be a URL/],
    [{ worker: undefined }, /must be a URL/],
    [{ worker: module('tasks'), threads: 0 }, /threads/],
    [{ worker: module('tasks'), thread: 2 }, /Did you mean `threads`/],
    [{ worker: module('tasks'), maxHeapMb: 1 }, /maxHeapMb/],
    [{}, /takes a function as its handler/],
  ])('[option-invalid] %j', async (handler, sentence) => {
    const bus = await memoryBus()
    const { code, message } = await errorOf(bus.handle(ownName(), handler as WorkerHandler))
    expect(code).toBe('option-invalid')
    expect(message).toMatch(sentence)
  })

  test('[option-invalid] a stream, and a batch', async () => {
    const bus = await memoryBus()
    const { request } = await import('@chasqui/core')
    const z = await import('zod')
    const Rows = request(ownName(), z.string(), z.string(), { stream: true })
    expect((await errorOf(bus.handle(Rows, tasks))).message).toMatch(/answered by a stream/)
    expect((await errorOf(bus.handleBatch(ownName(), tasks as never))).message).toMatch(/function/)
  })
})
