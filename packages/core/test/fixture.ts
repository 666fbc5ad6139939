/** What the tests of the whole way share: a bus on `memory:`, names of their own, and polling with one timeout. */
import { randomUUID } from 'node:crypto'
import {
  type Bus,
  type BusEvent,
  type ConnectOptions,
  type ConsumeDefaults,
  connect,
  type ErrorCode,
  isChasquiError,
} from '@chasqui/core'
import { expect, onTestFinished } from 'vitest'

/** One time limit for everything that is polled. */
const timeoutMs = 10_000

/** A name that no other test uses: all buses on `memory:` of a process see the same queues. */
export function ownName(): string {
  return `test-${randomUUID()}`
}

/** Consumers of tests try again at once, where they say nothing else. */
export function quickRetries(given: ConsumeDefaults = {}): ConsumeDefaults {
  return { ...given, retry: { delays: [], ...given.retry } }
}

/** A bus on `memory:`, closed when the test ends, with the list of what it told its observers. */
export async function memoryBus(options: ConnectOptions = {}): Promise<Bus & { readonly told: BusEvent[] }> {
  const consume = quickRetries(options.consume)
  const bus = await connect('memory:', { logger: false, name: 'core-test', ...options, consume })
  onTestFinished(() => bus.close({ deadlineMs: 0 }))
  const told: BusEvent[] = []
  bus.observe(event => told.push(event))
  return Object.assign(bus, { told })
}

/** Waits until the function returns something other than `undefined` and `false`. */
export async function eventually<T>(what: string, look: () => T | undefined | false | Promise<T | undefined | false>) {
  const end = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (Date.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`)
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

/** The typed error that the promise or function fails with. */
export async function errorOf(failing: Promise<unknown> | (() => unknown)): Promise<{
  code: ErrorCode
  message: string
  details: Readonly<Record<string, unknown>>
  cause?: unknown
}> {
  try {
    await (typeof failing === 'function' ? failing() : failing)
  } catch (error) {
    if (isChasquiError(error)) return error
    throw error
  }
  return expect.fail('it did not fail')
}

/** The events of one kind. */
export function ofKind<K extends BusEvent['kind']>(
  told: readonly BusEvent[],
  kind: K,
): Extract<BusEvent, { kind: K }>[] {
  return told.filter((event): event is Extract<BusEvent, { kind: K }> => event.kind === kind)
}
