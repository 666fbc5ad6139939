/**
 * How a stream of replies travels: over the reply queues that both buses have anyway, told apart by headers. A run is one attempt of
 * the handler; its id keeps the items of two attempts apart. Every message bears the request's id as its correlation id.
 *
 *     request            -> handler    window N                  up to N items may be sent before any credit
 *     here               <- handler    run                       at its begin, then whenever it has been silent for long
 *     item               <- handler    run, sequence S           S counts from 0
 *     end                <- handler    run, sequence, end        S is the number of items
 *     error              <- handler    run, sequence, error_*    as the error of a request; without run where none began
 *     broken             <- handler    run, broken               the attempt was taken away; another may begin
 *     credit             -> handler    run, credit C             C items of the run may be sent in all
 *     cancel             -> handler    run, cancel               no more is wanted
 *
 * What comes from the handler names the queue that takes credit and cancel in `replyTo`.
 */
import type { Headers, HeaderValue } from '@chasqui/driver'
import { headerPrefix } from '@chasqui/driver'

export const streamHeader = {
  window: `${headerPrefix.chasqui}stream_window`,
  run: `${headerPrefix.chasqui}stream_run`,
  sequence: `${headerPrefix.chasqui}stream_sequence`,
  end: `${headerPrefix.chasqui}stream_end`,
  broken: `${headerPrefix.chasqui}stream_broken`,
  credit: `${headerPrefix.chasqui}stream_credit`,
  cancel: `${headerPrefix.chasqui}stream_cancel`,
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
  const run = headers[streamHeader.run]
  return typeof run === 'string' ? run : undefined
}
