/**
 * What requester and handler tell each other while a request is answered: over the reply queues that both buses have anyway, told
 * apart by headers. A run is one attempt of the handler; its id keeps the items of two attempts apart. Every message bears the
 * request's id as its correlation id.
 *
 *     request            -> handler    window N                  a stream: up to N items may be sent before any credit
 *                                      cancellable               one reply: the requester may cancel
 *     here               <- handler    run                       at the begin of either; of a stream also after each long silence
 *     item               <- handler    run, sequence S           S counts from 0
 *     end                <- handler    run, sequence, end        S is the number of items
 *     error              <- handler    run, sequence, error_*    as the error of a request; without run where none began
 *     broken             <- handler    run, broken               the attempt was taken away; another may begin
 *     credit             -> handler    run, credit C             C items of the run may be sent in all
 *     cancel             -> handler    run, cancel               no more is wanted
 *
 * What comes from the handler names the queue that takes credit and cancel in `replyTo`.
 */
import type { Headers, HeaderValue, WireMessage } from '@chasqui/driver'
import { headerPrefix } from '@chasqui/driver'

export const runHeader = {
  cancellable: `${headerPrefix.chasqui}cancellable`,
  window: `${headerPrefix.chasqui}stream_window`,
  run: `${headerPrefix.chasqui}run`,
  sequence: `${headerPrefix.chasqui}stream_sequence`,
  end: `${headerPrefix.chasqui}stream_end`,
  broken: `${headerPrefix.chasqui}stream_broken`,
  credit: `${headerPrefix.chasqui}stream_credit`,
  cancel: `${headerPrefix.chasqui}cancel`,
} as const

/** The largest count that is believed: other programs may write these headers too. */
const maxCount = 2 ** 48

/** A count from a header; `undefined` where there is none, or nonsense. */
export function countOf(value: HeaderValue | undefined): number | undefined {
  const count = typeof value === 'bigint' ? Number(value) : value
  return typeof count === 'number' && Number.isSafeInteger(count) && count >= 0 && count <= maxCount ? count : undefined
}

/** The run that a message speaks of. */
export function runOf(headers: Headers): string | undefined {
  const run = headers[runHeader.run]
  return typeof run === 'string' ? run : undefined
}

/** True for a request whose requester asks for a stream. */
export function asksForStream({ replyTo, headers }: WireMessage): boolean {
  return replyTo !== undefined && headers[runHeader.window] !== undefined
}

/** True for a request for one reply whose requester wants to be able to cancel. */
export function isCancellable({ replyTo, headers }: WireMessage): boolean {
  return (
    replyTo !== undefined && headers[runHeader.cancellable] !== undefined && headers[runHeader.window] === undefined
  )
}
