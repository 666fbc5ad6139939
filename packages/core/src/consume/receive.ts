/**
 * Receiving by hand: `for await (const delivery of bus.receive(...))`. The loop takes messages one by one, may settle them in any
 * order and at any time while it runs, and whatever is open when it is left goes back to the engine.
 */
import type { Batch, ChasquiError as ChasquiErrorType, Driver, Receiver, Sink } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import { isPromise } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import { messageOf } from '../observe/message-of.ts'
import type { DeadLetterMover } from '../retry/mover.ts'
import { maxHoldMs } from '../retry/policy.ts'
import type { Settlements } from '../settle/settlement.ts'
import { notOpen, OpenDelivery, staleError } from '../settle/settlement.ts'
import type { MessageInfo, Scope } from './incoming.ts'
import { Attempt } from './incoming.ts'
import { InfoView } from './info-view.ts'
import { FifoQueue } from './queue.ts'
import type { Routes } from './routes.ts'

/** One message in the hands of the loop. Settle it once, by one of the three. */
export interface Delivery<T> extends MessageInfo {
  readonly body: T
  /** Done: the engine may forget it. Rejects with `already-settled` or `delivery-stale`. */
  ack(): Promise<void>
  /** Back to the engine, after `delayMs` (0 to 300,000 ms, held in this process; default 0), for anybody to receive. */
  release(options?: { readonly delayMs?: number }): Promise<void>
  /** To the dead-letter queue with this reason. Resolves when it is confirmed there. */
  deadLetter(reason: string): Promise<void>
}

export interface ReceiveParts {
  readonly driver: Driver
  readonly scope: Scope
  /** Routes whose handlers return the body. */
  readonly routes: Routes
  readonly window: number
  readonly signal: AbortSignal | undefined
  readonly settlements: Settlements
  readonly mover: DeadLetterMover
  readonly events: EventHub
  readonly ended: (loop: ReceiveLoop) => void
}

export class ReceiveLoop implements Sink {
  readonly name: string
  readonly #parts: ReceiveParts
  readonly #arrived = new FifoQueue<OpenDelivery>()
  /** Handed to the loop and not settled. */
  readonly #open = new Set<OpenDelivery>()
  readonly #holds = new Set<() => void>()
  #receiver: Receiver | undefined
  #wake: (() => void) | undefined
  #ending = false
  #failure: ChasquiErrorType | undefined
  readonly #finished = Promise.withResolvers<void>()

  constructor(parts: ReceiveParts) {
    this.#parts = parts
    this.name = parts.scope.sourceName
  }

  /** Why nothing is received; `undefined` while all is well. */
  get failure(): string | undefined {
    return this.#failure?.message
  }

  /** The user's loop. Whatever ends it (break, throw, signal, close), its `finally` gives the rest back. */
  async *deliveries(): AsyncGenerator<Delivery<unknown>, void, void> {
    const { signal, events, driver, scope, window } = this.#parts
    const end = () => this.end()
    try {
      if (signal?.aborted || this.#ending) return
      signal?.addEventListener('abort', end, { once: true })
      const receiver = await driver.receive(scope.source, this, { window, order: 'none' })
      this.#receiver = receiver
      this.#parts.settlements.attach(receiver)
      this.#parts.mover.attach(receiver)
      events.emit({ kind: 'consumer-started', source: this.name, concurrency: 1, window })
      while (!this.#ending) {
        const next = this.#arrived.shift()
        if (next === undefined) {
          if (this.#failure !== undefined) throw this.#failure
          await new Promise<void>(resolve => {
            this.#wake = resolve
          })
        } else if (next.state === 'open') {
          const delivery = await this.#prepare(next)
          if (delivery !== undefined && next.state === 'open') {
            this.#open.add(next)
            yield delivery
          }
        }
      }
    } finally {
      signal?.removeEventListener('abort', end)
      await this.#finish()
    }
  }

  /** Ends the loop when it next asks for a message. */
  end(): void {
    this.#ending = true
    this.#wakeUp()
  }

  /** Ends the loop, waits for it to be left, and after the deadline takes the messages away from it. */
  async stop(deadlineMs: number): Promise<void> {
    this.end()
    if (this.#receiver === undefined) return
    const timer = setTimeout(() => void this.#finish(), deadlineMs)
    await this.#finished.promise
    clearTimeout(timer)
  }

  deliver(batch: Batch): void {
    for (const item of batch.items) this.#arrived.push(new OpenDelivery(batch.lane, batch.epoch, item))
    this.#wakeUp()
  }

  async revoke(lane: string, epoch: number): Promise<void> {
    const arrived = this.#arrived.drain()
    for (const delivery of [...arrived, ...this.#open]) {
      if (delivery.lane === lane && delivery.epoch === epoch && delivery.state === 'open') delivery.state = 'stale'
    }
    for (const delivery of arrived) if (delivery.state === 'open') this.#arrived.push(delivery)
    for (const delivery of this.#open) if (delivery.state !== 'open') this.#open.delete(delivery)
  }

  fail(error: ChasquiErrorType): void {
    this.#failure = error
    this.#parts.events.emit({ kind: 'consumer-failed', source: this.name, error })
    this.#wakeUp()
  }

  /** Decodes and validates. What cannot be, and what no route takes, goes the way that handlers' messages go. */
  async #prepare(open: OpenDelivery): Promise<LoopDelivery | undefined> {
    const { routes, scope, events } = this.#parts
    const { message, redelivered } = open.item
    const { id, type } = message
    open.attempt = 1
    if (events.heard.received) {
      events.emit({ kind: 'received', source: this.name, id, type, redelivered, bytes: message.body.byteLength })
    }
    const route = routes.find(type)
    if (route === undefined) {
      events.emit({ kind: 'unrouted', source: this.name, id, type, count: 1 })
      const error = new ChasquiError('unrouted', `This loop over "${this.name}" does not take the type "${type}".`)
      await this.#moveAway(open, error.code, error.message, error)
      return undefined
    }
    const attempt = new Attempt(scope, route, message, redelivered, open.item.deliveries ?? 1)
    try {
      const result = route.run(attempt)
      const body = isPromise(result) ? await result : result
      return new LoopDelivery(this, open, attempt, body)
    } catch (error) {
      const code = isChasquiError(error) ? error.code : 'body-not-decodable'
      await this.#moveAway(open, code, messageOf(error), error)
      return undefined
    }
  }

  async ack(open: OpenDelivery): Promise<void> {
    await this.#settle(open, 'ack')
  }

  async release(open: OpenDelivery, delayMs: number): Promise<void> {
    if (!Number.isFinite(delayMs) || delayMs < 0 || delayMs > maxHoldMs) {
      throw new ChasquiError('option-invalid', `release(): \`delayMs\` must be a number from 0 to ${maxHoldMs}.`)
    }
    if (open.state !== 'open') throw notOpen(open)
    // Held here it stays unsettled, so it is durable in the engine meanwhile.
    if (delayMs > 0) await this.#hold(delayMs)
    await this.#settle(open, 'requeue')
    const { id, type } = open.item.message
    if (this.#parts.events.heard.released) {
      this.#parts.events.emit({ kind: 'released', source: this.name, id, type, reason: 'the loop released it' })
    }
  }

  async deadLetter(open: OpenDelivery, reason: string): Promise<void> {
    if (open.state !== 'open') throw notOpen(open)
    await this.#moveAway(open, 'dead-lettered', reason, new ChasquiError('dead-lettered', reason))
    if ((open.state as OpenDelivery['state']) !== 'settled') throw staleError()
  }

  async #settle(open: OpenDelivery, outcome: 'ack' | 'requeue'): Promise<void> {
    const settled = await this.#parts.settlements.settle(open, outcome)
    this.#open.delete(open)
    if (settled === 'stale') throw staleError()
  }

  async #moveAway(open: OpenDelivery, code: string, reason: string, error: unknown): Promise<void> {
    const now = Date.now()
    const failure = { code, reason, error, attempts: open.attempt, firstFailedAt: now, lastFailedAt: now }
    await this.#parts.mover.move(open, failure)
    this.#open.delete(open)
  }

  #hold(delayMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#holds.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, delayMs)
      this.#holds.add(wake)
    })
  }

  #wakeUp(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }

  /** Everything open goes back; settling it afterwards is `delivery-stale`. */
  async #finish(): Promise<void> {
    this.#ending = true
    this.#parts.mover.stop()
    const { settlements, events } = this.#parts
    for (const wake of this.#holds) wake()
    // Those that were held release themselves in the turn that follows.
    await Promise.resolve()
    for (const open of [...this.#arrived.drain(), ...this.#open]) {
      // The receiver gives them back as one when it stops. Given back one by one they would come to it again meanwhile, and
      // a second return puts them behind what they stood before.
      if (open.state === 'open') open.state = 'stale'
    }
    this.#open.clear()
    await settlements.flushed()
    const receiver = this.#receiver
    this.#receiver = undefined
    await receiver?.stop().catch((error: unknown) => {
      events.emit({ kind: 'driver-failed', doing: `stopping the receiver of ${this.name}`, error })
    })
    this.#parts.ended(this)
    if (receiver !== undefined) events.emit({ kind: 'consumer-stopped', source: this.name, cancelled: 0 })
    this.#finished.resolve()
  }
}

class LoopDelivery extends InfoView implements Delivery<unknown> {
  readonly body: unknown
  readonly #loop: ReceiveLoop
  readonly #open: OpenDelivery

  constructor(loop: ReceiveLoop, open: OpenDelivery, info: MessageInfo, body: unknown) {
    super(info)
    this.#loop = loop
    this.#open = open
    this.body = body
  }

  ack(): Promise<void> {
    return this.#loop.ack(this.#open)
  }

  release(options: { readonly delayMs?: number } = {}): Promise<void> {
    return this.#loop.release(this.#open, options.delayMs ?? 0)
  }

  deadLetter(reason: string): Promise<void> {
    return this.#loop.deadLetter(this.#open, String(reason))
  }
}
