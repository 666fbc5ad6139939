/** What RabbitMQ can do, as data; and our own broker, reached by the same URL. */
import type { Capabilities } from '@chasqui/driver'

/** RabbitMQ's `max_message_size`, in bytes, unless its administrator set another. */
const rabbitmqMaxBodyBytes = 134_217_728

const common = {
  operations: {
    delay: 'emulated',
    expiry: 'native',
    strictOrder: 'emulated',
    keyOrder: 'emulated',
    transfer: 'unsupported',
    transient: 'native',
    history: 'unsupported',
    inspect: 'native',
  },
  properties: {
    durable: true,
    shared: true,
    separateProcess: true,
    takesOver: false,
    network: true,
    credentials: true,
    detectsMissing: true,
    countsDeliveries: true,
    // Quorum queues put what comes back behind what came back before, and both before what was never handed out.
    returnsInPlace: false,
    byReference: false,
  },
} as const satisfies Omit<Capabilities, 'engine'>

/** Our own broker keeps back and keeps in order by itself, and does so for its other clients on the same queues. */
const chasqui: Capabilities = {
  engine: 'chasqui',
  operations: { ...common.operations, delay: 'native', strictOrder: 'native', keyOrder: 'native' },
  properties: { ...common.properties, returnsInPlace: true },
}

/** @param product what the broker calls itself in its server properties. */
export function capabilitiesOf(product: unknown): Capabilities {
  return isChasqui(product) ? chasqui : { engine: 'rabbitmq', ...common, maxBodyBytes: rabbitmqMaxBodyBytes }
}

export function isChasqui(product: unknown): boolean {
  return product === 'Chasqui'
}
