/**
 * A bus on the real `memory:` driver with some of its methods altered: for faults that no engine shows when asked, and for
 * what a driver may be able to do that this one is not.
 */
import { randomUUID } from 'node:crypto'
import type { Bus, BusEvent, ConnectOptions } from '@chasqui/core'
import type { Driver, Receiver, Sink } from '@chasqui/driver'
import { onTestFinished } from 'vitest'
import { defaultIncoming, defaultOutgoing } from '../src/connect.ts'
import { pipelineFormats } from '../src/encode/pipeline-formats.ts'
import { loadDriver } from '../src/load.ts'
import { MessageBus } from '../src/message-bus.ts'
import { EventHub } from '../src/observe/events.ts'
import { silentLogger } from '../src/observe/logging.ts'
import { quickRetries } from './fixture.ts'

export interface Altered {
  readonly bus: Bus
  /** What the observers were told. */
  readonly told: BusEvent[]
  /** The real driver behind. */
  readonly driver: Driver
  /** The sinks that consumers gave to `receive`, in order. */
  readonly sinks: Sink[]
}

/** Alters the driver, and each receiver that it makes. */
export interface Alterations {
  driver?(real: Driver): Partial<Driver>
  receiver?(real: Receiver): Partial<Receiver>
}

export async function alteredBus(alterations: Alterations, options: ConnectOptions = {}): Promise<Altered> {
  const open = await loadDriver('@chasqui/embedded', process.cwd())
  const real = await open({ urls: [`memory:altered-${randomUUID()}`], name: 'core-test', connectTimeoutMs: 5000 })
  const sinks: Sink[] = []
  const driver: Driver = overlaid(real, {
    receive: async (source, sink, receiverOptions) => {
      sinks.push(sink)
      const receiver = await (changes.receive ?? real.receive).call(real, source, sink, receiverOptions)
      return overlaid(receiver, alterations.receiver?.(receiver) ?? {})
    },
  })
  const changes = alterations.driver?.(real) ?? {}
  const events = new EventHub()
  const told: BusEvent[] = []
  events.listen(event => told.push(event))
  const { receive: _, ...others } = changes
  // Moves go by `send` and `settle`, which are what tests alter; a test of transfers says so.
  const capabilities = {
    ...real.capabilities,
    operations: { ...real.capabilities.operations, transfer: 'unsupported' },
  } as const
  const bus = new MessageBus({
    driver: overlaid(driver, { capabilities, ...others }),
    name: 'core-test',
    events,
    logger: silentLogger,
    formats: pipelineFormats(options.formats ?? [], real.capabilities.properties.byReference),
    limits: {
      sendTimeoutMs: options.sendTimeoutMs ?? 5000,
      maxBodyBytes: options.maxBodyBytes ?? 1_000_000,
      maxHeaderBytes: 65_536,
      maxBufferedMessages: 100_000,
      maxBufferedBytes: 268_435_456,
    },
    outgoing: options.outgoing ?? defaultOutgoing,
    incoming: options.incoming ?? defaultIncoming,
    consume: quickRetries(options.consume),
    closed: () => {},
  })
  onTestFinished(async () => {
    await bus.close({ deadlineMs: 0 })
    await real.close()
  })
  return { bus, told, driver: real, sinks }
}

/** The object with some members replaced. Private members keep working: methods are called on the original. */
function overlaid<T extends object>(original: T, changes: Partial<T>): T {
  return new Proxy(original, {
    get(target, name) {
      if (Object.hasOwn(changes, name)) return changes[name as keyof T]
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
