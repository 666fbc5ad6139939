/** How long to wait before the next attempt to connect or to consume. */

/** The first wait, in milliseconds, before jitter. */
const firstDelayMs = 100
/** The longest wait, in milliseconds, before jitter. */
const longestDelayMs = 5_000

/**
 * Doubles from 100 ms to 5 s and takes a random part between half and the whole of it, so that the clients of a
 * restarted broker do not come back in step.
 *
 * @param attempt counts from 0.
 * @param random from 0 up to 1; default `Math.random()`.
 */
export function backoffMs(attempt: number, random: number = Math.random()): number {
  const whole = Math.min(longestDelayMs, firstDelayMs * 2 ** Math.min(attempt, 16))
  return Math.round(whole / 2 + (whole / 2) * random)
}
