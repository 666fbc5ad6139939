/** What a user's program has open while commands are run beside it. */
import { join } from 'node:path'
import { type Bus, connect } from '@chasqui/core'
import { onTestFinished } from 'vitest'
import { scratchDirectory } from './command-line.ts'

/** A bus on a data directory of its own, closed when the test ends, and the URL by which commands find it. */
export async function openProgram(): Promise<{ bus: Bus; url: string }> {
  const url = `embedded:${join(scratchDirectory(), 'data')}`
  const bus = await connect(url, { logger: false })
  onTestFinished(() => bus.close())
  return { bus, url }
}

/** How many messages wait in a queue. */
export async function readyIn(bus: Bus, name: string): Promise<number | undefined> {
  return (await bus.inspector!.depth({ kind: 'queue', name }))?.ready
}
