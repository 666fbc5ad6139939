/**
 * Sends many bodies and tells of each what became of it. Each goes the whole way of a single send; what this adds is the bound on
 * how many are under way, and an outcome where a single send would reject.
 */
import { ChasquiError } from '@chasqui/driver'
import type { CommandContract, EventContract } from '../contract/contract.ts'
import { checkOptions } from '../options/option.ts'
import { sendBatchOptions } from '../options/sending.ts'
import type { Receipt } from '../send/outgoing.ts'
import type { SendOptions } from '../send/senders.ts'

/** What became of one body of a batch. */
export type SendOutcome =
  /** The engine has taken responsibility for it. */
  | { readonly ok: true; readonly receipt: Receipt }
  /** What a single send would have rejected with, most often a `ChasquiError`. */
  | { readonly ok: false; readonly error: Error }

/** The options of a send, for every item of the batch; `headers`, `delayMs` and the rest are the same for all. */
export interface SendBatchOptions extends SendOptions {
  /** How many items may be unconfirmed at once: 1 to 100,000. Default 1,000. The next body is taken when one is through. */
  readonly inFlight?: number
}

/** The bodies of a batch: a list, or anything that can be looped over. Strings and bytes are one body each, so they are refused. */
export type Bodies<I> = Iterable<I> | AsyncIterable<I>

/** The part of `Senders` that takes many bodies in one call. */
export interface BatchSenders {
  /**
   * Sends many bodies to one queue and resolves to what became of each, in the order given: some may be refused while the others are
   * confirmed. They leave in that order. Rejects with `option-invalid` alone; what else fails is the outcome of its item.
   *
   *     const outcomes = await bus.sendBatch(ChargeCard, charges)
   *     const refused = charges.filter((_, index) => !outcomes[index]!.ok)
   */
  sendBatch<I>(
    to: CommandContract<I, unknown>,
    bodies: Bodies<NoInfer<I>>,
    options?: SendBatchOptions,
  ): Promise<SendOutcome[]>
  sendBatch(queue: string, bodies: Bodies<unknown>, options?: SendBatchOptions): Promise<SendOutcome[]>
  /** Publishes many bodies to one topic. Otherwise as `sendBatch`. */
  publishBatch<I>(
    to: EventContract<I, unknown>,
    bodies: Bodies<NoInfer<I>>,
    options?: SendBatchOptions,
  ): Promise<SendOutcome[]>
  publishBatch(topic: string, bodies: Bodies<unknown>, options?: SendBatchOptions): Promise<SendOutcome[]>
}

/**
 * Takes the bodies one by one, hands each to `send`, and resolves to their outcomes in the same order. When the iteration itself
 * throws, that is one more outcome, the last: those before it stay known. Rejects with `option-invalid` before anything is sent.
 */
export async function sendBatch(
  bodies: Bodies<unknown>,
  options: SendBatchOptions | undefined,
  send: (body: unknown, options: SendOptions | undefined) => Promise<Receipt>,
  where: string,
): Promise<SendOutcome[]> {
  if (options !== undefined) checkOptions(sendBatchOptions, options, where)
  const { inFlight: most = sendBatchOptions.inFlight.default, ...each } = options ?? {}
  const items = iterated(bodies, where)
  const outcomes: SendOutcome[] = []
  let underWay = 0
  let wake: (() => void) | undefined
  const through = (index: number, outcome: SendOutcome) => {
    outcomes[index] = outcome
    underWay -= 1
    wake?.()
  }
  const begin = (index: number, body: unknown) => {
    underWay += 1
    send(body, options === undefined ? undefined : each).then(
      receipt => through(index, { ok: true, receipt }),
      (error: unknown) => through(index, failed(error)),
    )
  }
  const fewerThan = async (count: number) => {
    while (underWay >= count) {
      await new Promise<void>(resolve => {
        wake = resolve
      })
    }
  }

  let index = 0
  try {
    if (Symbol.asyncIterator in items) {
      for await (const body of items) {
        begin(index++, body)
        if (underWay >= most) await fewerThan(most)
      }
    } else {
      for (const body of items) {
        begin(index++, body)
        if (underWay >= most) await fewerThan(most)
      }
    }
  } catch (error) {
    outcomes[index] = failed(error)
  }
  await fewerThan(1)
  return outcomes
}

function iterated(bodies: Bodies<unknown>, where: string): Bodies<unknown> {
  if (typeof bodies === 'object' && bodies !== null && !ArrayBuffer.isView(bodies)) {
    if (Symbol.asyncIterator in bodies || Symbol.iterator in bodies) return bodies
  }
  throw new ChasquiError(
    'option-invalid',
    `${where} takes a list of bodies, or what can be looped over. One body is sent by send().`,
  )
}

function failed(error: unknown): SendOutcome {
  // Middleware of the user's may throw anything.
  return { ok: false, error: error instanceof Error ? error : new Error(String(error), { cause: error }) }
}
