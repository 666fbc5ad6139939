/** What the tests of streams share: a contract that counts, and loops that read. */
import { randomUUID } from 'node:crypto'
import { request } from '@chasqui/core'
import * as z from 'zod'
import { errorOf, memoryBus } from '../fixture.ts'

export const Rows = () =>
  request(`rows-${randomUUID()}`, z.object({ count: z.number() }), z.object({ n: z.number().transform(n => n * 10) }), {
    stream: true,
  })

export async function* counting({ count }: { count: number }) {
  for (let n = 0; n < count; n++) yield { n }
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const taken: T[] = []
  for await (const item of items) taken.push(item)
  return taken
}

export const tens = (count: number) => Array.from({ length: count }, (_, i) => ({ n: i * 10 }))

/** The stream's first items, and then its failure. */
export async function failing(items: AsyncIterable<unknown>) {
  const taken: unknown[] = []
  const error = await errorOf(async () => {
    for await (const item of items) taken.push(item)
  })
  return { taken, error }
}

/** Two buses on one `memory:` broker, as two processes would be. */
export async function pair() {
  return [await memoryBus(), await memoryBus()] as const
}
