/** What scenarios of several sections need: messages read by hand, raw messages, and the outcome that a support deserves. */
import type { Bus, Delivery } from '@chasqui/core'
import type { Batch, Receiver, Sink, Support, WireMessage } from '@chasqui/driver'
import { settled } from './eventually.ts'
import type { Outcome } from './scenario.ts'
import type { Stage } from './stage.ts'

/** Reads and acknowledges that many messages of the queue. */
export async function take(bus: Bus, queue: string, count: number): Promise<Delivery<unknown>[]> {
  const taken: Delivery<unknown>[] = []
  const read = async () => {
    for await (const delivery of bus.receive(queue)) {
      taken.push(delivery)
      await delivery.ack()
      if (taken.length === count) return
    }
  }
  await settled(read(), `${count} messages on ${queue}`)
  return taken
}

/** Sends to a queue what no encoder of ours would write, in a message that has nothing but what is given. */
export async function sendRaw(stage: Stage, queue: string, message: Partial<WireMessage>): Promise<void> {
  const driver = await stage.driver()
  await driver.declare({ destinations: [{ kind: 'queue', name: queue, durable: true }] }, { create: true })
  const whole: WireMessage = { attributes: {}, headers: {}, durable: true, body: Buffer.alloc(0), ...message }
  const [result] = await driver.send([{ to: { kind: 'queue', name: queue }, message: whole }], Date.now() + 20_000)
  if (result?.ok !== true) throw result?.error ?? new Error('The driver answered nothing.')
}

/** How a scenario that has passed counts. */
export function passed(support: Support): Outcome {
  return support === 'emulated' ? 'emulated' : 'pass'
}

/** Reads and acknowledges that many messages by the driver alone: also those that nothing can decode. */
export async function takeRaw(stage: Stage, queue: string, count: number): Promise<WireMessage[]> {
  const driver = await stage.driver()
  await driver.declare({ destinations: [{ kind: 'queue', name: queue, durable: true }] }, { create: true })
  const taken: WireMessage[] = []
  const enough = Promise.withResolvers<void>()
  const early: Batch[] = []
  let receiver: Receiver | undefined
  const settle = ({ lane, epoch, items }: Batch) => {
    const tags = items.map(({ tag }) => tag)
    receiver!.settle(lane, epoch, tags, 'ack').catch(enough.reject)
  }
  const sink: Sink = {
    deliver(batch) {
      taken.push(...batch.items.map(({ message }) => message))
      if (receiver === undefined) early.push(batch)
      else settle(batch)
      if (taken.length >= count) enough.resolve()
    },
    revoke: async () => undefined,
    fail: enough.reject,
  }
  receiver = await driver.receive({ kind: 'queue', name: queue }, sink, { window: count, order: 'none' })
  for (const batch of early.splice(0)) settle(batch)
  await settled(enough.promise, `${count} messages on ${queue}`)
  await receiver.stop()
  return taken
}

/** The least that a Standard Schema is: what `fits` passes. */
export function schemaOf<T>(expected: string, fits: (value: unknown) => boolean) {
  return {
    '~standard': {
      version: 1,
      vendor: 'conformance',
      validate: (value: unknown) => (fits(value) ? { value: value as T } : { issues: [{ message: expected }] }),
      types: undefined as { input: T; output: T } | undefined,
    },
  } as const
}
