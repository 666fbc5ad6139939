/** Section F: engines die, come back, and refuse. What was confirmed stays; what fails says so. */
import assert from 'node:assert/strict'
import { type Bus, connect } from '@chasqui/core'
import { isChasquiError } from '@chasqui/driver'
import { rejectsWith } from './delivery.ts'
import { eventually, settled } from './eventually.ts'
import { assertSameIds } from './ids.ts'
import type { Outcome, Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

const window = 100

export const faults: readonly Scenario[] = [
  {
    number: 55,
    title:
      'the engine dies at one third and at one half of 10,000 messages of 100 producers: nothing confirmed is lost',
    source: 'celery/celery#4671',
    timeoutMs: 180_000,
    async run(stage) {
      if (!stage.capabilities.properties.durable) return await forgetsEverything(stage)
      if (stage.process === undefined) return await engineDiesWithItsProcess(stage)
      const { process } = stage
      const [producers, consumers] = [await stage.connect(), await stage.connect()]
      const queue = stage.name('queue')
      const received: number[] = []
      await consumers.handle(queue, body => void received.push(body as number), { window })
      await process.keepDeclarations?.()
      const confirmed: number[] = []
      const doubtful = new Set<number>()
      let next = 0
      let deaths = 0
      let restarted: Promise<void> = Promise.resolve()
      const produce = async () => {
        while (next < 10_000) {
          const n = next++
          if ((deaths === 0 && n >= 3333) || (deaths === 1 && n >= 5000)) {
            deaths += 1
            restarted = restarted.then(() => process.kill()).then(() => process.start())
          }
          await producers.send(queue, n).then(
            () => confirmed.push(n),
            error => {
              assert.ok(isChasquiError(error), `a send failed without a code: ${error}`)
              doubtful.add(n)
            },
          )
        }
      }
      await settled(Promise.all(Array.from({ length: 100 }, produce)), '10,000 sends to settle', 150_000)
      await restarted
      assert.equal(deaths, 2)
      const missing = () => {
        const seen = new Set(received)
        return confirmed.filter(n => !seen.has(n)).length
      }
      await eventually(
        () => received.length >= confirmed.length && missing() === 0,
        () => `${confirmed.length} confirmed messages; ${received.length} came, ${missing()} are missing`,
        60_000,
      )
      assert.ok(confirmed.length > 5000, `most sends were confirmed: ${confirmed.length}`)
      // Each death may bring back the unsettled window; a message in doubt may have been stored once.
      assertSameIds(received, confirmed, { doubtful, repeats: deaths * window })
    },
  },
  {
    number: 57,
    title: 'after every reconnect the consumers really consume',
    source: 'golevelup/nestjs#691, moleculerjs/moleculer-channels#73, celery/celery#8030',
    timeoutMs: 180_000,
    async run(stage) {
      const bus = await stage.connect()
      const [queue, topic] = [stage.name('queue'), stage.name('topic')]
      const received = new Set<unknown>()
      await bus.handle(queue, body => void received.add(body))
      await bus.subscribe(topic, 'all', body => void received.add(body))
      const probe = async (round: number) => {
        await settled(bus.send(queue, `queue ${round}`), `the probe to the queue, round ${round}`)
        await settled(bus.publish(topic, `topic ${round}`), `the probe to the topic, round ${round}`)
        await eventually(
          () => received.has(`queue ${round}`) && received.has(`topic ${round}`),
          () => `both probes of round ${round}; came: ${[...received].join(', ')}`,
        )
      }
      await probe(0)
      // An engine in this process has no connection that could be lost.
      if (stage.process === undefined) return 'weaker'
      await stage.process.keepDeclarations?.()
      for (let round = 1; round <= 2; round++) {
        await stage.process.kill()
        await stage.process.start()
        await probe(round)
      }
      return 'pass'
    },
  },
  {
    number: 59,
    title: 'sending while the engine is down waits within a bounded buffer and deadline, or is a typed error',
    source: 'nestjs/nest#10562',
    timeoutMs: 120_000,
    async run(stage) {
      const queue = stage.name('queue')
      if (stage.process === undefined) {
        const bus = await stage.connect()
        await bus.send(queue, 'before')
        await bus.close()
        await rejectsWith('closed', bus.send(queue, 'after close'))
        return 'weaker'
      }
      const impatient = await stage.connect({ sendTimeoutMs: 500 })
      const patient = await stage.connect({ sendTimeoutMs: 60_000, maxBufferedMessages: 10 })
      await impatient.send(queue, 'impatient before')
      await patient.send(queue, 'patient before')
      await stage.process.keepDeclarations?.()
      await stage.process.kill()
      const doubtful = ['impatient']
      // Where another process takes its place it is not down for a time that one could count on.
      if (stage.capabilities.properties.takesOver) doubtful.push(...(await probed(patient, queue)))
      else await refusesInTime(impatient, patient, queue)
      const waiting = Array.from({ length: 11 }, (_, n) =>
        patient.send(queue, `patient ${n}`).then(
          () => ({ n, code: 'ok' }),
          (error: { code?: string }) => ({ n, code: error.code }),
        ),
      )
      const eleventh = await settled(waiting[10]!, 'the send beyond the bound of ten to be refused')
      assert.equal(eleventh.code, 'buffer-full')
      await stage.process.start()
      const results = await settled(Promise.all(waiting), 'the waiting sends to settle')
      const sent = results.filter(({ code }) => code === 'ok').map(({ n }) => `patient ${n}`)
      for (const { code } of results) assert.ok(typeof code === 'string', 'a send failed without a code')
      assert.equal(sent.length, 10, `the ten that waited were sent: ${JSON.stringify(results)}`)
      const received: string[] = []
      await patient.handle(queue, body => void received.push(String(body)))
      const expected = ['impatient before', 'patient before', ...sent]
      await eventually(
        () => expected.every(body => received.includes(body)),
        () => `all that resolved; came: ${received.join(', ')}`,
      )
      assertSameIds(received, expected, { doubtful: new Set(doubtful) })
      return 'pass'
    },
  },
  {
    number: 60,
    title: 'wrong credentials, an unknown host and an untrusted certificate fail fast with a typed error',
    async run(stage) {
      const attempt = (url: string) => connect(url, { logger: false, connectTimeoutMs: 10_000 })
      const { network, credentials } = stage.capabilities.properties
      if (!network && !credentials) {
        const [scheme] = stage.engine.url.split(':')
        for (const url of [`${scheme}://somewhere`, `${scheme}://user:secret@somewhere/place`]) {
          const error = await refusal(attempt(url))
          assert.equal(error.code, 'url-invalid')
          assert.ok(!error.message.includes('secret'), 'the password is not printed')
        }
        return 'weaker'
      }
      const { refused } = stage.engine
      assert.ok(refused !== undefined, 'an engine with credentials: its fixture must offer `refused`')
      for (const [url, code] of [
        [refused.wrongPassword, 'authentication-failed'],
        [refused.unknownHost, 'connect-failed'],
        [refused.untrusted, 'certificate-untrusted'],
      ] as const) {
        const error = await refusal(attempt(url))
        assert.equal(error.code, code, `${code}: ${error.message}`)
        const { password } = new URL(url)
        assert.ok(password === '' || !error.message.includes(password), 'the password is not printed')
      }
      const trusted = await stage.connect({ tls: { ca: refused.authority } }, refused.untrusted)
      await trusted.send(stage.name('queue'), 'over TLS')
      return 'pass'
    },
  },
]

/** Without durability: when the last user leaves, the engine is empty. */
async function forgetsEverything(stage: Stage): Promise<Outcome> {
  const queue = stage.name('queue')
  const first = await stage.connect()
  const receipt = await first.send(queue, 1)
  assert.equal(receipt.durable, false, 'the receipt says that nothing is durable here')
  await first.close()
  const second = await stage.connect()
  await rejectsWith('destination-missing', second.send(queue, 2, { declare: 'never' }))
  return 'weaker'
}

/** An engine inside its user's process: that process is killed, twice, and the next one finds all that was confirmed. */
async function engineDiesWithItsProcess(stage: Stage): Promise<Outcome> {
  const queue = stage.name('queue')
  const url = `${stage.engine.url}-${stage.name('killed')}`
  const confirmed: number[] = []
  const doubtful = new Set<number>()
  for (const [from, killAt, to] of [
    [0, 3333, 10_000],
    [10_000, 1667, 20_000],
    [20_000, 5000, 25_000],
  ] as const) {
    const worker = await stage.worker({ do: 'produce', url, queue, callers: 100, from, to })
    await settled(worker.reported('confirmed', killAt), `${killAt} confirmed messages`)
    if (killAt === to - from) await worker.end()
    else await worker.kill()
    const here = worker.reports.flatMap(report => (report.event === 'confirmed' ? [report.body] : []))
    confirmed.push(...here)
    // One that each caller had under way may have been stored before the kill.
    const last = Math.max(...here)
    const known = new Set(here)
    for (let n = from; n <= Math.min(to, last + 200); n++) if (!known.has(n)) doubtful.add(n)
  }
  const bus = await stage.connect({}, url)
  const received: number[] = []
  await bus.handle(queue, body => void received.push(body as number), { window })
  await eventually(
    () => received.length >= confirmed.length,
    () => `${confirmed.length} confirmed messages; ${received.length} came`,
  )
  assertSameIds(received, confirmed, { doubtful })
  return 'pass'
}

/** What leaves before the loss is noticed is in doubt; here the engine is known to be down. */
async function refusesInTime(impatient: Bus, patient: Bus, queue: string): Promise<void> {
  await eventually(
    async () => !(await impatient.health()).ok && !(await patient.health()).ok,
    () => 'both buses to notice that the engine is gone',
  )
  const started = performance.now()
  const failure = await settled(
    impatient.send(queue, 'impatient').then(
      () => undefined,
      (error: unknown) => error,
    ),
    'a send to be refused at its deadline',
  )
  assert.ok(isChasquiError(failure), `a typed error while the engine is down, not ${failure}`)
  assert.ok(['send-timeout', 'disconnected', 'owner-gone'].includes(failure.code), failure.code)
  assert.ok(performance.now() - started < 10_000, 'the deadline of half a second bounds the wait')
}

/** Sends until the loss was noticed and somebody serves; resolves with what it sent, of which some may not have arrived. */
async function probed(bus: Bus, queue: string): Promise<string[]> {
  const bodies: string[] = []
  for (;;) {
    const body = `probe ${bodies.length}`
    bodies.push(body)
    const code = await settled(
      bus.send(queue, body).then(
        () => undefined,
        (error: { code?: string }) => error.code ?? 'none',
      ),
      'a probe to settle',
    )
    if (code === undefined) return bodies
    assert.equal(code, 'disconnected')
  }
}

async function refusal(attempt: ReturnType<typeof connect>) {
  const error = await settled(
    attempt.then(
      async bus => {
        await bus.close()
        return undefined
      },
      (cause: unknown) => cause,
    ),
    'a refusal',
  )
  assert.ok(isChasquiError(error), `a typed refusal, not ${error === undefined ? 'success' : error}`)
  return error
}
