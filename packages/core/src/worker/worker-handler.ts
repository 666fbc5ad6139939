/** The face of handlers in worker threads: what names one, what its module exports, and what it gets beside the body. */
import { availableParallelism } from 'node:os'
import { ChasquiError } from '@chasqui/driver'
import type { Context } from '../consume/incoming.ts'
import type { BodyOf, ResultOf } from '../consume/routes.ts'
import { workerOptions } from '../options/consuming.ts'
import { checkOptions } from '../options/option.ts'

/**
 * In place of a handler: the module whose default export handles the messages, in threads of its own.
 *
 *     await bus.handle(Resize, { worker: new URL('./resize.ts', import.meta.url) }, { timeoutMs: 10_000 })
 */
export interface WorkerHandler {
  /** The module. Where a `.ts` is named and only its compiled `.js` is there, that one is taken. */
  readonly worker: URL
  /** How many threads at most, each with one message at a time: 1 to 1,024. Default: one less than the machine's cores. */
  readonly threads?: number
  /** How large a thread's heap may grow, in MiB: 8 to 1,048,576. Default: what Node gives a thread. Beyond it the thread dies. */
  readonly maxHeapMb?: number
}

/** What a handler in a thread gets beside the body: a copy of what is known of the message, and senders that go by the main thread. */
export type ThreadContext = Omit<Context, 'stream'>

/**
 * The default export of a worker's module.
 *
 *     const resize: ThreadHandler<typeof Resize> = (image, ctx) => { ... }
 *     export default resize
 */
export type ThreadHandler<C = unknown> = (body: BodyOf<C>, ctx: ThreadContext) => ResultOf<C>

/** The checked and completed form. */
export interface WorkerSettings {
  readonly module: URL
  readonly threads: number
  readonly maxHeapMb: number | undefined
}

export function isWorkerHandler(handler: unknown): handler is WorkerHandler {
  return typeof handler === 'object' && handler !== null && 'worker' in handler
}

/** Throws `option-invalid`. */
export function workerSettings(given: WorkerHandler, where: string): WorkerSettings {
  checkOptions(workerOptions, given, `${where}: the worker`)
  if (given.worker === undefined) {
    throw new ChasquiError(
      'option-invalid',
      `${where}: \`worker\` must be a URL, as in new URL('./resize.ts', import.meta.url).`,
    )
  }
  return {
    module: given.worker,
    threads: given.threads ?? Math.max(availableParallelism() - 1, 1),
    maxHeapMb: given.maxHeapMb,
  }
}
