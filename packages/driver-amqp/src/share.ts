/**
 * Who of several should have how many lanes, decided by each for itself, from the number of lanes, the number of
 * members, and how many lanes it has.
 *
 * A lane that is let go of goes to the member that has waited for it longest. So whoever has its share lines up anew
 * behind those who may have none, once it got it and whenever others joined; and whoever has one lane more than some
 * others must have lets go of one when others joined, once, for nobody can see who is short.
 */

export interface Standing {
  readonly lanes: number
  /** At least 1: ourselves. */
  readonly members: number
  /** How many lanes we have. */
  readonly active: number
  /** Others joined since we last gave one away for their sake. */
  readonly isCourtesyDue: boolean
}

export interface Verdict {
  /** How many lanes to hand over now. */
  readonly surplus: number
  /** Whether we have enough, so that others should go before us. */
  readonly isSatisfied: boolean
  /** The courtesy is done, or not needed. */
  readonly isCourtesyDone: boolean
}

/** @param random from 0 up to 1: those who owe a courtesy should not all pay it at once. */
export function judge({ lanes, members, active, isCourtesyDue }: Standing, random: number): Verdict {
  const most = Math.ceil(lanes / members)
  const least = Math.floor(lanes / members)
  const isSatisfied = members > 1 && active > 0 && active >= least
  if (active > most) {
    const over = active - most
    // All of it goes to the first in line, who is one of two or has to share it out in turn.
    const surplus = members === 2 ? over : Math.max(1, Math.floor(over / 2))
    return { surplus, isSatisfied, isCourtesyDone: false }
  }
  if (!isCourtesyDue || most === least || active < most) return { surplus: 0, isSatisfied, isCourtesyDone: true }
  const pays = random < 0.5
  return { surplus: pays ? 1 : 0, isSatisfied, isCourtesyDone: pays }
}
