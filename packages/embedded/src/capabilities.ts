/** What the embedded broker offers through this driver, as data. */
import type { Capabilities, Operations } from '@chasqui/driver'

const operations: Operations = {
  delay: 'native',
  expiry: 'native',
  strictOrder: 'native',
  keyOrder: 'native',
  transfer: 'native',
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
    takesOver: false,
    network: false,
    credentials: false,
    detectsMissing: true,
    countsDeliveries: true,
    returnsInPlace: true,
    byReference: true,
  },
}

/** `embedded:DIR` in the process that owns the directory. */
export const ownerCapabilities: Capabilities = {
  engine: 'embedded',
  operations,
  properties: { ...memoryCapabilities.properties, durable: true, shared: true },
}

/**
 * `embedded:DIR` in a process that found the directory served by another. They do not change when it serves in that one's
 * place: hence `byReference`, which is true from then on.
 */
export const guestCapabilities: Capabilities = {
  engine: 'embedded',
  // Over a connection a move is a copy, its confirm and an acknowledgement.
  operations: { ...operations, transfer: 'unsupported' },
  properties: { ...ownerCapabilities.properties, separateProcess: true, takesOver: true },
}
