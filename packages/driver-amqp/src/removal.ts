/** Deleting a queue, with all its lanes and what waits in them. */
import { queueExists } from './existing.ts'
import { refusal } from './failures.ts'
import { laneQueues, membersQueue } from './queue-names.ts'
import type { Scratch } from './scratch.ts'
import type { TopologyKeeper } from './topology.ts'

/** Resolves false where there was none. It is not made again after a reconnect. */
export async function removeQueue(scratch: Scratch, topology: TopologyKeeper, name: string): Promise<boolean> {
  const lanes = await topology.findLanes(scratch, name)
  topology.forget('queue', name)
  let wasThere = false
  try {
    for (const queue of laneQueues(name, lanes)) {
      if (!(await queueExists(scratch, queue))) continue
      await scratch.run(channel => channel.deleteQueue(queue))
      wasThere = true
    }
    // Those who share the lanes meet there; it goes by itself where somebody else made it anew.
    if (lanes !== undefined) await scratch.run(channel => channel.deleteQueue(membersQueue(name)))
  } catch (error) {
    throw refusal(error, `queue '${name}'`)
  }
  return wasThere
}
