/** More of section E: a consumer that is alive and does not consume says so, and does not stay that way. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bus } from '@chasqui/core'
import { isChasquiError } from '@chasqui/driver'
import { eventually, settled } from './eventually.ts'
import { refusedOrder } from './order.ts'
import { DisturbingProxy } from './proxy.ts'
import { passed } from './reading.ts'
import type { Scenario } from './scenario.ts'
import type { Stage } from './stage.ts'

/** After so long with messages waiting and none handled a consumer counts as stalled. */
const stallMs = 1000

export const liveness: readonly Scenario[] = [
  {
    number: 81,
    title:
      'a consumer whose connection, channel, queue or place at the engine is lost, without a word, is unhealthy and is rebuilt by itself',
    source: 'taskforcesh/bullmq#4378, moleculerjs/moleculer-channels#99, OptimalBits/bull#925, onebeyond/rascal#175',
    timeoutMs: 180_000,
    async run(stage) {
      const { engine, process } = stage
      const losses = new Map(Object.entries(engine.losses ?? {}))
      if (engine.deleteQueue !== undefined) losses.set('queue', name => engine.deleteQueue!(name))
      for (const [what, lose] of losses) await consumesAgain(stage, what, engine.url, lose)
      if (stage.capabilities.properties.network) await survivesSilence(stage)
      if (process !== undefined) {
        await consumesAgain(stage, 'process', engine.url, () => process.freeze(), {
          undo: () => process.thaw(),
        })
      }
      // An engine in this process has nothing between it and its consumers.
      return losses.size === 0 && process === undefined ? 'weaker' : 'pass'
    },
  },
  {
    number: 83,
    title:
      'an ordered consumer that holds as many failed keys as it may takes no more, says so, and goes on when it can',
    source: 'nestjs/nest#14664',
    async run(stage) {
      const { keyOrder } = stage.capabilities.operations
      if (keyOrder === 'unsupported') return await refusedOrder(stage, { orderBy: 'key' })
      const bus = await stage.connect()
      const queue = stage.name('queue')
      const window = 4
      const begun: string[] = []
      const handled: string[] = []
      const bounds: number[] = []
      bus.observe(event => void (event.kind === 'bound-reached' && bounds.push(event.held)), ['bound-reached'])
      await bus.handle(
        queue,
        (body, ctx) => {
          begun.push(`${body} ${ctx.attempt}`)
          if (String(body).startsWith('failing') && ctx.attempt === 1) throw new Error('later')
          handled.push(String(body))
        },
        { orderBy: 'key', lanes: 1, window, concurrency: window, retry: { attempts: 2, delays: [2500] } },
      )
      const failing = ['a', 'b', 'c', 'd'].map(key => `failing ${key}`)
      for (const body of failing) await bus.send(queue, body, { key: body })
      for (let n = 0; n < 10; n++) await bus.send(queue, `other ${n}`, { key: 'other' })
      await eventually(
        async () => {
          const { ok, details } = await bus.health()
          return (
            begun.length === window &&
            !ok &&
            details.some(({ name, reason }) => name === queue && /delayed attempts/.test(reason ?? ''))
          )
        },
        () => `health() to tell of the bound; begun: ${begun.join(', ')}`,
      )
      assert.ok(bounds.length > 0 && bounds.every(held => held <= window), `held at the bound: ${bounds}`)
      assert.deepEqual(
        begun,
        failing.map(body => `${body} 1`),
        'nothing begins at the bound',
      )
      const others = Array.from({ length: 10 }, (_, n) => `other ${n}`)
      await eventually(
        () => handled.length === 14,
        () => `14 messages; handled: ${handled.join(', ')}`,
      )
      assert.deepEqual(
        handled.filter(body => body.startsWith('other')),
        others,
      )
      assert.deepEqual(handled.filter(body => body.startsWith('failing')).sort(), failing)
      await eventually(
        async () => (await bus.health()).ok,
        () => 'health() to be true again',
      )
      return passed(keyOrder)
    },
  },
]

interface Manner {
  /** Brings back what was taken away, once its absence has been told. */
  readonly undo?: () => unknown
  readonly engine?: Readonly<Record<string, unknown>>
}

/** A message sent while the consumer has lost something arrives without anybody's help, and health() told of it meanwhile. */
async function consumesAgain(
  stage: Stage,
  what: string,
  url: string,
  lose: (queue: string) => unknown,
  { undo, engine }: Manner = {},
): Promise<void> {
  const bus = await stage.connect(engine === undefined ? {} : { engine }, url)
  const sender = await stage.connect()
  const queue = stage.name(what.replaceAll(' ', '-'))
  const received = new Set<unknown>()
  await bus.handle(queue, body => void received.add(body), { stallMs })
  await sender.send(queue, 'before')
  await eventually(
    () => received.has('before'),
    () => `the message before the loss of the ${what}`,
  )
  assert.ok((await bus.health()).ok, `health() before the loss of the ${what}`)
  const watch = watchHealth(bus)
  await lose(queue)
  const sending = sendUntilConfirmed(sender, queue, 'after')
  try {
    if (undo !== undefined) await watch.unhealthy(what)
  } finally {
    await undo?.()
  }
  await sending
  await eventually(
    () => received.has('after'),
    () => `the message after the loss of the ${what}`,
  )
  await watch.unhealthy(what)
  await eventually(
    async () => (await bus.health()).ok,
    () => `health() to be true again after the loss of the ${what}`,
  )
  watch.stop()
  await settled(bus.close(), 'close()')
  await settled(sender.close(), 'close() of the sender')
}

/** The connection stands, and nothing comes over it any more in either direction. */
async function survivesSilence(stage: Stage): Promise<void> {
  const { shortLease, url } = stage.engine
  assert.ok(
    shortLease !== undefined,
    'a networked engine gives up on silent clients: its fixture must offer `shortLease`',
  )
  const { hostname, host, port } = new URL(url)
  const proxy = await DisturbingProxy.start({ host: hostname, port: Number(port) }, stage.seed)
  try {
    const way = url.replace(host, `127.0.0.1:${proxy.port}`)
    await consumesAgain(stage, 'silent connection', way, () => proxy.silence(), { engine: shortLease.options })
  } finally {
    await proxy.close()
  }
}

/** Whether health() was ever false since. */
function watchHealth(bus: Bus) {
  let [told, over] = [false, false]
  const look = async () => {
    while (!told && !over) {
      told = !(await settled(bus.health(), 'health()')).ok
      await sleep(2)
    }
  }
  const looking = look()
  // Asked for below.
  looking.catch(() => undefined)
  return {
    unhealthy: async (what: string) => {
      await eventually(
        () => told,
        () => `health() to tell of the loss of the ${what}`,
      )
      await looking
    },
    stop: () => {
      over = true
    },
  }
}

async function sendUntilConfirmed(sender: Bus, queue: string, body: string): Promise<void> {
  let error: unknown
  await eventually(
    () =>
      sender.send(queue, body).then(
        () => true,
        (cause: unknown) => {
          assert.ok(isChasquiError(cause), `a send failed without a code: ${cause}`)
          error = cause
          return false
        },
      ),
    () => `a send to ${queue} to resolve: ${error}`,
  )
}
