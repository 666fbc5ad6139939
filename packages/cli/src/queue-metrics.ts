/** How full queues are, in Prometheus' text format, with the label that the metrics of a bus have (see docs/concepts/metrics.md). */
import type { QueueInfo } from '@chasqui/driver'

/** So many queues have a label of their own; the others share one, so that nobody's monitoring drowns in names. */
const maxQueues = 1000
const overflow = '_other'

const gauges = [
  { name: 'chasqui_queue_ready', help: 'Messages that wait for a consumer.', value: (queue: QueueInfo) => queue.ready },
  {
    name: 'chasqui_queue_unsettled',
    help: 'Messages delivered and not settled.',
    value: (queue: QueueInfo) => queue.unsettled,
  },
  { name: 'chasqui_queue_delayed', help: 'Messages that are not due yet.', value: (queue: QueueInfo) => queue.delayed },
  { name: 'chasqui_queue_consumers', help: 'Consumers of the queue.', value: (queue: QueueInfo) => queue.consumers },
] as const

export function queueMetrics(queues: readonly QueueInfo[]): string {
  const lines: string[] = []
  for (const { name, help, value } of gauges) {
    const values = new Map<string, number>()
    for (const [at, queue] of queues.entries()) {
      const number = value(queue)
      const label = at < maxQueues ? queue.name : overflow
      if (number !== undefined) values.set(label, (values.get(label) ?? 0) + number)
    }
    lines.push(...gauge(name, help, values))
  }
  return `${lines.join('\n')}\n`
}

function gauge(name: string, help: string, values: ReadonlyMap<string, number>): string[] {
  const samples = [...values].map(
    ([queue, value]) => `${name}{messaging_destination_name="${escaped(queue)}"} ${value}`,
  )
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...samples]
}

/** Prometheus, "Text-based format": backslash, quote and line end are escaped in a label's value. */
function escaped(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
