/**
 * The consumer's receiver: opened, narrowed, shut and opened anew. What an earlier receiver still says after the next one was
 * opened is not heard: epochs of two receivers may be equal.
 */
import type { Batch, ChasquiError, Driver, Receiver, ReceiverOptions, Sink, Source } from '@chasqui/driver'
import type { EventHub } from '../observe/events.ts'

export interface IntakeParts {
  readonly driver: Driver
  readonly source: Source
  readonly sourceName: string
  readonly options: ReceiverOptions
  readonly events: EventHub
  /** Settlements and moves go to the new receiver. */
  readonly attach: (receiver: Receiver) => void
}

/** The window changes in steps of this share of it, for each change may cost a call to the engine. */
const stepShare = 0.5

export class Intake {
  readonly #parts: IntakeParts
  #receiver: Receiver | undefined
  #generation = 0
  #window: number
  #paused = false
  #narrow = false
  #spare = 0
  #least = 0

  constructor(parts: IntakeParts) {
    this.#parts = parts
    this.#window = parts.options.window
  }

  get isOpen(): boolean {
    return this.#receiver !== undefined
  }

  /** Rejects with what the driver says. */
  async open(sink: Sink): Promise<void> {
    const { driver, source, options, attach } = this.#parts
    this.#generation += 1
    const generation = this.#generation
    const current = () => generation === this.#generation
    const window = this.#wanted === 0 ? options.window : this.#wanted
    const heard: Sink = {
      deliver: (batch: Batch) => {
        if (current()) sink.deliver(batch)
      },
      revoke: async (lane, epoch, graceMs) => {
        if (current()) await sink.revoke(lane, epoch, graceMs)
      },
      fail: (error: ChasquiError) => {
        if (current()) sink.fail(error)
      },
    }
    const receiver = await driver.receive(source, heard, { ...options, window })
    this.#window = window
    this.#receiver = receiver
    attach(receiver)
  }

  /** How many messages wait for the receiver; `undefined` where that is all that wait in the source. */
  async waiting(): Promise<number | undefined> {
    return await this.#receiver?.waiting?.()
  }

  /** Fetches nothing more until `resume`. */
  async pause(): Promise<void> {
    this.#paused = true
    await this.#fit()
  }

  async resume(): Promise<void> {
    this.#paused = false
    await this.#fit()
  }

  /** As many deliveries as handlers may run, whatever the window. */
  atLeast(count: number): void {
    this.#least = count
    void this.#fit()
  }

  /** One message at a time, until it is undone. */
  narrow(on: boolean): void {
    if (this.#narrow === on) return
    this.#narrow = on
    void this.#fit()
  }

  /** So many deliveries are unsettled and do not count: the window grows by them. */
  spare(count: number): void {
    const step = Math.max(Math.floor(this.#parts.options.window * stepShare), 1)
    const spare = Math.ceil(Math.max(count, 0) / step) * step
    // Down only once it is worth a call.
    if (spare > this.#spare || spare === 0 || spare < this.#spare - step) {
      if (spare === this.#spare) return
      this.#spare = spare
      void this.#fit()
    }
  }

  /** Everything unsettled goes back. Does not reject: an engine that is gone takes it back by itself. */
  async shut(): Promise<void> {
    const receiver = this.#receiver
    this.#receiver = undefined
    this.#generation += 1
    try {
      await receiver?.stop()
    } catch (error) {
      this.#failed('stopping', error)
    }
  }

  get #wanted(): number {
    if (this.#paused) return 0
    return this.#narrow ? 1 : Math.min(Math.max(this.#parts.options.window, this.#least) + this.#spare, maxWindow)
  }

  async #fit(): Promise<void> {
    const wanted = this.#wanted
    if (this.#receiver === undefined || wanted === this.#window) return
    this.#window = wanted
    try {
      await this.#receiver.window(wanted)
    } catch (error) {
      this.#failed('changing the window of', error)
    }
  }

  #failed(doing: string, error: unknown): void {
    const { events, sourceName } = this.#parts
    events.emit({ kind: 'driver-failed', doing: `${doing} the receiver of ${sourceName}`, error })
  }
}

/** The largest window that options may ask for. */
const maxWindow = 65_535
