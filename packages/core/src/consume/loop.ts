/**
 * The loop of a consumer: gives each delivery its turn, and sees to it that all of them leave when the consumer pauses, stops, or
 * loses a lane. What a turn is the attempts know, what follows a failure the failures, whose turn is next the backlog.
 *
 * A delivery is waiting -> running -> (held for a delayed attempt -> waiting)* -> settled, or void when its lane is lost.
 */
import type { Batch, ChasquiError } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'
import { isLastStop } from '../retry/dead-letter.ts'
import { recall } from '../retry/notes.ts'
import type { Settlements } from '../settle/settlement.ts'
import { staleError } from '../settle/settlement.ts'
import type { AttemptsParts } from './attempts.ts'
import { Attempts } from './attempts.ts'
import type { Backlog } from './backlog.ts'
import { ArrivalOrder } from './backlog.ts'
import type { FailuresParts } from './failures.ts'
import { Failures } from './failures.ts'
import { FairOrder } from './fair-order.ts'
import { Held } from './held.ts'
import type { Intake } from './intake.ts'
import { keyOrder, strictOrder } from './key-order.ts'
import type { ConsumeSettings } from './options.ts'
import type { Routes } from './routes.ts'
import { Running } from './running.ts'
import type { Station } from './station.ts'
import type { SuspectsParts } from './suspects.ts'
import { Suspects } from './suspects.ts'
import type { Floor, Gate } from './work.ts'
import { Work } from './work.ts'

export interface LoopParts
  extends Omit<FailuresParts, 'floor'>,
    Omit<AttemptsParts, 'floor' | 'failed' | 'timeoutMs'>,
    Omit<SuspectsParts, 'floor' | 'giveUp' | 'enter' | 'run'> {
  readonly routes: Routes
  readonly events: EventHub
  readonly settlements: Settlements
  readonly intake: Intake
  readonly gates: readonly Gate[]
  readonly stations: readonly Station[]
}

export class Loop implements Floor {
  /** Handlers may begin. Before that what comes waits; after `close` it goes back. */
  #open = false
  #closed = false
  /** How many handlers may run at once. */
  limit: number
  /** How many handlers have begun or ended, ever: what does not change while nothing happens. */
  progress = 0
  readonly #parts: LoopParts
  readonly #name: string
  readonly #ordered: boolean
  /** Dead letters: what they died of is not asked again. */
  readonly #lastStop: boolean
  readonly #backlog: Backlog
  readonly #running = new Running<Work>()
  readonly #held = new Held()
  readonly #suspects: Suspects
  readonly #attempts: Attempts
  readonly #failures: Failures
  readonly #gates: readonly Gate[]
  #scheduled = false
  #draining = false
  #atBound = false
  readonly #drainLater = () => {
    this.#scheduled = false
    this.drain()
  }
  /** The wait of a held delivery is over. */
  readonly #due = (work: Work) => {
    this.#fitWindow()
    this.#backlog.comeBack(work)
    this.drain()
  }

  constructor(parts: LoopParts) {
    const { settings, scope } = parts
    this.#parts = parts
    this.#name = scope.sourceName
    this.#ordered = settings.order !== 'none'
    this.#lastStop = isLastStop(scope.source.name)
    this.#backlog = backlogOf(settings)
    this.limit = settings.concurrency
    this.#gates = parts.gates
    this.#failures = new Failures({ ...parts, floor: this })
    this.#suspects = new Suspects({
      ...parts,
      floor: this,
      giveUp: (work, error) => this.#failures.giveUp(work, error),
      enter: work => this.#running.enter(work),
      run: work => this.#run(work),
    })
    this.#attempts = new Attempts({
      ...parts,
      timeoutMs: settings.timeoutMs,
      floor: this,
      failed: (work, attempt, error) => this.#failures.failed(work, attempt, error),
    })
  }

  get running(): number {
    return this.#running.size
  }

  /** More would be taken if there were more. */
  get hungry(): boolean {
    return this.#open && this.#running.size === 0 && this.#backlog.size === 0 && this.#gatesOpen() && !this.#atBound
  }

  /** Why nothing more is fetched though messages may wait. */
  get bound(): string | undefined {
    return this.#atBound ? `${this.#held.size} messages wait here for delayed attempts, as many as may` : undefined
  }

  deliver(batch: Batch): void {
    const { lane, epoch, items } = batch
    for (let i = 0; i < items.length; i++) {
      const work = new Work(lane, epoch, items[i]!)
      // What was on its way when the window closed goes back; an ordered source takes all back together, in order.
      if (!this.#closed || this.#ordered) this.#backlog.push(work)
      else this.#release(work, 'the consumer does not run')
    }
    if (this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(this.#drainLater)
  }

  async revoke(lane: string, epoch: number, graceMs: number): Promise<void> {
    const theirs = (work: Work) => work.lane === lane && work.epoch === epoch
    for (const work of this.#backlog.drain()) {
      if (theirs(work)) work.state = 'stale'
      else if (work.route === undefined) this.#backlog.push(work)
      else this.#backlog.comeBack(work)
    }
    for (const work of this.#suspects.take(theirs)) this.#void(work)
    if (graceMs > 0) {
      for (const work of this.#held.take(theirs)) this.#void(work)
      this.hurry(true)
      await this.#running.noneLeft(theirs, graceMs)
      this.hurry(this.#closed)
      await this.#parts.settlements.flushed()
    }
    for (const work of this.#held.take(theirs)) this.#void(work)
    this.#cancelWhere(theirs, staleError())
    this.drain()
  }

  /** What comes from now on waits for the start. */
  expect(): void {
    this.#closed = false
  }

  /** Handlers begin from now on. */
  start(): void {
    this.#open = true
    this.#closed = false
    this.hurry(false)
    this.drain()
  }

  /** Whether messages that wait for others, to be handled with them, should wait no longer. */
  hurry(on: boolean): void {
    for (const station of this.#parts.stations) station.hurry(on)
  }

  /** No handler begins any more. */
  close(): void {
    this.#open = false
    this.#closed = true
  }

  /** Begins what may begin. */
  drain(): void {
    if (this.#draining) return
    this.#draining = true
    while (this.#open && this.#running.size < this.limit && this.#gatesOpen()) {
      if (this.#suspects.alone) break
      const work = this.#backlog.take()
      if (work === undefined) {
        if (this.#running.size === 0) this.#suspects.next()
        break
      }
      if (work.state === 'open') this.#begin(work)
      else this.#backlog.done(work)
    }
    this.#draining = false
  }

  #gatesOpen(): boolean {
    for (const gate of this.#gates) if (!gate.open) return false
    return true
  }

  #begin(work: Work): void {
    if (work.route === undefined) {
      recall(work)
      if (this.#events.heard.received) {
        const { redelivered, message } = work.item
        const { id, type, body } = message
        this.#events.emit({ kind: 'received', source: this.#name, id, type, redelivered, bytes: body.byteLength })
      }
    }
    if (this.#suspects.takes(work)) return
    this.#run(work)
  }

  #run(work: Work): void {
    this.#running.enter(work)
    this.progress += 1
    for (const gate of this.#gates) gate.began()
    work.route ??= this.#parts.routes.find(work.item.message.type)
    if (hasExpired(work, this.#lastStop)) this.#failures.expired(work)
    else if (work.route === undefined) this.#failures.unroutable(work)
    else this.#attempts.run(work, work.route)
  }

  get #events(): EventHub {
    return this.#parts.events
  }

  // Floor: what the steps ask for.

  again(work: Work): void {
    if (work.state !== 'open' || work.slot < 0 || work.route === undefined) return
    this.#attempts.run(work, work.route)
  }

  hold(work: Work, delayMs: number): void {
    if (work.state === 'open' && this.#closed && !this.#ordered) this.#release(work, 'the consumer does not run')
    if (work.state !== 'open') {
      this.finish(work)
      return
    }
    this.#running.leave(work)
    this.#suspects.left(work)
    this.#held.add(work, delayMs, this.#due)
    this.#fitWindow()
    this.drain()
  }

  finish(work: Work): void {
    this.progress += 1
    this.#running.leave(work)
    this.#suspects.left(work)
    this.#backlog.done(work)
    this.drain()
  }

  /**
   * Held deliveries are unsettled. On an unordered source the window grows by them, so that others flow; on an ordered one they
   * fill it. At the bound no more is fetched until some are through, and that is told.
   */
  #fitWindow(): void {
    const { window } = this.#parts.settings
    const held = this.#held.size
    const unsettled = this.#ordered ? held + this.#backlog.size + this.#running.size : held
    const bound = this.#ordered ? window : maxHeld
    if (!this.#ordered) this.#parts.intake.spare(Math.min(held, bound - window))
    const atBound = unsettled >= bound && held > 0
    if (atBound && !this.#atBound) {
      this.#events.emit({ kind: 'bound-reached', source: this.#name, held, unsettled })
    }
    this.#atBound = atBound
  }

  // Leaving.

  /** Everything that waits here goes back: at once, or with its receiver where order matters. */
  giveBack(reason: string): void {
    const waiting = [...this.#backlog.drain(), ...this.#suspects.take(any), ...this.#held.take(any)]
    for (const work of waiting) {
      if (this.#ordered) this.#void(work)
      else this.#release(work, reason)
    }
    this.#fitWindow()
  }

  /** Ends all attempts: their signals fire, and whatever they return counts for nothing. Resolves to how many there were. */
  cancelAll(reason: ChasquiError): number {
    const cancelled = this.#running.size
    this.#cancelWhere(any, reason)
    return cancelled
  }

  /** The receiver has ended for good: the engine has everything, nothing can be settled. */
  forget(reason: ChasquiError): void {
    for (const work of [...this.#backlog.drain(), ...this.#suspects.take(any), ...this.#held.take(any)])
      this.#void(work)
    this.#cancelWhere(any, reason)
  }

  /** Resolves when no handler runs any more, or the time is over. */
  idle(timeoutMs: number): Promise<void> {
    return this.#running.noneLeft(any, timeoutMs)
  }

  #release(work: Work, reason: string): void {
    if (work.state !== 'open') return
    void this.#parts.settlements.settle(work, 'requeue')
    if (!this.#events.heard.released) return
    const { id, type } = work.item.message
    this.#events.emit({ kind: 'released', source: this.#name, id, type, reason })
  }

  #cancelWhere(condition: (work: Work) => boolean, reason: ChasquiError): void {
    for (const work of this.#running.filter(condition)) {
      const attempt = work.current
      this.#void(work)
      attempt?.abort(reason)
    }
  }

  /** The engine has it already, or gets it back with the receiver. */
  #void(work: Work): void {
    if (work.state === 'open') work.state = 'stale'
    work.clearTimer()
    this.#running.leave(work)
    this.#suspects.left(work)
    this.#backlog.done(work)
  }
}

function backlogOf({ order, fair }: ConsumeSettings): Backlog {
  if (order === 'strict') return strictOrder()
  if (order === 'key') return keyOrder()
  return fair === undefined ? new ArrivalOrder() : new FairOrder(fair)
}

/** How many messages of an unordered source may be held: what a window can be, and then some seconds of a busy queue. */
const maxHeld = 10_000

/** Delayed messages alone: others the engine lets expire by a clock of its own. */
function hasExpired(work: Work, lastStop: boolean): boolean {
  const { notBefore, expiresAt } = work.item.message
  return notBefore !== undefined && expiresAt !== undefined && !lastStop && expiresAt < Date.now()
}

function any(): boolean {
  return true
}
