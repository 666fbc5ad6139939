/**
 * A source that keeps an order: a consumer for each of its lanes, of which the broker lets one at a time be active,
 * across processes. Every process consumes from every lane, so that another has a lane the moment its owner dies; and
 * hands over what is beyond its share (share.ts), so that all have some.
 */

import type { Connection } from '@chasqui/amqp/client'
import type { ChasquiError, Outcome, Receiver, ReceiverOptions, Sink, Source } from '@chasqui/driver'
import { depthsOf } from './depth.ts'
import { Lane } from './lane.ts'
import { Members } from './members.ts'
import { laneQueues, membersQueue, queueOf } from './queue-names.ts'
import { AmqpReceiver, checkedWindow, type ReceiverHost } from './receiver.ts'
import { Scratch } from './scratch.ts'
import { judge } from './share.ts'

/** How often a member looks whether the lanes are shared evenly, in milliseconds. */
const sharingEveryMs = 1_000
/** How long handlers may go on with a lane that is handed over, in milliseconds. */
const handOverGraceMs = 30_000

const stale = Promise.resolve('stale' as const)

export interface OrderedParts {
  readonly host: ReceiverHost
  readonly source: Source
  readonly lanes: number
  readonly sink: Sink
  readonly window: ReceiverOptions['window']
  /** To be restored after a loss of the connection. */
  added(receiver: AmqpReceiver): void
  ended(receiver: OrderedReceiver): void
}

export class OrderedReceiver implements Receiver {
  readonly #host: ReceiverHost
  readonly #sink: Sink
  readonly #lanes = new Map<string, Lane>()
  readonly #members: Members
  readonly #added: OrderedParts['added']
  readonly #ended: OrderedParts['ended']
  #timer: NodeJS.Timeout | undefined
  #memberCount = 0
  #isCourtesyDue = false
  /** Counts what lets us line up anew. */
  #turn = 0
  #activeCount = 0
  readonly #linedUp = new Map<Lane, number>()
  #isStopped = false

  constructor({ host, source, lanes, sink, window, added, ended }: OrderedParts) {
    this.#host = host
    this.#sink = sink
    this.#added = added
    this.#ended = ended
    this.#members = new Members(membersQueue(queueOf(source)))
    const share = laneWindow(checkedWindow(window, 1), lanes)
    const laneSink: Sink = {
      deliver: batch => sink.deliver(batch),
      revoke: (lane, epoch, graceMs) => sink.revoke(lane, epoch, graceMs),
      fail: error => this.#fail(error),
    }
    for (const queue of laneQueues(queueOf(source), lanes)) {
      const lane = new Lane({
        queue,
        sink: laneSink,
        window: share,
        receiver: forLane =>
          new AmqpReceiver(host, { source, queue, consumeArguments: {} }, forLane, { window: share }),
      })
      this.#lanes.set(queue, lane)
      this.#linedUp.set(lane, 0)
    }
  }

  /** Consumes for the first time; rejects where that is refused for any lane. */
  async start(connection: Connection): Promise<void> {
    try {
      // Counted before the first look at the share, so that those who have the lanes make room at once.
      if (this.#lanes.size > 1) this.#memberCount = await this.#members.count(connection).catch(() => 0)
      for (const { receiver } of this.#lanes.values()) {
        await receiver.start(connection)
        this.#added(receiver)
      }
    } catch (error) {
      await this.stop()
      throw error
    }
    if (this.#lanes.size > 1 && !this.#isStopped) this.#shareLater()
  }

  /** The window is that of all lanes together; each has an equal part of it, and at least one message. */
  async window(messages: number): Promise<void> {
    const share = laneWindow(checkedWindow(messages, 0), this.#lanes.size)
    await Promise.all([...this.#lanes.values()].map(lane => lane.window(share)))
  }

  settle(lane: string, epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'> {
    return this.#lanes.get(lane)?.settle(epoch, tags, outcome) ?? stale
  }

  async waiting(): Promise<number> {
    const connection = this.#host.connection()
    if (connection === undefined) return 0
    const depths = await Scratch.with(connection, scratch => depthsOf(scratch, [...this.#lanes.keys()]))
    // One that nobody consumes from should be ours, however alive our consumer looks.
    const ours = depths.filter(({ name, consumers }) => consumers === 0 || this.#lanes.get(name)!.isActive)
    return ours.reduce((sum, { ready }) => sum + ready, 0)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    this.#ended(this)
    await Promise.all([...[...this.#lanes.values()].map(lane => lane.stop()), this.#members.leave()])
  }

  #fail(error: ChasquiError): void {
    if (this.#isStopped) return
    // Half of the lanes would be half of the order.
    void this.stop()
    this.#sink.fail(error)
  }

  #shareLater(): void {
    this.#timer = setTimeout(() => {
      this.#share()
        // No connection, or no leave to count: the lanes stay where they are until the next look.
        .catch(() => undefined)
        .finally(() => {
          if (!this.#isStopped) this.#shareLater()
        })
    }, sharingEveryMs)
  }

  async #share(): Promise<void> {
    const connection = this.#host.connection()
    if (connection === undefined) return
    const members = await this.#members.count(connection)
    if (this.#isStopped) return
    const lanes = [...this.#lanes.values()]
    const active = lanes.filter(lane => lane.isActive)
    const haveOthersJoined = this.#memberCount > 0 && members > this.#memberCount
    if (haveOthersJoined) this.#isCourtesyDue = true
    if (haveOthersJoined || active.length > this.#activeCount) this.#turn++
    this.#memberCount = members
    this.#activeCount = active.length

    const standing = { lanes: lanes.length, members, active: active.length, isCourtesyDue: this.#isCourtesyDue }
    const { surplus, isSatisfied, isCourtesyDone } = judge(standing, Math.random())
    if (isCourtesyDone) this.#isCourtesyDue = false
    if (isSatisfied && members > 2) {
      const standby = lanes.filter(lane => lane.isStandby && this.#linedUp.get(lane)! < this.#turn)
      await Promise.all(standby.map(lane => this.#yield(lane)))
    }
    const leastHeld = active.filter(lane => lane.isActive).sort((a, b) => a.held - b.held)
    for (const lane of leastHeld.slice(0, surplus)) void this.#yield(lane)
  }

  async #yield(lane: Lane): Promise<void> {
    this.#linedUp.set(lane, this.#turn)
    await lane.yield(handOverGraceMs)
  }
}

function laneWindow(window: number, lanes: number): number {
  return window === 0 ? 0 : Math.max(1, Math.ceil(window / lanes))
}
