/**
 * What order by key costs: messages of 100,000 keys from `bus.send` to an asynchronous handler on `memory:`, without order and
 * with it, alternating in one run.
 *
 *     node --conditions=@chasqui/source packages/core/bench/key-order.ts [messages]
 */
import { cpus } from 'node:os'
import { type ConsumeOptions, connect } from '@chasqui/core'

const messages = Number(process.argv[2] ?? 200_000)
const keys = 100_000
const callers = 1000
const rounds = 5

interface Figure {
  readonly perSecond: number
  readonly cpuMicros: number
}

async function measure(options: ConsumeOptions): Promise<Figure> {
  await using bus = await connect('memory:', { logger: false })
  const queue = `bench-${Math.random().toString(36).slice(2)}`
  const all = Promise.withResolvers<void>()
  let handled = 0
  await bus.handle(
    queue,
    async () => {
      handled += 1
      if (handled === messages) all.resolve()
    },
    { concurrency: 50, window: 1000, ...options },
  )
  let next = 0
  const caller = async () => {
    while (next < messages) {
      next += 1
      await bus.send(queue, { n: next }, { key: `key-${next % keys}` })
    }
  }
  const cpu = process.cpuUsage()
  const start = performance.now()
  await Promise.all(Array.from({ length: callers }, caller))
  await all.promise
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { perSecond: Math.round(messages / seconds), cpuMicros: (user + system) / messages }
}

console.log(`node ${process.version}, ${cpus()[0]?.model}, ${messages} messages, ${keys} keys, ${callers} callers`)
for (let round = 0; round < rounds; round++) {
  const unordered = await measure({})
  const byKey = await measure({ orderBy: 'key' })
  const figures = [unordered, byKey].map(one => `${one.perSecond}/s ${one.cpuMicros.toFixed(2)} us CPU`)
  const throughput = (byKey.perSecond / unordered.perSecond).toFixed(2)
  const cpu = (byKey.cpuMicros / unordered.cpuMicros).toFixed(2)
  console.log(`unordered ${figures[0]}   by key ${figures[1]}   throughput x${throughput}, CPU x${cpu}`)
}
