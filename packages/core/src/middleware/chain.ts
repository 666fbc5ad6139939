/**
 * Runs middleware. A step gets the message and `next`; what it returns is what the steps before it see. Chains are made
 * once, when a destination or consumer is set up, so a message costs one call a step and no closure.
 *
 * Invariant: `position` on the message is the number of `next` calls so far, by which a second `next` in one step is found.
 */
import { ChasquiError } from '@chasqui/driver'

/** A message on its way through a chain. */
export interface Travelling {
  position: number
}

export type Step<M, R> = (message: M, next: (message: M) => R) => R

/** The steps in order and then `last`, as one function. Set `position` to 0 before each run. */
export function chain<M extends Travelling, R>(
  steps: readonly Step<M, R>[],
  last: (message: M) => R,
): (message: M) => R {
  let run = guarded(steps.length, last)
  for (let i = steps.length - 1; i >= 0; i--) {
    const step = steps[i]!
    const next = run
    const here = (message: M) => step(message, next)
    run = i === 0 ? here : guarded(i, here)
  }
  return run
}

function guarded<M extends Travelling, R>(place: number, run: (message: M) => R): (message: M) => R {
  return message => {
    // The first of the chain is entered by its owner, every later place by a `next` of the step before.
    if (place > 0 && message.position >= place) {
      throw new ChasquiError(
        'next-twice',
        `Step ${place} of the middleware called next() a second time. Let it call next() once; what follows has run already.`,
        { details: { step: place } },
      )
    }
    message.position = place
    return run(message)
  }
}

/** Whether a step's result has to be waited for. */
export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}
