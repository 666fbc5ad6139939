/**
 * Queues as users know them: the lanes of one as one row, and without those that Chasqui makes for itself.
 *
 *     NAME.lane-0 ... NAME.lane-(N-1)    one row NAME, with N lanes
 *     NAME.lane-members                  who shares the lanes (packages/driver-amqp)
 *     reply-UUID                         where a bus gets its replies (packages/core/src/request)
 *     chasqui.NN.delayed, chasqui.sink.delayed    where delayed messages wait on RabbitMQ (packages/rabbitmq); not
 *                                        chasqui.undeliverable.delayed, which keeps what lost its place: people should see it
 */
import type { QueueInfo } from '@chasqui/driver'

export interface QueueRow extends QueueInfo {
  /** Absent for a queue that is one. */
  readonly lanes?: number
}

export interface QueueRows {
  readonly rows: readonly QueueRow[]
  /** Queues that are left out, and the messages that wait in them. */
  readonly hidden: { readonly queues: number; readonly messages: number }
}

const ownQueue =
  /^(?:chasqui\.(?:\d\d|sink)\.delayed|reply-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|.+\.lane-members)$/

/** In the order in which they came, a queue with lanes where its first one stood. */
export function queueRows(queues: readonly QueueInfo[]): QueueRows {
  const hidden = queues.filter(({ name }) => ownQueue.test(name))
  const rows = new Map<string, QueueRow>()
  const stems = lanedStems(queues)
  for (const queue of queues) {
    if (ownQueue.test(queue.name)) continue
    const stem = stemOf(queue.name)
    const lanes = stem === undefined ? undefined : stems.get(stem)
    if (stem === undefined || lanes === undefined) rows.set(queue.name, queue)
    else rows.set(stem, together(rows.get(stem), { ...queue, name: stem, lanes }))
  }
  const messages = hidden.reduce((sum, { ready }) => sum + ready, 0)
  return { rows: [...rows.values()], hidden: { queues: hidden.length, messages } }
}

/** How many lanes each name has of which lanes 0 to N-1 are all there. */
function lanedStems(queues: readonly QueueInfo[]): ReadonlyMap<string, number> {
  const lanes = new Map<string, Set<number>>()
  for (const { name } of queues) {
    const stem = stemOf(name)
    if (stem === undefined) continue
    const known = lanes.get(stem) ?? new Set()
    lanes.set(stem, known.add(Number(name.slice(stem.length + '.lane-'.length))))
  }
  const whole = [...lanes].filter(([, known]) => known.size > 1 && Math.max(...known) === known.size - 1)
  return new Map(whole.map(([stem, known]) => [stem, known.size]))
}

function stemOf(name: string): string | undefined {
  return /^(.+)\.lane-\d+$/.exec(name)?.[1]
}

function together(before: QueueRow | undefined, lane: QueueRow): QueueRow {
  if (before === undefined) return lane
  return {
    ...lane,
    ready: before.ready + lane.ready,
    unsettled: sum(before.unsettled, lane.unsettled),
    delayed: sum(before.delayed, lane.delayed),
    // Each consumer consumes all lanes.
    consumers: Math.max(before.consumers, lane.consumers),
    publishRate: sum(before.publishRate, lane.publishRate),
    deliverRate: sum(before.deliverRate, lane.deliverRate),
    oldestAgeMs: largest(before.oldestAgeMs, lane.oldestAgeMs),
  }
}

function sum(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : a + b
}

function largest(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined ? b : b === undefined ? a : Math.max(a, b)
}
