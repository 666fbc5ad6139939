/** The dead letters of one queue or subscription: looked at, sent back, changed, discarded. */
import type { Driver, Source } from '@chasqui/driver'
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract, EventContract } from '../contract/contract.ts'
import { isContract } from '../contract/contract.ts'
import { checkSourceName, checkSubscription } from '../contract/names.ts'
import type { PipelineFormats } from '../encode/pipeline-formats.ts'
import type { EventHub } from '../observe/events.ts'
import { deadLetterListOptions, deadLetterMoveOptions } from '../options/dead-letters.ts'
import { checkOptions } from '../options/option.ts'
import { deadLetterName, sourceName } from '../retry/dead-letter.ts'
import type { DeadLetterChange } from './edit.ts'
import { checkChange, edited } from './edit.ts'
import type { DeadLetterFilter } from './filter.ts'
import { fitsOf } from './filter.ts'
import type { DeadLetter, Decoding } from './letter.ts'
import { ReadLetter, redrivenCopy } from './letter.ts'
import type { DeadLetterMoveOptions, DeadLetterResult, MoveParts } from './move.ts'
import { Move } from './move.ts'
import type { RunningWalks } from './running.ts'
import { Walk } from './walk.ts'

/**
 * A contract of a command or request, the name of a queue (or of its dead-letter queue), or a subscription of a topic.
 */
export type DeadLetterSource =
  | AnyContract
  | string
  | { readonly topic: EventContract | string; readonly subscription: string }

export interface DeadLetterListOptions {
  /** Ends after so many letters that fit. Default: no limit. */
  readonly limit?: number
  /** Ends the list. */
  readonly signal?: AbortSignal
}

/**
 * The dead letters of one source, oldest first. Each operation takes the letters that were there when it began. While it runs they
 * are in its hands: another reader of the same dead-letter queue does not see them. What is not moved is back in its place afterwards;
 * engines count that as a return.
 */
export interface DeadLetters {
  /** The queue that they lie in. */
  readonly queue: string
  /**
   * The letters that fit, one by one; leaving the loop ends it. Rejects with `destination-missing`, `destination-in-use`,
   * `option-invalid`.
   *
   *     for await (const letter of bus.deadLetters('orders').list({ error: 'handler-timeout' })) console.log(letter.id)
   */
  list(filter?: DeadLetterFilter, options?: DeadLetterListOptions): AsyncGenerator<DeadLetter, void, void>
  /** The oldest letter of this message; `undefined` where there is none. */
  show(id: string): Promise<DeadLetter | undefined>
  /**
   * Sends those that fit back to where they failed, with their id, type, key, headers and bytes, and attempts to be counted from the
   * start. One that cannot be sent stays and is told of in the result. Rejects with `aborted`, `audit-failed`, and as `list` does.
   *
   *     await bus.deadLetters(ChargeCard).redrive({ error: 'card-service-down' }, { ratePerSecond: 50 })
   */
  redrive(filter?: DeadLetterFilter, options?: DeadLetterMoveOptions): Promise<DeadLetterResult>
  /**
   * Sends the oldest letter of this message back with another body, other headers or another key. The body is checked by the
   * schema where the source is a contract and the letter is of its type. Rejects with `dead-letter-missing`, and as what failed
   * does: `body-invalid`, `header-invalid`, `destination-missing`...; the letter stays then.
   */
  edit(id: string, change: DeadLetterChange, options?: EditOptions): Promise<DeadLetterResult>
  /** Deletes those that fit, for good. An empty filter means all of them. Rejects as `redrive` does. */
  discard(filter: DeadLetterFilter, options?: DeadLetterMoveOptions): Promise<DeadLetterResult>
}

type EditOptions = Pick<DeadLetterMoveOptions, 'dryRun' | 'signal' | 'by' | 'audit'>

export interface LettersParts {
  readonly driver: Driver
  readonly events: EventHub
  readonly formats: PipelineFormats
  readonly limits: { readonly sendTimeoutMs: number; readonly maxBodyBytes: number; readonly maxHeaderBytes: number }
  /** Who does what nobody says who does. */
  readonly name: string
  readonly running: RunningWalks
}

/** Letters in hand beside those that are kept, while they are only looked at. */
const listStep = 250

/** Throws `name-invalid`, `option-invalid` and `destination-kind`. */
export function deadLettersOf(parts: LettersParts, of: DeadLetterSource): DeadLetters {
  const { source, contract } = origin(of)
  return new Letters(parts, source, contract)
}

class Letters implements DeadLetters {
  readonly queue: string
  readonly #parts: LettersParts
  readonly #source: Source
  readonly #contract: AnyContract | undefined
  readonly #decoding: Decoding

  constructor(parts: LettersParts, source: Source, contract: AnyContract | undefined) {
    const { formats } = parts
    this.#parts = parts
    this.#source = source
    this.#contract = contract
    this.queue = deadLetterName(source)
    const format = contract === undefined ? undefined : formats.registry.named(contract.format ?? 'json')
    this.#decoding = { formats, format }
  }

  async *list(
    filter: DeadLetterFilter = {},
    options: DeadLetterListOptions = {},
  ): AsyncGenerator<DeadLetter, void, void> {
    const where = 'list()'
    const fits = fitsOf(filter, where)
    checkOptions(deadLetterListOptions, options, where)
    const { limit = Number.POSITIVE_INFINITY, signal } = options
    const { driver, running } = this.#parts
    running.check()
    const walk = new Walk(driver, this.queue, Math.min(listStep, limit))
    running.add(walk)
    const stop = () => walk.interrupt()
    signal?.addEventListener('abort', stop, { once: true })
    try {
      if (signal?.aborted) return
      await walk.open()
      let given = 0
      // Those that were given already, when the walk begins anew.
      let passed = 0
      for (;;) {
        const found = await walk.next()
        if (found === 'anew') {
          passed = given
          await walk.begin()
          continue
        }
        running.check()
        if (found.length === 0) return
        walk.keep(found)
        for (const { item } of found) {
          const letter = new ReadLetter(item.message, sourceName(this.#source), this.#decoding)
          if (!fits(letter)) continue
          if (passed > 0) {
            passed--
            continue
          }
          yield letter
          given++
          if (given >= limit || signal?.aborted) return
        }
      }
    } finally {
      signal?.removeEventListener('abort', stop)
      await walk.close()
      running.remove(walk)
    }
  }

  async show(id: string): Promise<DeadLetter | undefined> {
    checkId(id, 'show()')
    for await (const letter of this.list({ ids: [id] }, { limit: 1 })) return letter
    return undefined
  }

  async redrive(filter: DeadLetterFilter = {}, options: DeadLetterMoveOptions = {}): Promise<DeadLetterResult> {
    const where = 'redrive()'
    const fits = fitsOf(filter, where)
    checkOptions(deadLetterMoveOptions, options, where)
    return await this.#move({ action: 'redrive', fits, copy: letter => redrivenCopy(letter.wire), options })
  }

  async edit(id: string, change: DeadLetterChange, options: EditOptions = {}): Promise<DeadLetterResult> {
    const where = 'edit()'
    checkId(id, where)
    checkChange(change, where)
    checkOptions(deadLetterMoveOptions, options, where)
    const { formats, limits } = this.#parts
    const rules = { formats, contract: this.#contract, ...limits }
    const copy = (letter: ReadLetter) => edited(letter.wire, letter.originalDestination, change, rules)
    const fits = fitsOf({ ids: [id] }, where)
    const result = await this.#move({ action: 'edit', fits, copy, options: { ...options, limit: 1 } })
    const [failure] = result.failures
    if (failure !== undefined) throw failure.error
    if (result.matched > 0) return result
    throw new ChasquiError('dead-letter-missing', `There is no dead letter "${id}" in "${this.queue}".`, {
      details: { id, queue: this.queue },
    })
  }

  async discard(filter: DeadLetterFilter, options: DeadLetterMoveOptions = {}): Promise<DeadLetterResult> {
    const where = 'discard()'
    const fits = fitsOf(filter, where)
    checkOptions(deadLetterMoveOptions, options, where)
    return await this.#move({ action: 'discard', fits, options })
  }

  #move(what: Pick<MoveParts, 'action' | 'fits' | 'copy' | 'options'>): Promise<DeadLetterResult> {
    const { driver, events, limits, name, running } = this.#parts
    const move = new Move({
      driver,
      running,
      events,
      source: this.#source,
      deadLetterQueue: this.queue,
      decoding: this.#decoding,
      sendTimeoutMs: limits.sendTimeoutMs,
      by: what.options.by ?? name,
      ...what,
    })
    return running.move(move.run())
  }
}

function origin(of: DeadLetterSource): { source: Source; contract: AnyContract | undefined } {
  const where = 'deadLetters()'
  if (typeof of === 'string') {
    checkSourceName('queue', of)
    // Who names the dead-letter queue itself means the same letters.
    return { source: { kind: 'queue', name: of.replace(/\.dead-letter$/, '') }, contract: undefined }
  }
  if (isContract(of)) {
    if (of.kind !== 'event') return { source: { kind: 'queue', name: of.destination }, contract: of }
    throw new ChasquiError(
      'destination-kind',
      `${where}: "${of.type}" is an event; its subscriptions have dead letters. Give { topic, subscription }.`,
    )
  }
  if (typeof of !== 'object' || of === null || typeof of.subscription !== 'string') {
    throw new ChasquiError(
      'option-invalid',
      `${where} takes a contract, the name of a queue, or { topic, subscription }.`,
    )
  }
  const contract = isContract(of.topic) ? of.topic : undefined
  if (contract !== undefined && contract.kind !== 'event') {
    throw new ChasquiError('destination-kind', `${where}: "${contract.type}" is a ${contract.kind} and has no topic.`)
  }
  const topic = contract?.destination ?? (of.topic as string)
  checkSubscription(topic, of.subscription)
  return { source: { kind: 'subscription', topic, name: of.subscription }, contract }
}

function checkId(id: string, where: string): void {
  if (typeof id === 'string' && id !== '') return
  throw new ChasquiError('option-invalid', `${where} takes the id of a message.`)
}
