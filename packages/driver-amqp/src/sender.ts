/**
 * Batches out, one result a message back.
 *
 *     send -> waiting (first in, first out, bounded) -> published, unconfirmed (bounded) -> result
 *
 * A message waits while the connection is away, blocked or behind with writing, and while too many are unconfirmed.
 * What was published and not confirmed when the channel ends, or at its deadline, is in doubt and is not published
 * again; but for a broker that confirms all it took before it closes: there it has not arrived, and goes back to the head of
 * those that wait. A message that came back because its queue vanished has arrived nowhere: the queue is created again, where
 * we may, and the message goes once more.
 *
 * No promise and no timer a message: a callback each, and one timer for the earliest deadline.
 */
import type { BasicProperties } from '@chasqui/amqp'
import type { Channel, ConfirmOutcome, Connection } from '@chasqui/amqp/client'
import { ChasquiError, type Outgoing, type SendResult, type Target } from '@chasqui/driver'
import type { Address } from './address.ts'
import { type DelayRoutes, isDelayed, tooLong } from './delays.ts'
import { replyCode } from './failures.ts'
import { toProperties } from './mapping.ts'
import {
  because,
  closedError,
  lostError,
  refusedError,
  timeoutResult,
  unpublishable,
  unroutableError,
} from './send-failures.ts'

export interface SenderOptions {
  /** How many messages may be published and not confirmed. */
  readonly maxUnconfirmed: number
  /** How many messages may wait to be published; beyond it a batch fails with `buffer-full`. */
  readonly maxWaiting: number
  /** Whether what is confirmed for this target survives a restart of the broker. */
  isDurable(to: Target): boolean
  addressOf(outgoing: Outgoing): Address
  /** Where delayed messages go; undefined where the broker keeps them back itself. */
  delays(): DelayRoutes | undefined
  /** Creates the target of a message if it vanished; resolves false where that is not ours to do. */
  recreate(outgoing: Outgoing): Promise<boolean>
  /** Whether what was unconfirmed when the channel ended for this reason has arrived nowhere. */
  hasNotArrived(reason: Error): boolean
  /** Why nothing can be published now, for the sentence of a time-out; undefined while all is well. */
  obstacle(): string | undefined
}

interface Job {
  readonly batch: readonly Outgoing[]
  readonly deadline: number
  readonly results: (SendResult | undefined)[]
  readonly resolve: (results: readonly SendResult[]) => void
  /** True for the second passage of one message, after which there is no third. */
  readonly again: boolean
  /** Index of the first message that was not published. */
  next: number
  /** Indexes of those that were, and have not arrived. */
  back: number[] | undefined
  /** It is among those with messages to publish. */
  isWaiting: boolean
  /** How many results are missing. */
  open: number
}

const confirmedDurable: SendResult = Object.freeze({ ok: true, durable: true })
const confirmedTransient: SendResult = Object.freeze({ ok: true, durable: false })
const mandatory = Object.freeze({ mandatory: true })
const optional = Object.freeze({ mandatory: false })
/** Node's timers do not take longer ones; what is due later is looked at again then. */
const maxTimerMs = 2 ** 31 - 1

export class Sender {
  readonly #options: SenderOptions
  /** Jobs with messages to publish, oldest first. */
  readonly #waiting: Job[] = []
  /** Jobs with results missing. */
  readonly #open = new Set<Job>()
  #channel: Channel | undefined
  #connection: Connection | undefined
  #waitingCount = 0
  #unconfirmed = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #pumping = false
  #closed = false
  #drained: (() => void) | undefined
  /** How many jobs went back to the head of the line since the last channel ended. */
  #returnedJobs = 0

  constructor(options: SenderOptions) {
    this.#options = options
  }

  /** How many messages wait to be published. */
  get waiting(): number {
    return this.#waitingCount
  }

  /** How many are published and neither confirmed nor given up by the channel. */
  get unconfirmed(): number {
    return this.#unconfirmed
  }

  /** See `Driver.send`. */
  send(batch: readonly Outgoing[], deadline: number): Promise<readonly SendResult[]> {
    if (batch.length === 0) return Promise.resolve([])
    if (this.#closed) return Promise.resolve(batch.map(() => failure(closedError())))
    // A batch longer than the bound passes when nothing waits, else it never could.
    if (this.#waitingCount > 0 && this.#waitingCount + batch.length > this.#options.maxWaiting) {
      const error = new ChasquiError(
        'buffer-full',
        `${this.#waitingCount} messages wait to be sent already${because(this.#options.obstacle())}. Await earlier sends, or send slower.`,
        { details: { waiting: this.#waitingCount, limit: this.#options.maxWaiting } },
      )
      return Promise.resolve(batch.map(() => failure(error)))
    }
    return new Promise(resolve => this.#add(batch, deadline, resolve, false))
  }

  /** Publishes on this channel, in confirm mode, from now on. */
  attach(connection: Connection, channel: Channel): void {
    this.#connection = connection
    this.#channel = channel
    this.#returnedJobs = 0
    this.pump()
  }

  /** The channel has ended. What is unconfirmed on it hears of it from the channel itself. */
  detach(): void {
    this.#connection = undefined
    this.#channel = undefined
  }

  /** Publishes what waits as far as it can. To be called when something that held it up is gone. */
  pump(): void {
    const channel = this.#channel
    const connection = this.#connection
    // A message that cannot be published is settled at once, which calls here again.
    if (channel === undefined || connection === undefined || this.#pumping) return
    this.#pumping = true
    const { maxUnconfirmed } = this.#options
    const now = Date.now()
    let done = 0
    for (let job = this.#waiting[0]; job !== undefined; job = this.#waiting[done]) {
      while (hasMore(job)) {
        if (this.#unconfirmed >= maxUnconfirmed || !connection.writable || connection.blocked || channel.closed) break
        this.#waitingCount--
        this.#publish(channel, job, job.back?.shift() ?? job.next++, now)
      }
      if (hasMore(job)) break
      job.isWaiting = false
      done++
    }
    if (done === this.#waiting.length) this.#waiting.length = 0
    else if (done > 0) this.#waiting.splice(0, done)
    this.#pumping = false
  }

  /**
   * Takes no more and resolves once every message has its result. What is published waits for its confirm, up to its
   * deadline; what waits is still sent if the connection is there, else given up.
   */
  async close(canSend: boolean): Promise<void> {
    this.#closed = true
    if (!canSend) this.giveUp()
    if (this.#open.size > 0) {
      await new Promise<void>(resolve => {
        this.#drained = resolve
      })
    }
    clearTimeout(this.#timer)
  }

  /** Fails all that has no result. */
  giveUp(): void {
    const error = closedError()
    for (const job of [...this.#open]) this.#fail(job, published => ({ ok: false, error, inDoubt: published }))
  }

  #add(batch: readonly Outgoing[], deadline: number, resolve: Job['resolve'], again: boolean): void {
    const results = new Array<SendResult | undefined>(batch.length).fill(undefined)
    const job: Job = {
      batch,
      deadline,
      results,
      resolve,
      again,
      next: 0,
      back: undefined,
      isWaiting: true,
      open: batch.length,
    }
    this.#open.add(job)
    this.#waiting.push(job)
    this.#waitingCount += batch.length
    if (deadline < this.#timerAt) this.#watch(deadline)
    else this.#timer?.ref()
    // Behind others it waits for what they wait for.
    if (this.#waiting.length === 1) this.pump()
  }

  #publish(channel: Channel, job: Job, index: number, now: number): void {
    const outgoing = job.batch[index]!
    const { to, message } = outgoing
    let address = this.#options.addressOf(outgoing)
    this.#unconfirmed++
    try {
      let properties = toProperties(message, now)
      const delays = message.notBefore === undefined ? undefined : this.#options.delays()
      if (delays !== undefined && isDelayed(outgoing, now)) {
        address = detourOf(delays, address, message.notBefore! - now)
        properties = departing(delays, properties)
      }
      channel.publishConfirmed(
        address.exchange,
        address.routingKey,
        properties,
        message.body,
        // A topic without a subscription is no failure; a queue that is not there is.
        to.kind === 'topic' ? optional : mandatory,
        outcome => {
          this.#unconfirmed--
          this.#settled(job, index, outcome)
        },
      )
    } catch (error) {
      this.#unconfirmed--
      this.#finish(job, index, failure(unpublishable(error)))
    }
  }

  #settled(job: Job, index: number, outcome: ConfirmOutcome): void {
    // The message's deadline came first, and the answer was that.
    if (job.results[index] === undefined) {
      const { to, message } = job.batch[index]!
      if (outcome === 'ack') {
        this.#finish(job, index, message.durable && this.#options.isDurable(to) ? confirmedDurable : confirmedTransient)
      } else if (outcome === 'nack') {
        this.#finish(job, index, failure(refusedError(to)))
      } else if ('lost' in outcome && !this.#closed && this.#options.hasNotArrived(outcome.lost)) {
        this.#publishAgain(job, index)
      } else if ('lost' in outcome) {
        this.#finish(job, index, { ok: false, error: lostError(outcome.lost, to), inDoubt: true })
      } else {
        this.#returned(job, index, outcome.returned)
      }
    }
    if (this.#waiting.length > 0) this.pump()
  }

  /** The channel tells of its messages in the order in which they were published, and so they go again. */
  #publishAgain(job: Job, index: number): void {
    if (job.back === undefined) job.back = [index]
    else job.back.push(index)
    this.#waitingCount++
    if (job.isWaiting) return
    job.isWaiting = true
    this.#waiting.splice(this.#returnedJobs++, 0, job)
  }

  #returned(job: Job, index: number, { replyCode: code, replyText }: { replyCode: number; replyText: string }): void {
    const outgoing = job.batch[index]!
    const { to } = outgoing
    const giveUp = (cause?: unknown): void => {
      this.#finish(job, index, failure(unroutableError(to, `${code} ${replyText}`, cause)))
    }
    if (job.again || code !== replyCode.noRoute || this.#closed) {
      giveUp()
      return
    }
    this.#options.recreate(outgoing).then(
      recreated => {
        if (!recreated || job.results[index] !== undefined) giveUp()
        else this.#add([outgoing], job.deadline, results => this.#finish(job, index, results[0]!), true)
      },
      error => giveUp(error),
    )
  }

  #finish(job: Job, index: number, result: SendResult): void {
    if (job.results[index] !== undefined) return
    job.results[index] = result
    if (--job.open > 0) return
    this.#open.delete(job)
    job.resolve(job.results as SendResult[])
    if (this.#open.size === 0) {
      this.#timer?.unref()
      this.#drained?.()
    }
  }

  #fail(job: Job, resultOf: (published: boolean) => SendResult): void {
    const published = resultOf(true)
    const unpublished = resultOf(false)
    const { next, results, back = [] } = job
    const hasLeft = (index: number) => index < next && !back.includes(index)
    for (let index = 0; index < results.length; index++) {
      this.#finish(job, index, hasLeft(index) ? published : unpublished)
    }
    this.#waitingCount -= results.length - next + back.length
    job.next = results.length
    job.back = undefined
    if (!job.isWaiting) return
    job.isWaiting = false
    const at = this.#waiting.indexOf(job)
    this.#waiting.splice(at, 1)
    if (at < this.#returnedJobs) this.#returnedJobs--
  }

  #watch(deadline: number): void {
    clearTimeout(this.#timer)
    this.#timerAt = deadline
    this.#timer = setTimeout(() => this.#expire(), Math.min(Math.max(0, deadline - Date.now()), maxTimerMs))
  }

  #expire(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#timer = undefined
    const now = Date.now()
    let earliest = Number.POSITIVE_INFINITY
    const obstacle = this.#options.obstacle()
    for (const job of [...this.#open]) {
      if (job.deadline <= now) this.#fail(job, published => timeoutResult(published, obstacle))
      else earliest = Math.min(earliest, job.deadline)
    }
    if (earliest < this.#timerAt) this.#watch(earliest)
  }
}

function hasMore({ next, batch, back }: Job): boolean {
  return next < batch.length || (back !== undefined && back.length > 0)
}

function detourOf(delays: DelayRoutes, address: Address, delayMs: number): Address {
  const detour = delays.detour(address, delayMs)
  if (detour === undefined) throw tooLong(delayMs)
  return detour
}

/** A message that expires on its detour would leave that early; the header bounds its life still. */
function departing(delays: DelayRoutes, properties: BasicProperties): BasicProperties {
  return { ...properties, expiration: undefined, headers: delays.departing(properties.headers ?? {}) }
}

function failure(error: ChasquiError): SendResult {
  return { ok: false, error, inDoubt: false }
}
