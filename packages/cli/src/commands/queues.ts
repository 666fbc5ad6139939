/** `chasqui queues`: how full queues are, who consumes from them, and how fast they move. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Bus } from '@chasqui/core'
import { ChasquiError, isChasquiError } from '@chasqui/core'
import type { QueueInfo } from '@chasqui/driver'
import { Command, Option } from 'commander'
import { seconds } from '../arguments.ts'
import { metricsPortOption, withMetrics } from '../metrics.ts'
import { queueMetrics } from '../queue-metrics.ts'
import { type QueueRow, type QueueRows, queueRows } from '../queue-rows.ts'
import type { Session, SessionOptions } from '../session.ts'
import { addSessionOptions, withSession } from '../session.ts'
import type { Column } from '../table.ts'
import { count, duration } from '../table.ts'

interface Options extends SessionOptions {
  readonly all?: true
  readonly watch?: number
  readonly metricsPort?: number
}

const examples = `
A subscription is the queue TOPIC.SUBSCRIPTION. RabbitMQ lists its queues where
its management plugin is enabled; elsewhere name them. What an engine does not
tell is left out.

Examples:
  chasqui queues
  chasqui queues orders orders.dead-letter --watch
  chasqui queues --url amqp://localhost --json
`

export function queuesCommand(): Command {
  const command = new Command('queues')
    .description('Show the queues: what waits in them, who consumes, how fast they move.')
    .argument('[names...]', 'only these; a name that does not exist is a failure')
    .option('--all', "also Chasqui's own queues, and each lane by itself")
    .addOption(
      new Option('--watch [seconds]', 'again every so many seconds, until Ctrl-C').argParser(seconds).preset(2),
    )
    .addOption(metricsPortOption())
    .addHelpText('after', examples)
    .action(async (names: string[], options: Options, self: Command) => {
      if (options.metricsPort !== undefined && options.watch === undefined) {
        self.error('error: --metrics-port goes with --watch')
      }
      await withSession(options, { looks: true }, session =>
        withMetrics(
          options.metricsPort,
          async () => queueMetrics((await rowsOf(session.bus, names, options)).rows),
          () => show(session, names, options),
        ),
      )
    })
  return addSessionOptions(command)
}

const columns: readonly Column<QueueRow>[] = [
  { title: 'QUEUE', cell: queue => queue.name, shrinks: true },
  { title: 'LANES', cell: queue => known(queue.lanes, count), align: 'right', optional: true },
  { title: 'READY', cell: queue => count(queue.ready), align: 'right' },
  { title: 'DELAYED', cell: queue => known(queue.delayed, count), align: 'right', optional: true },
  { title: 'UNSETTLED', cell: queue => known(queue.unsettled, count), align: 'right', optional: true },
  { title: 'CONSUMERS', cell: queue => count(queue.consumers), align: 'right' },
  { title: 'IN/S', cell: queue => known(queue.publishRate, rate), align: 'right', optional: true },
  { title: 'OUT/S', cell: queue => known(queue.deliverRate, rate), align: 'right', optional: true },
  { title: 'OLDEST', cell: queue => known(queue.oldestAgeMs, duration), align: 'right', optional: true },
]

async function show(session: Session, names: readonly string[], options: Options): Promise<void> {
  const { signal } = session
  if (options.watch === undefined) return await showOnce(session, names, options)
  while (!signal.aborted) {
    await showOnce(session, names, options).catch((error: unknown) => {
      // An engine that restarts is worth watching.
      if (!isChasquiError(error) || !error.retryable) throw error
      if (!signal.aborted) console.error(`chasqui: ${error.message}`)
    })
    await sleep(options.watch * 1000, undefined, { signal }).catch(() => undefined)
  }
}

async function showOnce({ bus, output }: Session, names: readonly string[], options: Options): Promise<void> {
  const { rows, hidden } = await rowsOf(bus, names, options)
  if (options.watch !== undefined && output.isTerminal && !output.json) output.clear()
  await output.rows(rows, columns, 'There are no queues.')
  if (hidden.queues === 0 || output.json) return
  const messages = `${count(hidden.messages)} ${hidden.messages === 1 ? 'message' : 'messages'}`
  await output.line(`\n${count(hidden.queues)} more are Chasqui's own, with ${messages}; --all shows them.`)
}

async function rowsOf(bus: Bus, names: readonly string[], { all }: Options): Promise<QueueRows> {
  const queues = await queuesOf(bus, names)
  const isAsked = all === true || names.length > 0
  return isAsked ? { rows: queues, hidden: { queues: 0, messages: 0 } } : queueRows(queues)
}

/** All of them, or those of these names, told of as fully as the engine does. */
async function queuesOf(bus: Bus, names: readonly string[]): Promise<readonly QueueInfo[]> {
  if (names.length === 0) return await all(bus)
  const list = await all(bus).catch((error: unknown) => {
    if (isChasquiError(error) && error.code === 'unsupported') return []
    throw error
  })
  const known = new Map([...list, ...queueRows(list).rows].map(queue => [queue.name, queue]))
  return await Promise.all(names.map(async name => known.get(name) ?? (await one(bus, name))))
}

async function all(bus: Bus): Promise<readonly QueueInfo[]> {
  const list = bus.inspector?.queues
  if (list !== undefined) return await list.call(bus.inspector)
  throw new ChasquiError(
    'unsupported',
    `The engine ${bus.capabilities.engine} lists no queues. Name them: chasqui queues NAME...`,
  )
}

async function one(bus: Bus, name: string): Promise<QueueInfo> {
  const depth = await bus.inspector?.depth({ kind: 'queue', name })
  if (depth !== undefined) return { name, ...depth }
  throw new ChasquiError(
    'destination-missing',
    `There is no queue "${name}". \`chasqui queues\` lists those that are there.`,
  )
}

function known(number: number | undefined, text: (number: number) => string): string {
  return number === undefined ? '' : text(number)
}

function rate(perSecond: number): string {
  return perSecond >= 10 || perSecond === 0 ? count(Math.round(perSecond)) : perSecond.toFixed(1)
}
