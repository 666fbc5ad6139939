/** Waiting for what will be, with one time-out for all of the suite. */
import { AssertionError } from 'node:assert'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * Far beyond what any step takes on a busy machine; a step that needs longer has failed. CHASQUI_CONFORMANCE_PATIENCE_MS
 * changes it for a machine that is slower still.
 */
function patienceMs(): number {
  return Number(process.env.CHASQUI_CONFORMANCE_PATIENCE_MS) || 30_000
}

/** Resolves when `condition` holds; fails with `what()` after the patience. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: () => string,
  timeoutMs = patienceMs(),
): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!(await condition())) {
    if (Date.now() > deadline) throw new AssertionError({ message: `Waited ${timeoutMs} ms in vain: ${what()}` })
    await sleep(10)
  }
}

/** The promise's value, or a failure after the patience: a promise that never settles is named. */
export async function settled<T>(promise: Promise<T>, what: string, timeoutMs = patienceMs()): Promise<T> {
  const timer = new AbortController()
  const late = sleep(timeoutMs, undefined, { signal: timer.signal }).then(() => {
    throw new AssertionError({ message: `Waited ${timeoutMs} ms in vain for ${what}` })
  })
  // When the promise wins, the timer's rejection has nobody left to tell.
  late.catch(() => undefined)
  try {
    return await Promise.race([promise, late])
  } finally {
    timer.abort()
  }
}

export interface Gate {
  readonly opened: Promise<void>
  open(): void
}

/** A door that handlers wait at until the scenario opens it. */
export function gate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>()
  return { opened: promise, open: resolve }
}
