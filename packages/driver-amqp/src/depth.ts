/** How full queues are, as far as AMQP tells: by looking at each. */
import type { QueueDepth, QueueInfo } from '@chasqui/driver'
import { queueDepth } from './existing.ts'
import { laneQueues } from './queue-names.ts'
import type { Scratch } from './scratch.ts'
import type { TopologyKeeper } from './topology.ts'

/** Of a queue, or of all its lanes together; `undefined` where there is none. */
export async function depthOf(
  scratch: Scratch,
  topology: TopologyKeeper,
  name: string,
): Promise<QueueDepth | undefined> {
  const lanes = await depthsOf(scratch, laneQueues(name, await topology.findLanes(scratch, name)))
  if (lanes.length === 0) return undefined
  return {
    ready: lanes.reduce((sum, { ready }) => sum + ready, 0),
    // Of a lane's consumers the broker counts the active one alone.
    consumers: Math.max(...lanes.map(({ consumers }) => consumers)),
  }
}

/** Those that exist, each by itself. */
export async function depthsOf(scratch: Scratch, names: readonly string[]): Promise<readonly QueueInfo[]> {
  const infos: QueueInfo[] = []
  for (const name of names) {
    const depth = await queueDepth(scratch, name)
    if (depth !== undefined) infos.push({ name, ready: depth.messageCount, consumers: depth.consumerCount })
  }
  return infos
}
