/**
 * What the processes tell the one that started them, over the channel that `fork` opens: which flights they have
 * dealt with. A handler waits for its report to be written before it returns, so that a killed worker can repeat
 * work but never hide it.
 */
import type { ChildProcess } from 'node:child_process'
import { basename } from 'node:path'

export type Report =
  | { readonly kind: 'published'; readonly flights: number }
  | { readonly kind: 'attempted'; readonly flights: readonly Attempted[] }
  | { readonly kind: 'rebooked'; readonly flights: readonly number[] }
  | { readonly kind: 'given up'; readonly flights: readonly number[] }

/** One attempt of a worker to handle a flight. */
export interface Attempted {
  readonly flight: number
  readonly origin: string
  readonly delay: number
  /** False when it will be tried again. */
  readonly done: boolean
  /** When it began, in nanoseconds of the clock that all processes of this machine share. */
  readonly beganNs: number
}

/** Writes a report and waits until it is in the pipe, where a kill of this process cannot reach it. */
export function tell(report: Report): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(report, undefined, {}, error => (error === null ? resolve() : reject(error)))
  })
}

/** Gathers what handlers report in one turn of the event loop into one `tell`. */
export function gathering<T>(toReport: (items: readonly T[]) => Report): (item: T) => Promise<void> {
  let items: T[] = []
  let written: Promise<void> | undefined
  return item => {
    items.push(item)
    written ??= new Promise<void>(resolve => setImmediate(resolve)).then(() => {
      const batch = items
      items = []
      written = undefined
      return tell(toReport(batch))
    })
    return written
  }
}

/** What the parent may order. */
type Order = 'extra plane'

/** Does what the parent orders, and says so. */
export function onOrder(order: Order, action: () => void): void {
  process.on('message', message => {
    if (message !== order) return
    action()
    process.send?.('ready')
  })
}

/** Orders, and resolves when the child has done it. */
export async function give(child: ChildProcess, order: Order): Promise<void> {
  const done = onceReady(child)
  child.send(order)
  await done
}

/** Says that the handlers run, and calls `close` when the parent says so, or is gone. */
export function serveUntilStopped(close: () => Promise<void>): void {
  process.once('disconnect', () => {
    close().catch((error: unknown) => {
      console.error(error)
      process.exitCode = 1
    })
  })
  process.send?.('ready')
}

/** A process is gone that should be there. */
export class EndedEarly extends Error {}

/** Resolves when the child says that it is ready; rejects when it ends before. */
export function onceReady(child: ChildProcess): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const ended = () => reject(new EndedEarly(`${basename(child.spawnargs.at(-1) ?? '')} ended early.`))
    child.once('exit', ended)
    const listener = (message: unknown) => {
      if (message !== 'ready') return
      child.removeListener('exit', ended)
      child.removeListener('message', listener)
      resolve(child)
    }
    child.on('message', listener)
  })
}

/** Asks a child to finish, by ending the channel, and waits for it. */
export function stopChild(child: ChildProcess): Promise<void> {
  return new Promise(resolve => {
    child.once('exit', () => resolve())
    if (child.connected) child.disconnect()
  })
}
