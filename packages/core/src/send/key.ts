/** A message's key: made by the contract's function, or given by the sender. */
import { ChasquiError } from '@chasqui/driver'
import type { AnyContract } from '../contract/contract.ts'

/** Engines carry a key in a short string of at most 255 bytes. */
const maxKeyBytes = 255

/** What the key function makes of a body. Throws `key-invalid`. */
export function keyOf({ key: make, type }: Pick<AnyContract, 'key' | 'type'>, body: unknown): string {
  let key: unknown
  try {
    key = make?.(body as never)
  } catch (cause) {
    throw new ChasquiError(
      'key-invalid',
      `The key function of "${type}" threw. Let it return a string for every body.`,
      {
        cause,
        details: { type },
      },
    )
  }
  return checkedKey(key, type)
}

/** Throws `key-invalid`, naming the type whose function made the key, if one did. */
export function checkedKey(key: unknown, type?: string): string {
  if (typeof key === 'string' && key.isWellFormed() && (key.length < 64 || Buffer.byteLength(key) <= maxKeyBytes))
    return key
  const whose = type === undefined ? 'The key' : `The key function of "${type}"`
  throw new ChasquiError('key-invalid', `${whose} must give a string of at most ${maxKeyBytes} bytes.`, {
    details: { maxKeyBytes, ...(type === undefined ? {} : { type }) },
  })
}
