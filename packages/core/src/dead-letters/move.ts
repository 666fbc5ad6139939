/**
 * Sends letters back, or discards them: a walk over the queue, and for those that fit the copy, its confirm, the record, the
 * acknowledgement, in this order. Several groups are on their way at once, in the order of the queue.
 *
 * Whatever ends it (a signal, a crash, kill -9), each letter is in the dead-letter queue or at its destination; those that were
 * confirmed and not acknowledged, at most `step` times `maxGroups`, are in both. Run again it goes on where it ended.
 */
import type { Destination, Driver, Outgoing, Source, Target, WireMessage } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import { isPromise } from '../middleware/chain.ts'
import type { EventHub } from '../observe/events.ts'
import { sourceName } from '../retry/dead-letter.ts'
import type { AuditRecord } from './audit.ts'
import { Audit, type AuditSink } from './audit.ts'
import type { Fits } from './filter.ts'
import type { Decoding } from './letter.ts'
import { ReadLetter } from './letter.ts'
import { Pace } from './pace.ts'
import type { RunningWalks } from './running.ts'
import type { Found } from './walk.ts'
import { groupsOf, Walk } from './walk.ts'

/** How far an operation is, or what it has done. */
export interface DeadLetterProgress {
  /** Letters that were there when it began. */
  readonly total: number
  /** Letters looked at. */
  readonly seen: number
  /** Letters that fit the filter. */
  readonly matched: number
  /** Letters sent back or discarded; none in a dry run. */
  readonly done: number
  /** Letters that fit and stay, because they could not be sent. */
  readonly failed: number
}

/** What an operation has done. */
export interface DeadLetterResult extends DeadLetterProgress {
  /** Why the first hundred of those that failed did. */
  readonly failures: readonly { readonly id: string | undefined; readonly error: ChasquiError }[]
}

export interface DeadLetterMoveOptions {
  /** Ends after so many letters that fit. Default: no limit. */
  readonly limit?: number
  /** Counts what would be done, and does nothing. Default `false`. */
  readonly dryRun?: boolean
  /** At most so many letters in any second. Default: as fast as the engine goes. */
  readonly ratePerSecond?: number
  /** Is told how far it is, after each group of letters. What it throws ends the operation. */
  readonly onProgress?: (progress: DeadLetterProgress) => void
  /** Ends it (`aborted`); what is done is done, and running it again goes on. */
  readonly signal?: AbortSignal
  /** Who does it, for events and the record. Default: the name of the bus. */
  readonly by?: string
  /** Takes a record of each letter, before it leaves the dead-letter queue. Default: none. */
  readonly audit?: AuditSink
}

export interface MoveParts {
  readonly driver: Driver
  readonly running: RunningWalks
  readonly events: EventHub
  readonly source: Source
  readonly deadLetterQueue: string
  readonly decoding: Decoding
  readonly sendTimeoutMs: number
  readonly action: AuditRecord['action']
  readonly fits: Fits
  /** The message that a letter becomes; absent: letters are discarded. */
  readonly copy?: (letter: ReadLetter) => WireMessage | Promise<WireMessage>
  readonly options: DeadLetterMoveOptions
  readonly by: string
}

/** Letters in hand at once, in one group, and groups on their way at once. */
const maxStep = 250
const maxGroups = 4
const maxFailures = 100
/** Letters that were sent and may come again, the connection having been lost before the engine read of their settlement. */
const maxRemembered = maxStep * (maxGroups + 1)

/** A letter that fits, and what becomes of it. */
interface Chosen {
  readonly found: Found
  readonly letter: ReadLetter
  /** Absent where it is discarded, or cannot be sent. */
  out?: Outgoing
  /** What keeps it where it is. */
  error?: ChasquiError | undefined
}

export class Move {
  readonly #parts: MoveParts
  readonly #walk: Walk
  readonly #pace: Pace
  readonly #step: number
  #audit: Audit | undefined
  #seen = 0
  #matched = 0
  #done = 0
  #failed = 0
  #failures: { readonly id: string | undefined; readonly error: ChasquiError }[] = []
  /** Entries that were sent, oldest first. */
  readonly #sent = new Set<string>()
  /** By the name of the destination: what keeps letters from being sent there, if anything does. */
  readonly #looks = new Map<string, ChasquiError | undefined>()
  #broken: { readonly error: unknown } | undefined

  constructor(parts: MoveParts) {
    const { ratePerSecond } = parts.options
    this.#parts = parts
    this.#pace = new Pace(ratePerSecond)
    // What waits for its turn is not in hand for long.
    this.#step = ratePerSecond === undefined ? maxStep : Math.max(1, Math.min(maxStep, Math.ceil(ratePerSecond / 10)))
    this.#walk = new Walk(parts.driver, parts.deadLetterQueue, this.#step)
  }

  async run(): Promise<DeadLetterResult> {
    const { options, running } = this.#parts
    const { signal } = options
    running.check()
    if (signal?.aborted) throw this.#aborted(signal)
    if (options.audit !== undefined && !options.dryRun) this.#audit = await Audit.open(options.audit)
    const stop = () => this.#walk.interrupt()
    signal?.addEventListener('abort', stop, { once: true })
    running.add(this.#walk)
    try {
      await this.#walk.open()
      await this.#go(signal)
    } finally {
      signal?.removeEventListener('abort', stop)
      await this.#walk.close()
      running.remove(this.#walk)
      await this.#audit?.close()
    }
    if (signal?.aborted) throw this.#aborted(signal)
    running.check()
    return { ...this.#progress(), failures: this.#failures }
  }

  async #go(signal: AbortSignal | undefined): Promise<void> {
    const { dryRun = false } = this.#parts.options
    const groups = new Set<Promise<void>>()
    try {
      while (!this.#isEnough) {
        const found = await this.#walk.next()
        if (found === 'anew') {
          await Promise.all(groups)
          this.#beginAnew()
          await this.#walk.begin()
          continue
        }
        if (found.length === 0) break
        const chosen = await this.#choose(found)
        if (dryRun) {
          this.#walk.keep(chosen.map(one => one.found))
          this.#tellProgress()
          continue
        }
        if (!(await this.#pace.wait(chosen.length, signal))) break
        // Before the next group is begun, so that they leave in order.
        for (const one of chosen) await this.#prepare(one)
        const group = this.#move(chosen).then(
          () => this.#tellProgress(),
          error => {
            this.#broken ??= { error }
          },
        )
        const ended = group.then(() => {
          groups.delete(ended)
        })
        groups.add(ended)
        if (groups.size >= maxGroups) await Promise.race(groups)
        if (this.#broken !== undefined) break
      }
    } finally {
      await Promise.all(groups)
    }
    if (this.#broken !== undefined) throw this.#broken.error
  }

  get #isEnough(): boolean {
    return this.#matched >= (this.#parts.options.limit ?? Number.POSITIVE_INFINITY)
  }

  /** Those that fit; the others stay. What was sent before and came again is only acknowledged. */
  async #choose(found: readonly Found[]): Promise<Chosen[]> {
    const { source, decoding, fits } = this.#parts
    const chosen: Chosen[] = []
    const kept: Found[] = []
    const again: Found[] = []
    for (const one of found) {
      const letter = new ReadLetter(one.item.message, sourceName(source), decoding)
      const { identity } = letter
      if (one.item.redelivered && identity !== undefined && this.#sent.has(identity)) again.push(one)
      else if (this.#isEnough || !fits(letter)) kept.push(one)
      else {
        this.#matched++
        chosen.push({ found: one, letter })
      }
    }
    this.#seen += found.length - again.length
    this.#walk.keep(kept)
    if (again.length > 0) await this.#walk.settle(again)
    return chosen
  }

  /** Finds out where it goes and what it becomes. */
  async #prepare(one: Chosen): Promise<void> {
    const { copy } = this.#parts
    if (copy === undefined) return
    const to = this.#targetOf(one.letter)
    const name = to.kind === 'subscription' ? `${to.topic}.${to.name}` : to.name
    if (!this.#looks.has(name)) this.#looks.set(name, await this.#look(to))
    one.error = this.#looks.get(name)
    if (one.error !== undefined) return
    try {
      const message = copy(one.letter)
      one.out = { to, message: isPromise(message) ? await message : message }
    } catch (error) {
      if (!isChasquiError(error)) throw error
      one.error = error
    }
  }

  async #move(chosen: readonly Chosen[]): Promise<void> {
    if (chosen.length === 0) return
    // With an audit the record comes between copy and acknowledgement: what cannot be recorded does not leave.
    const isTransferred =
      this.#parts.copy !== undefined &&
      this.#audit === undefined &&
      this.#parts.driver.capabilities.operations.transfer !== 'unsupported'
    const gone = isTransferred ? await this.#transfer(chosen) : undefined
    if (!isTransferred && this.#parts.copy !== undefined) await this.#send(chosen)
    await this.#audit?.write(chosen.map(one => this.#record(one)))
    const moved = gone ?? chosen.filter(one => one.error === undefined)
    for (const one of chosen) if (one.error !== undefined) this.#stays(one, one.error)
    if (gone === undefined) {
      for (const { letter } of moved) this.#remember(letter)
      await this.#walk.settle(moved.map(one => one.found))
    }
    this.#done += moved.length
    for (const one of moved) this.#tell(one)
  }

  /** Sends the copies; notes on each letter what kept it from being confirmed. */
  async #send(chosen: readonly Chosen[]): Promise<void> {
    const { driver, sendTimeoutMs } = this.#parts
    const sendable = chosen.filter(one => one.out !== undefined)
    if (sendable.length === 0) return
    const results = await driver.send(
      sendable.map(one => one.out!),
      Date.now() + sendTimeoutMs,
    )
    for (const [at, result] of results.entries()) if (!result.ok) sendable[at]!.error = result.error
  }

  /** Copies and acknowledges in one step, where the engine can. Resolves with those that are gone. */
  async #transfer(chosen: readonly Chosen[]): Promise<Chosen[]> {
    const gone: Chosen[] = []
    const byFound = new Map(chosen.filter(one => one.out !== undefined).map(one => [one.found, one]))
    for (const group of groupsOf([...byFound.keys()])) {
      const letters = group.map(found => byFound.get(found)!)
      try {
        const isDone = await this.#walk.transfer(
          group,
          letters.map(one => one.out!),
        )
        if (isDone) gone.push(...letters)
      } catch (error) {
        if (!isChasquiError(error)) throw error
        for (const one of letters) one.error = error
      }
    }
    return gone
  }

  /** A subscription's letters go to that subscription alone. */
  #targetOf({ originalDestination }: ReadLetter): Target {
    const { source } = this.#parts
    return originalDestination === sourceName(source) ? source : { kind: 'queue', name: originalDestination }
  }

  /** What keeps letters from being sent there. Looking also tells the driver how many lanes it has. */
  async #look(to: Target): Promise<ChasquiError | undefined> {
    const destination: Destination =
      to.kind === 'subscription'
        ? { kind: 'subscription', topic: to.topic, name: to.name, durable: true }
        : { kind: 'queue', name: to.name, durable: true }
    try {
      await this.#parts.driver.declare({ destinations: [destination] }, { create: false })
      return undefined
    } catch (error) {
      if (isChasquiError(error)) return error
      throw error
    }
  }

  #stays({ found, letter }: Chosen, error: ChasquiError): void {
    this.#walk.keep([found])
    this.#failed++
    if (this.#failures.length < maxFailures) this.#failures.push({ id: letter.id, error })
  }

  #remember({ identity }: ReadLetter): void {
    if (identity === undefined) return
    this.#sent.add(identity)
    if (this.#sent.size > maxRemembered) this.#sent.delete(this.#sent.values().next().value!)
  }

  /** What was kept is looked at again, and what failed is tried again. */
  #beginAnew(): void {
    this.#seen = this.#done
    this.#matched = this.#done
    this.#failed = 0
    this.#failures = []
    this.#looks.clear()
  }

  #record({ letter, error }: Chosen): AuditRecord {
    const { action, by, source } = this.#parts
    const { id, type, key } = letter
    return {
      at: new Date().toISOString(),
      by,
      action,
      source: sourceName(source),
      id,
      type,
      key,
      error: letter.error.code,
      ...(action === 'discard' ? {} : { to: letter.originalDestination }),
      outcome: error?.code ?? 'done',
    }
  }

  #tell({ letter }: Chosen): void {
    const { events, action, by, source } = this.#parts
    const about = { source: sourceName(source), id: letter.id, type: letter.type, by }
    if (action === 'discard') {
      if (events.heard.discarded) events.emit({ kind: 'discarded', ...about })
    } else if (events.heard.redriven) {
      const isEdited = action === 'edit'
      events.emit({ kind: 'redriven', ...about, destination: letter.originalDestination, isEdited })
    }
  }

  #tellProgress(): void {
    this.#parts.options.onProgress?.(this.#progress())
  }

  #progress(): DeadLetterProgress {
    const total = this.#walk.total
    return { total, seen: this.#seen, matched: this.#matched, done: this.#done, failed: this.#failed }
  }

  #aborted(signal: AbortSignal): ChasquiError {
    const progress = this.#progress()
    return new ChasquiError(
      'aborted',
      `The caller's signal fired after ${progress.done} of ${progress.total} letters. Run it again to go on.`,
      { cause: signal.reason, details: { ...progress } },
    )
  }
}
