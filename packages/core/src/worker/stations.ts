/** Makes of handlers what the consumer runs: functions as they are, workers with their threads. */
import { ChasquiError } from '@chasqui/driver'
import type { ConsumeOptions } from '../consume/options.ts'
import type { AnyHandler, RouteParts } from '../consume/routes.ts'
import type { AnyContract } from '../contract/contract.ts'
import { consumeOptions } from '../options/consuming.ts'
import type { ThreadsParts } from './threads.ts'
import { Threads } from './threads.ts'
import type { WorkerHandler, WorkerSettings } from './worker-handler.ts'
import { isWorkerHandler, workerSettings } from './worker-handler.ts'

export interface GivenRoute {
  readonly contract: AnyContract | undefined
  readonly handler: AnyHandler | WorkerHandler
}

/** A route whose worker, if it is one, has been checked. */
export interface CheckedRoute extends GivenRoute {
  readonly worker: WorkerSettings | undefined
}

/** Throws `option-invalid`. */
export function checkedRoutes(routes: readonly GivenRoute[], where: string): CheckedRoute[] {
  return routes.map(({ contract, handler }) => {
    if (!isWorkerHandler(handler)) return { contract, handler, worker: undefined }
    const worker = workerSettings(handler, where)
    if (contract?.stream === true) {
      throw new ChasquiError(
        'option-invalid',
        `${where}: "${contract.type}" is answered by a stream, which no worker can give. Handle it by a function.`,
      )
    }
    return { contract, handler, worker }
  })
}

/** A worker's messages run as many at once as it has threads, unless the options say otherwise. */
export function withThreads(routes: readonly CheckedRoute[], options: ConsumeOptions): ConsumeOptions {
  if (
    options.concurrency !== undefined ||
    options.ordered === true ||
    routes.some(({ worker }) => worker === undefined)
  )
    return options
  const threads = routes.reduce((sum, { worker }) => sum + (worker?.threads ?? 0), 0)
  return { ...options, concurrency: Math.min(threads, consumeOptions.concurrency.maximum) }
}

export function routeParts(routes: readonly CheckedRoute[], parts: Omit<ThreadsParts, 'settings'>): RouteParts[] {
  return routes.map(({ contract, handler, worker }) => {
    if (worker === undefined) return { contract, handler: handler as AnyHandler }
    const station = new Threads({ ...parts, settings: worker })
    return { contract, handler: station.handle, station }
  })
}
