/**
 * One lane of a source: a queue with one active consumer at a time, and our consumer of it.
 *
 *     joined --yield--> yielding (revoked with grace) --> away --> joined, behind all others
 *       |
 *       +--- window 0 --> joined until nothing is unsettled --> away --- window > 0 --> joined
 *
 * Between the queue and the sink stands a buffer, for the prefetch count of the one active consumer can neither be
 * changed nor its consumer be cancelled: with deliveries unsettled the next consumer would start beside them. What
 * exceeds the window waits here, and goes back in its place with the channel.
 */
import type { Batch, ChasquiError, Incoming, Outcome, Sink } from '@chasqui/driver'
import type { AmqpReceiver } from './receiver.ts'

export interface LaneParts {
  readonly queue: string
  readonly sink: Sink
  readonly window: number
  /** Makes the consumer, which is started by whoever makes the lane. */
  receiver(sink: Sink): AmqpReceiver
}

export class Lane implements Sink {
  readonly queue: string
  readonly receiver: AmqpReceiver
  readonly #sink: Sink
  #window: number
  #stage: 'joined' | 'yielding' | 'away' | 'ended' = 'joined'
  /** The broker has given us messages since we joined, so that it gives them to nobody else until we leave. */
  #isActive = false
  #epoch = 0
  #waiting: Incoming[] = []
  /** How many deliveries the sink holds. */
  #held = 0

  constructor({ queue, sink, window, receiver }: LaneParts) {
    this.queue = queue
    this.#sink = sink
    this.#window = window
    this.receiver = receiver(this)
  }

  /** True while the lane is ours, as far as messages have shown. */
  get isActive(): boolean {
    return this.#isActive && this.#stage === 'joined'
  }

  /** True while we wait for the lane to become ours. */
  get isStandby(): boolean {
    return !this.#isActive && this.#stage === 'joined'
  }

  /** How many messages a change of owner would interrupt. */
  get held(): number {
    return this.#held
  }

  deliver({ epoch, items }: Batch): void {
    this.#isActive = true
    if (epoch !== this.#epoch) this.#begin(epoch)
    this.#waiting.push(...items)
    this.#flush()
  }

  async revoke(_lane: string, epoch: number, graceMs: number): Promise<void> {
    this.#isActive = false
    this.#begin(epoch)
    await this.#sink.revoke(this.queue, epoch, graceMs)
  }

  fail(error: ChasquiError): void {
    this.#sink.fail(error)
  }

  settle(epoch: number, tags: readonly number[], outcome: Outcome): Promise<'done' | 'stale'> {
    const settled = this.receiver.settle(this.queue, epoch, tags, outcome)
    if (epoch === this.#epoch) {
      this.#held = Math.max(0, this.#held - tags.length)
      this.#flush()
      if (this.#window === 0) void this.#leaveIfIdle()
    }
    return settled
  }

  /** 0 pauses, and lets go of the lane once nothing of it is unsettled. */
  async window(messages: number): Promise<void> {
    this.#window = messages
    if (messages === 0) await this.#leaveIfIdle()
    else if (this.#stage === 'away') await this.#join()
    else this.#flush()
  }

  /**
   * Hands the lane over: no handler begins, those that run may end within the grace, then the next in line has it, and we are
   * the last. Does not reject.
   */
  async yield(graceMs: number): Promise<void> {
    if (this.#stage !== 'joined') return
    this.#stage = 'yielding'
    this.#waiting = []
    // Told of it also when it holds nothing, for it may show whose lanes are whose.
    if (this.#isActive) await withinTime(this.#sink.revoke(this.queue, this.#epoch, graceMs), graceMs)
    if (this.#isYielding()) await this.#leave()
  }

  async stop(): Promise<void> {
    this.#stage = 'ended'
    this.#waiting = []
    await this.receiver.stop()
  }

  async #leaveIfIdle(): Promise<void> {
    if (this.#stage === 'joined' && this.#held === 0) await this.#leave()
  }

  async #leave(): Promise<void> {
    this.#stage = 'away'
    this.#isActive = false
    this.#waiting = []
    this.#held = 0
    await this.receiver.leave()
    // Unless that was asked for meanwhile.
    if (this.#window > 0) await this.#join()
  }

  async #join(): Promise<void> {
    if (this.#stage !== 'away') return
    this.#stage = 'joined'
    await this.receiver.join(this.#window)
  }

  /** Asked across an await, where the compiler takes the stage for what it was. */
  #isYielding(): boolean {
    return this.#stage === 'yielding'
  }

  #begin(epoch: number): void {
    this.#epoch = epoch
    this.#waiting = []
    this.#held = 0
  }

  #flush(): void {
    const room = this.#window - this.#held
    if (this.#stage !== 'joined' || room <= 0 || this.#waiting.length === 0) return
    const items = this.#waiting.length <= room ? this.#waiting : this.#waiting.slice(0, room)
    this.#waiting = items === this.#waiting ? [] : this.#waiting.slice(room)
    this.#held += items.length
    this.#sink.deliver({ lane: this.queue, epoch: this.#epoch, items })
  }
}

/** The sink keeps to its grace by itself; this is for one that does not. */
async function withinTime(work: Promise<void>, timeoutMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>(resolve => {
    timer = setTimeout(resolve, timeoutMs)
  })
  await Promise.race([work, late]).finally(() => clearTimeout(timer))
}
