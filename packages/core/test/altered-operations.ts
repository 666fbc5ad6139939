/** Engines that can do less, or do it in another way, than the one that tests run on: by what they say of themselves. */
import type { Driver, Operations } from '@chasqui/driver'

export function withOperations(real: Driver, operations: Partial<Operations>): Partial<Driver> {
  const { capabilities } = real
  return { capabilities: { ...capabilities, operations: { ...capabilities.operations, ...operations } } }
}
