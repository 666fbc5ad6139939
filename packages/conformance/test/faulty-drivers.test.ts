import type {
  Batch,
  Driver,
  Incoming,
  Outgoing,
  Receiver,
  ReceiverOptions,
  SendResult,
  Sink,
  WireMessage,
} from '@chasqui/driver'
import { open as openEmbedded } from '@chasqui/embedded'
import { afterEach, expect, test, vi } from 'vitest'
import type { Fixture } from '../src/fixture.ts'
import { runScenario, scenarios, startEngine } from '../src/suite.ts'

// The suite is worth what it catches: a real driver is broken in one way at a time, and the scenario must fail.

interface Fault {
  send?(batch: readonly Outgoing[], next: Driver['send'], deadline: number): Promise<readonly SendResult[]>
  deliver?(batch: Batch, next: Sink['deliver']): void
  settle?(...args: [...Parameters<Receiver['settle']>, Receiver['settle']]): ReturnType<Receiver['settle']>
  cancelDelayed?: Driver['cancelDelayed']
  window?(messages: number): number
  order?(): ReceiverOptions['order']
}

const active = vi.hoisted((): { fault: Fault } => ({ fault: {} }))

vi.mock('@chasqui/embedded', async importOriginal => {
  const original = await importOriginal<{ open: typeof openEmbedded }>()
  return { ...original, open: async (...args: Parameters<typeof openEmbedded>) => broken(await original.open(...args)) }
})

afterEach(() => {
  active.fault = {}
  delete process.env.CHASQUI_CONFORMANCE_PATIENCE_MS
})

const fixture: Fixture = {
  name: 'memory, broken',
  open: openEmbedded,
  start: async () => ({ url: `memory:broken-${process.pid}`, close: async () => undefined }),
}

let count = 0
const every = (n: number) => ++count % n === 0

/** A send that changes each message on its way. */
function altering(change: (message: WireMessage) => WireMessage): NonNullable<Fault['send']> {
  return (batch, next, deadline) =>
    next(
      batch.map(out => ({ ...out, message: change(out.message) })),
      deadline,
    )
}

function changed(batch: Batch, change: (item: Incoming) => Incoming): Batch {
  return { ...batch, items: batch.items.map(change) }
}

const faults: readonly (readonly [string, number, Fault])[] = [
  [
    'confirms a message that it does not send',
    2,
    {
      send: async (batch, next, deadline) => {
        const results = await next(
          batch.filter(() => !every(100)),
          deadline,
        )
        return batch.map((_, index) => results[index] ?? { ok: true, durable: true })
      },
    },
  ],
  [
    'sends a message twice',
    2,
    {
      send: async (batch, next, deadline) =>
        (await next([...batch, ...batch.slice(0, 1)], deadline)).slice(0, batch.length),
    },
  ],
  [
    'changes a byte',
    1,
    {
      deliver: (batch, next) =>
        next({
          ...batch,
          items: batch.items.map(item => {
            const body = Uint8Array.from(item.message.body, (byte, index) => (index === 200 ? byte ^ 1 : byte))
            return { ...item, message: { ...item.message, body } }
          }),
        }),
    },
  ],
  [
    'drops a header',
    7,
    {
      deliver: (batch, next) =>
        next({
          ...batch,
          items: batch.items.map(item => {
            const { empty: _, ...headers } = item.message.headers
            return { ...item, message: { ...item.message, headers } }
          }),
        }),
    },
  ],
  [
    'drops the type',
    6,
    {
      deliver: (batch, next) =>
        next({
          ...batch,
          items: batch.items.map(item => ({ ...item, message: { ...item.message, type: undefined } })),
        }),
    },
  ],
  [
    'sends what was meant for one topic to another',
    3,
    {
      send: (batch, next, deadline) =>
        next(
          batch.map(out =>
            out.to.kind === 'topic' && every(50)
              ? { ...out, to: { ...out.to, name: out.to.name.replace(/\d+$/, '7') } }
              : out,
          ),
          deadline,
        ),
    },
  ],
  [
    'acknowledges in place of returning',
    13,
    { settle: (lane, epoch, tags, _, next) => next(lane, epoch, tags, 'ack') },
  ],
  [
    'returns in place of acknowledging',
    48,
    { settle: (lane, epoch, tags, _, next) => next(lane, epoch, tags, 'requeue') },
  ],
  ['says done and settles nothing', 43, { settle: async () => 'done' }],
  [
    'hands messages of a batch out in the wrong order',
    37,
    { deliver: (batch, next) => next({ ...batch, items: batch.items.toReversed() }), order: () => 'none' },
  ],
  ['hands out more than the window holds', 50, { window: window => window * 3 }],
  [
    'counts no deliveries',
    15,
    { deliver: (batch, next) => next(changed(batch, item => ({ ...item, deliveries: 1 }))) },
  ],
  [
    'marks nothing as redelivered',
    15,
    { deliver: (batch, next) => next(changed(batch, item => ({ ...item, redelivered: false }))) },
  ],
  ['forgets until when to wait', 24, { send: altering(message => ({ ...message, notBefore: undefined })) }],
  [
    'comes a little early',
    65,
    { send: altering(message => ({ ...message, notBefore: message.notBefore && message.notBefore - 100 })) },
  ],
  ['takes no delayed message back, and says it did', 65, { cancelDelayed: async () => true }],
  ['lets nothing expire', 33, { send: altering(message => ({ ...message, expiresAt: undefined })) }],
  [
    'drops long headers of dead letters',
    84,
    {
      send: altering(message => {
        const short = Object.entries(message.headers).filter(([, value]) => String(value).length < 5000)
        return message.headers.chasqui_error_code === undefined
          ? message
          : { ...message, headers: Object.fromEntries(short) }
      }),
    },
  ],
  ['forgets whom a reply belongs to', 63, { send: altering(message => ({ ...message, correlationId: undefined })) }],
  ['keeps the cause of a message to itself', 67, { send: altering(message => ({ ...message, attributes: {} })) }],
  [
    'confirms a batch of which it sends the first message',
    66,
    {
      send: async (batch, next, deadline) => {
        const [first] = await next(batch.slice(0, 1), deadline)
        return batch.map(() => first!)
      },
    },
  ],
  [
    'never answers the last send',
    11,
    { send: (batch, next, deadline) => (batch.length > 1000 ? new Promise(() => undefined) : next(batch, deadline)) },
  ],
]

test.for(faults)('a driver that %s does not pass scenario %i', { timeout: 90_000 }, async ([, number, fault]) => {
  const scenario = scenarios.find(candidate => candidate.number === number)!
  const started = await startEngine(fixture)
  await expect(runScenario(scenario, fixture, started)).resolves.toBeTypeOf('string')
  active.fault = fault
  process.env.CHASQUI_CONFORMANCE_PATIENCE_MS = '1000'
  await expect(runScenario({ ...scenario, timeoutMs: 15_000 }, fixture, started)).rejects.toThrow()
})

function broken(driver: Driver): Driver {
  const send: Driver['send'] = (batch, deadline) => {
    const next: Driver['send'] = (...args) => driver.send(...args)
    return active.fault.send?.(batch, next, deadline) ?? next(batch, deadline)
  }
  const receive: Driver['receive'] = async (source, sink, options) => {
    const deliver: Sink['deliver'] = batch => {
      const next: Sink['deliver'] = out => sink.deliver(out)
      if (active.fault.deliver === undefined) next(batch)
      else active.fault.deliver(batch, next)
    }
    const receiver = await driver.receive(
      source,
      { deliver, revoke: (...args) => sink.revoke(...args), fail: error => sink.fail(error) },
      {
        ...options,
        window: active.fault.window?.(options.window) ?? options.window,
        order: active.fault.order?.() ?? options.order,
      },
    )
    const settle: Receiver['settle'] = (...args) => {
      const next: Receiver['settle'] = (...rest) => receiver.settle(...rest)
      return active.fault.settle?.(...args, next) ?? next(...args)
    }
    return {
      settle,
      window: messages => receiver.window(active.fault.window?.(messages) ?? messages),
      stop: () => receiver.stop(),
    }
  }
  return {
    get state() {
      return driver.state
    },
    capabilities: driver.capabilities,
    inspector: driver.inspector!,
    plan: topology => driver.plan(topology),
    declare: (topology, options) => driver.declare(topology, options),
    onState: listener => driver.onState(listener),
    close: () => driver.close(),
    cancelDelayed: (...args) => (active.fault.cancelDelayed ?? driver.cancelDelayed!.bind(driver))(...args),
    send,
    receive,
  }
}
