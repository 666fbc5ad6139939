/**
 * Frees segments of which little is wanted. One dead letter in each would otherwise keep all of them: its message is
 * written anew at the store's end, keeps its place in its queues, and the segment goes.
 *
 * Messages that are out with a consumer are left where they are, and so is their segment: they will be settled soon, or
 * come back and be found the next time.
 */
import type { Envelope, Item } from '../queue/item.ts'
import type { Queue } from '../queue/queue.ts'
import type { Segment } from '../store/segment.ts'
import type { Store } from '../store/store.ts'
import type { Memory } from './memory.ts'

interface Holder {
  readonly queue: Queue
  readonly item: Item
}

/** Answers of how many segments everything was written anew. */
export function rewriteSparse(
  segments: ReadonlySet<Segment>,
  queues: Iterable<Queue>,
  store: Store,
  memory: Memory,
): number {
  const found = new Map<Segment, Map<Envelope, Holder[]>>()
  const counts = new Map<Segment, number>()
  for (const queue of queues) {
    // Queues that are not stored hold nothing of a segment on their own account.
    if (queue.id < 0) continue
    queue.each(item => {
      const segment = item.stored ? item.envelope.place?.segment : undefined
      if (segment === undefined || !segments.has(segment)) return
      let envelopes = found.get(segment)
      if (envelopes === undefined) {
        envelopes = new Map()
        found.set(segment, envelopes)
      }
      const holders = envelopes.get(item.envelope)
      if (holders === undefined) envelopes.set(item.envelope, [{ queue, item }])
      else holders.push({ queue, item })
      counts.set(segment, (counts.get(segment) ?? 0) + 1)
    })
  }
  let rewritten = 0
  for (const [segment, envelopes] of found) {
    if (counts.get(segment) !== segment.live) continue
    for (const [envelope, holders] of envelopes) rewrite(envelope, holders, store, memory)
    rewritten++
  }
  return rewritten
}

function rewrite(envelope: Envelope, holders: readonly Holder[], store: Store, memory: Memory): void {
  const rewritten = store.rewrite(
    envelope.place!,
    holders.map(({ queue }) => queue.id),
  )
  // What cannot be read stays; its reader will find out and say so.
  if (rewritten === undefined) return
  envelope.place = rewritten.place
  if (envelope.message === undefined) {
    envelope.message = rewritten.message
    memory.loaded(envelope)
    memory.rewritten(envelope, store.appended)
  }
  for (const { queue, item } of holders) {
    if (item.redelivered) store.note(queue.id, rewritten.place, 'returned', item.returns)
  }
}
