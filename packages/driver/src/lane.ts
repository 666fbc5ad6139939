/** Which lane a key belongs to: the same for every sender, driver and language that keeps to this page. */

/** FNV-1a, 32 bit (draft-eastlake-fnv, "The 32-bit FNV Prime" and "offset basis"). */
const offsetBasis = 0x811c9dc5
const prime = 0x01000193

/**
 * The lane, from 0, of a key: FNV-1a (32 bit) over the key's UTF-8 bytes, modulo `lanes`. Messages without a key share
 * the lane of the empty one.
 */
export function laneOf(key: string | undefined, lanes: number): number {
  let hash = offsetBasis
  if (key !== undefined) {
    for (let at = 0; at < key.length; at++) {
      const unit = key.charCodeAt(at)
      // What is not ASCII is rare in keys and worth an allocation.
      if (unit > 0x7f) return bytesLane(key, lanes)
      hash = Math.imul(hash ^ unit, prime)
    }
  }
  return (hash >>> 0) % lanes
}

function bytesLane(key: string, lanes: number): number {
  let hash = offsetBasis
  for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, prime)
  return (hash >>> 0) % lanes
}
