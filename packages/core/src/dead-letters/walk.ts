/**
 * One walk over a dead-letter queue, from its front to what was its end when the walk began.
 *
 *     queue   [a b c d e f]            the engine hands them out in order
 *     walk     s k k s k .             s: settled, gone.   k: kept, unsettled until the walk ends, then back in its place
 *
 * What is kept uses up its receiver's window; once all of it is, another receiver goes on. None is told to stop before: RabbitMQ
 * returns what is then on its way, late and so out of order. In the end they give back one after the other, in the order of the
 * queue, for RabbitMQ puts what comes back behind what came back before. Bodies are not kept: the engine has them. Where
 * the engine takes back what is kept (a lost connection), or would soon (RabbitMQ closes a channel after 30 minutes without an
 * acknowledgement), the walk begins anew at the front; what was settled is gone by then.
 *
 * It takes exactly as many letters as were there at the beginning, so that it does not follow those that it sends back itself and
 * that fail again.
 */
import type { Driver, Incoming, Outgoing, Receiver, Sink, Source } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'

/**
 * How many letters a receiver may have in hand. Beyond a thousand RabbitMQ slows down: it searches what is kept for each single
 * acknowledgement (measured on 3.10: 20,000 letters, every other one moved, took 3 s with windows of 1,000 and 11 s with 10,000).
 */
const maxWindow = 500
/** Where what comes back loses its place, a walk that ends early looks at so many more, so that all keep their order. */
const maxRest = 50_000
/** A pass over the queue ends after this long, in milliseconds, far below the engine's patience. */
const maxPassMs = 600_000
/** After so long without a letter the engine is asked whether there are more, in milliseconds. */
const quietMs = 250
/** How long letters may be said to wait without coming, in milliseconds. */
const patienceMs = 30_000
/** How long a walk waits for more of what one receiver gave back to be in its place, in milliseconds. */
const returnMs = 2_000
/**
 * RabbitMQ gathers acknowledgements of a quorum queue under load, and loses those that it has not passed on when the channel
 * closes (measured on 3.10: 28 of 5,000). It passes them on within milliseconds.
 */
const settleMs = 200
const pollMs = 10

/** One letter in the hands of the walk. */
export interface Found {
  readonly lane: string
  readonly epoch: number
  readonly item: Incoming
  readonly held: Held
}

/** A receiver and what it has handed out. */
interface Held {
  receiver: Receiver | undefined
  readonly window: number
  /** Handed out and not settled, kept ones among them. */
  unsettled: number
  kept: number
}

export class Walk {
  readonly #driver: Driver
  readonly #source: Source
  readonly #step: number
  #held: Held[] = []
  #buffer: Found[] = []
  /** Which pass this is: what earlier ones still bring is void. */
  #pass = 0
  #passBegan = 0
  #seen = 0
  #toSee = 0
  #settled = 0
  #settledAtRelease = 0
  #total = 0
  #isLost = false
  #failure: ChasquiError | undefined
  #isInterrupted = false
  #isClosing = false
  #wake: () => void = () => undefined

  /** `step`: how many letters may be in hand beside those that are kept. */
  constructor(driver: Driver, queue: string, step: number) {
    this.#driver = driver
    this.#source = { kind: 'queue', name: queue }
    this.#step = step
  }

  /** Letters that were there at the beginning. */
  get total(): number {
    return this.#total
  }

  /** Opens it. Rejects with `destination-missing` where there is no such queue. */
  async open(): Promise<void> {
    this.#total = await this.#count()
    await this.begin()
  }

  /** Begins a pass at the front. What is in hand goes back first, so settle what can be settled before. */
  async begin(): Promise<void> {
    await this.#release()
    this.#pass++
    this.#passBegan = performance.now()
    this.#seen = 0
    this.#toSee = this.#total - this.#settled
    this.#isLost = false
    if (this.#toSee > 0) await this.#receive()
  }

  /** The next letters, in order; none at the end. `anew`: nothing is in hand any more or will soon not be; call `begin`. */
  async next(): Promise<readonly Found[] | 'anew'> {
    let quietSince = 0
    let empty = 0
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      if (this.#isInterrupted || this.#seen >= this.#toSee) return []
      if (this.#isLost || performance.now() - this.#passBegan > maxPassMs) return 'anew'
      if (this.#buffer.length > 0) {
        const found = this.#buffer.splice(0, Math.min(this.#step, this.#toSee - this.#seen))
        this.#seen += found.length
        return found
      }
      await this.#widen()
      if (this.#buffer.length > 0 || (await this.#woken())) continue
      if (quietSince === 0) quietSince = performance.now()
      // Somebody else has the rest in hand, or took it.
      empty = (await this.#ready()) === 0 ? empty + 1 : 0
      if (empty === 2) return []
      if (performance.now() - quietSince > patienceMs) throw this.#notComing()
    }
  }

  /** They stay: unsettled while the walk goes on, back in their places after it. */
  keep(found: readonly Found[]): void {
    for (const { held } of found) held.kept++
  }

  /** Acknowledges them. `false` for those that the engine took back meanwhile; it hands them out again. */
  async settle(found: readonly Found[]): Promise<boolean> {
    let settled = true
    for (const group of groupsOf(found)) {
      const { held, lane, epoch } = group[0]!
      const tags = group.map(({ item }) => item.tag)
      if ((await held.receiver?.settle(lane, epoch, tags, 'ack')) === 'done') this.#gone(held, group.length)
      else settled = false
    }
    return settled
  }

  /** Sends and acknowledges in one step; all of them of one group (`groupsOf`). `false` where the engine has taken them back. */
  async transfer(group: readonly Found[], out: readonly Outgoing[]): Promise<boolean> {
    const { held, lane, epoch } = group[0]!
    const tags = group.map(({ item }) => item.tag)
    const isDone = (await held.receiver?.transfer?.(lane, epoch, tags, out)) === 'done'
    if (isDone) this.#gone(held, group.length)
    return isDone
  }

  /** `next` gives no more. */
  interrupt(): void {
    this.#isInterrupted = true
    this.#wake()
  }

  /** Ends the walk. Resolves when what was kept waits in its place again, as far as the engine tells in time. */
  async close(): Promise<void> {
    this.#isInterrupted = false
    this.#isClosing = true
    const isInPlace = this.#driver.capabilities.properties.returnsInPlace
    const rest = this.#toSee - this.#seen
    if (!isInPlace && this.#held.length > 0 && rest <= maxRest) await this.#keepRest()
    await this.#release()
  }

  /** Takes all the others in hand too. What goes wrong with it costs them their order and nothing else. */
  async #keepRest(): Promise<void> {
    try {
      for (;;) {
        const found = await this.next()
        if (found === 'anew' || found.length === 0) return
        this.keep(found)
      }
    } catch (error) {
      this.#failure ??= isChasquiError(error) ? error : new ChasquiError('internal', String(error), { cause: error })
    }
  }

  #gone(held: Held, count: number): void {
    held.unsettled -= count
    this.#settled += count
  }

  /** Gives back what is in hand, in its order. */
  async #release(): Promise<void> {
    const isLost = this.#isLost || this.#failure !== undefined
    if (!isLost) await this.#comeToRest()
    const all = this.#held
    this.#pass++
    this.#held = []
    this.#buffer = []
    let ready = isLost || all.length === 0 ? undefined : await this.#ready().catch(() => undefined)
    for (const { receiver, unsettled } of all) {
      await receiver?.stop()
      if (ready === undefined || unsettled === 0) continue
      ready += unsettled
      await this.#returned(ready)
    }
  }

  /**
   * The last receiver gets what it may have, and then nothing more: it would get what the others give back. Nothing is on its way
   * then, in either direction.
   */
  async #comeToRest(): Promise<void> {
    const last = this.#held.at(-1)
    if (last === undefined) return
    const until = performance.now() + returnMs
    while (last.unsettled < last.window && performance.now() < until) {
      const before = last.unsettled
      const ready = await this.#ready().catch(() => 0)
      await pause(pollMs)
      if (ready === 0 && last.unsettled === before) break
    }
    await last.receiver?.window(0)
    const isInPlace = this.#driver.capabilities.properties.returnsInPlace
    if (!isInPlace && this.#settled > this.#settledAtRelease) await pause(settleMs)
    this.#settledAtRelease = this.#settled
  }

  /** Resolves when so many letters wait, or no more have come for too long: somebody else may have taken some. */
  async #returned(count: number): Promise<void> {
    let most = -1
    let since = performance.now()
    while (performance.now() - since < returnMs) {
      const ready = await this.#ready().catch(() => undefined)
      if (ready === undefined || ready >= count) return
      if (ready > most) {
        most = ready
        since = performance.now()
      }
      await pause(pollMs)
    }
  }

  async #receive(): Promise<void> {
    const pass = this.#pass
    const window = Math.min(maxWindow, this.#toSee - this.#seen)
    const held: Held = { receiver: undefined, window, unsettled: 0, kept: 0 }
    const sink: Sink = {
      deliver: ({ lane, epoch, items }) => {
        if (pass !== this.#pass) return
        held.unsettled += items.length
        for (const item of items) this.#buffer.push({ lane, epoch, item, held })
        this.#wake()
      },
      revoke: async () => {
        if (pass !== this.#pass) return
        this.#isLost = true
        this.#wake()
      },
      fail: error => {
        if (pass !== this.#pass) return
        this.#failure = error
        this.#wake()
      },
    }
    held.receiver = await this.#driver.receive(this.#source, sink, { window, order: 'none' })
    this.#held.push(held)
  }

  /** Lets another receiver go on where what is kept leaves the last one nothing of its window. */
  async #widen(): Promise<void> {
    const last = this.#held.at(-1)
    if (last === undefined) return
    const used = this.#isClosing ? last.unsettled : last.kept
    if (used >= last.window) await this.#receive()
  }

  /** True when something has happened, false when all was quiet. */
  async #woken(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    this.#wake = () => resolve(true)
    const timer = setTimeout(() => resolve(false), quietMs)
    const woken = await promise
    clearTimeout(timer)
    this.#wake = () => undefined
    return woken
  }

  /** How many letters wait, once two looks agree: what another walk has just given back may still be on its way. */
  async #count(): Promise<number> {
    let ready = await this.#ready()
    for (let look = 0; look < 5; look++) {
      await pause(pollMs)
      const again = await this.#ready()
      if (again === ready) break
      ready = again
    }
    if (ready !== undefined) return ready
    throw new ChasquiError(
      'destination-missing',
      `There is no queue "${this.#source.name}". Is the name right, and has a consumer of it ever run?`,
      { details: { destination: this.#source.name } },
    )
  }

  async #ready(): Promise<number | undefined> {
    const { inspector } = this.#driver
    if (inspector === undefined) {
      throw new ChasquiError('unsupported', 'This engine does not tell how many dead letters there are.')
    }
    return (await inspector.depth(this.#source))?.ready
  }

  #notComing(): ChasquiError {
    return new ChasquiError(
      'destination-in-use',
      `Letters wait in "${this.#source.name}" and the engine hands them to somebody else. Stop the consumer that reads it.`,
    )
  }
}

/** In groups that one call can settle. */
export function groupsOf(found: readonly Found[]): Found[][] {
  const groups: Found[][] = []
  for (const one of found) {
    const group = groups.at(-1)
    const first = group?.[0]
    if (first !== undefined && first.held === one.held && first.lane === one.lane && first.epoch === one.epoch) {
      group!.push(one)
    } else {
      groups.push([one])
    }
  }
  return groups
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
