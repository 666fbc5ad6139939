/** What the embedded broker offers through this driver, as data. */
import type { Capabilities, Operations } from '@chasqui/driver'

const operations: Operations = {
  delay: 'native',
  expiry: 'native',
  strictOrder: 'native',
  keyOrder: 'native',
  transfer: 'unsupported',
  transient: 'native',
  history: 'unsupported',
  inspect: 'native',
}

/** `memory:`: nothing outlives the last bus on it. */
export const memoryCapabilities: Capabilities = {
  engine: 'memory',
  operations,
  properties: {
    durable: false,
    shared: false,
    separateProcess: false,
    network: false,
    credentials: false,
    detectsMissing: true,
    countsDeliveries: true,
    byReference: true,
  },
}

/** `embedded:DIR` in the process that owns the directory. */
export const ownerCapabilities: Capabilities = {
  engine: 'embedded',
  operations,
  properties: { ...memoryCapabilities.properties, durable: true, shared: true },
}

/** `embedded:DIR` in a process that uses the directory through its owner. */
export const guestCapabilities: Capabilities = {
  engine: 'embedded',
  operations,
  properties: { ...ownerCapabilities.properties, separateProcess: true, byReference: false },
}
