/**
 * Every option that the core takes, once: unit, default, bounds, meaning. Options are checked against these tables, defaults are
 * read from them, and the reference in the docs is made from them. An option that is not here does not exist.
 */
import { closeOptions, connectOptions } from './connecting.ts'
import { batchOptions, consumeOptions, receiveOptions, workerOptions } from './consuming.ts'
import { deadLetterChange, deadLetterFilter, deadLetterListOptions, deadLetterMoveOptions } from './dead-letters.ts'
import type { OptionTable } from './option.ts'
import { backoffOptions, retryOptions } from './retrying.ts'
import {
  contractOptions,
  destinationOptions,
  requestOptions,
  sendBatchOptions,
  sendOptions,
  streamOptions,
} from './sending.ts'
import { circuitBreakerOptions, fairOptions, rateLimitOptions, tuningOptions } from './steering.ts'

/** All tables by the name of what takes them, for the generated reference. */
export const optionTables = {
  connect: connectOptions,
  contract: contractOptions,
  send: sendOptions,
  sendBatch: sendBatchOptions,
  request: requestOptions,
  stream: streamOptions,
  consume: consumeOptions,
  batch: batchOptions,
  worker: workerOptions,
  retry: retryOptions,
  backoff: backoffOptions,
  tuning: tuningOptions,
  rateLimit: rateLimitOptions,
  circuitBreaker: circuitBreakerOptions,
  fair: fairOptions,
  receive: receiveOptions,
  destination: destinationOptions,
  deadLetterFilter,
  deadLetterChange,
  deadLetterList: deadLetterListOptions,
  deadLetterMove: deadLetterMoveOptions,
  close: closeOptions,
} as const satisfies Record<string, OptionTable>
