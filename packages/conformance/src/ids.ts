/** Compares what was received with what was sent as multisets, so that a loss is not hidden by a duplicate. */
import { AssertionError } from 'node:assert'

export interface Allowance {
  /** How many repetitions at-least-once permits here: ids in doubt plus the unsettled window. Default: none. */
  readonly repeats?: number
  /** May be among the received or not: the ids whose send ended in doubt. Default: none. */
  readonly doubtful?: ReadonlySet<string | number>
}

export interface Difference<T> {
  readonly missing: readonly T[]
  readonly extra: readonly T[]
  /** Each repetition once more: an id received three times is listed twice. */
  readonly repeated: readonly T[]
}

export function differenceOf<T extends string | number>(
  received: Iterable<T>,
  expected: Iterable<T>,
  doubtful: ReadonlySet<string | number> = new Set(),
): Difference<T> {
  const counts = new Map<T, number>()
  for (const id of received) counts.set(id, (counts.get(id) ?? 0) + 1)
  const wanted = new Set(expected)
  const repeated: T[] = []
  const extra: T[] = []
  for (const [id, count] of counts) {
    if (!wanted.has(id) && !doubtful.has(id)) extra.push(id)
    for (let again = 1; again < count; again++) repeated.push(id)
  }
  return { missing: [...wanted].filter(id => !counts.has(id)), extra, repeated }
}

/** Fails with the missing, extra and repeated ids, counted and by name. `expected` must not repeat an id. */
export function assertSameIds<T extends string | number>(
  received: Iterable<T>,
  expected: Iterable<T>,
  allowance: Allowance = {},
): void {
  const { missing, extra, repeated } = differenceOf(received, expected, allowance.doubtful)
  const permitted = allowance.repeats ?? 0
  if (missing.length === 0 && extra.length === 0 && repeated.length <= permitted) return
  const parts = [
    describe('missing', missing),
    describe('extra', extra),
    describe(`repeated (${permitted} permitted)`, repeated),
  ]
  throw new AssertionError({ message: `The ids differ: ${parts.join('; ')}`, operator: 'assertSameIds' })
}

function describe(word: string, ids: readonly (string | number)[]): string {
  const shown = ids.slice(0, 10).join(', ')
  return `${ids.length} ${word}${shown === '' ? '' : `: ${shown}${ids.length > 10 ? ', ...' : ''}`}`
}
