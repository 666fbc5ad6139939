/**
 * What the core costs a message: CPU of `bus.send` to handler on `memory:`, with JSON and a zod schema and 1,000 callers at
 * once, next to a bare loop that does only what cannot be left out (stringify, parse, both validations), in one run.
 *
 *     node --conditions=@chasqui/source packages/core/bench/pipeline.ts [messages]
 */
import { cpus } from 'node:os'
import { type ConnectOptions, command, connect } from '@chasqui/core'
import * as z from 'zod'

const messages = Number(process.argv[2] ?? 300_000)
const callers = 1000
const schema = z.object({ orderId: z.string(), total: z.number(), items: z.array(z.string()) })
const body = { orderId: '4711', total: 99.5, items: ['tea', 'mate', 'coffee'] }

interface Figure {
  readonly name: string
  readonly perSecond: number
  readonly cpuMicrosPerMessage: number
}

async function measure(name: string, run: () => void | Promise<void>): Promise<Figure> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await run()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(cpu)
  return { name, perSecond: Math.round(messages / seconds), cpuMicrosPerMessage: (user + system) / messages }
}

function bare(): void {
  for (let i = 0; i < messages; i++) {
    if (schema['~standard'].validate(body) instanceof Promise) throw new Error('asynchronous')
    const bytes = Buffer.from(JSON.stringify(body))
    const parsed: unknown = JSON.parse(bytes.toString())
    if (schema['~standard'].validate(parsed) instanceof Promise) throw new Error('asynchronous')
  }
}

async function throughBus(
  handler: (handled: () => void) => void | Promise<void>,
  options: ConnectOptions = { logger: false },
): Promise<void> {
  const contract = command(`bench-${Math.random().toString(36).slice(2)}`, schema)
  await using bus = await connect('memory:', options)
  const all = Promise.withResolvers<void>()
  let handled = 0
  const count = () => {
    handled += 1
    if (handled === messages) all.resolve()
  }
  await bus.handle(contract, () => handler(count))
  let next = 0
  const caller = async () => {
    while (next < messages) {
      next += 1
      await bus.send(contract, body)
    }
  }
  await Promise.all(Array.from({ length: callers }, caller))
  await all.promise
}

const rounds = 3
console.log(`node ${process.version}, ${cpus()[0]?.model}, ${messages} messages, ${callers} callers`)
for (let round = 0; round < rounds; round++) {
  const base = await measure('bare loop', bare)
  const sync = await measure('bus, handler returns', () => throughBus(count => count()))
  const async = await measure('bus, handler is async', () => throughBus(async count => count()))
  // The default logger prints from `warn` on; here nothing is.
  const counted = await measure('the same, logs, metrics', () => throughBus(async count => count(), { metrics: true }))
  for (const figure of [base, sync, async, counted]) {
    const ratio = (figure.cpuMicrosPerMessage / base.cpuMicrosPerMessage).toFixed(2)
    const cpu = figure.cpuMicrosPerMessage.toFixed(2)
    console.log(
      `${figure.name.padEnd(24)}${String(figure.perSecond).padStart(10)}/s${cpu.padStart(8)} us CPU  x${ratio}`,
    )
  }
  const share = (counted.cpuMicrosPerMessage / async.cpuMicrosPerMessage).toFixed(2)
  console.log(`logs and metrics on      x${share} of off`)
}
