/**
 * The first bytes of every file of the store. All numbers are little endian.
 *
 *   header   [magic: 8 bytes of ASCII][format version u32][number u32][salt u32][reserved u32]       24 bytes
 *
 * The number is the segment's; 0 in the definitions. The salt is where the checks of a log's records begin, and
 * ties the entries to that log; 0 in the definitions.
 */
import { BrokerError } from '../errors.ts'

/** The version of the store's files. A reader refuses greater ones, and reads all smaller ones. */
export const formatVersion = 1
export const headerBytes = 24

export type Magic = 'CHASQLOG' | 'CHASQSET' | 'CHASQDEF'

export function encodeHeader(magic: Magic, number: number, salt = 0): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.write(magic, 'latin1')
  header.writeUInt32LE(formatVersion, 8)
  header.writeUInt32LE(number, 12)
  header.writeUInt32LE(salt, 16)
  return header
}

export function saltOf(header: Buffer): number {
  return header.readUInt32LE(16)
}

/** `cut` when the file ends within its header; throws when the file is not what its name says. */
export function checkHeader(bytes: Buffer, magic: Magic, number: number, path: string): 'ok' | 'cut' {
  const expected = encodeHeader(magic, number)
  if (bytes.length < headerBytes) {
    // A header that was being written when the machine stopped: a part of it, or zeros in its place.
    const known = Math.min(bytes.length, 16)
    if (bytes.subarray(0, known).equals(expected.subarray(0, known)) || bytes.every(byte => byte === 0)) return 'cut'
    throw corrupt(path)
  }
  const found = bytes.subarray(0, headerBytes)
  if (found.every(byte => byte === 0)) return 'cut'
  if (!found.subarray(0, 8).equals(expected.subarray(0, 8))) throw corrupt(path)
  const version = found.readUInt32LE(8)
  if (version > formatVersion) {
    throw new BrokerError(
      'directory-newer',
      `${path} has format ${version}, this version reads up to ${formatVersion}: use the version that wrote it, or a newer one.`,
    )
  }
  if (found.readUInt32LE(12) !== number) throw corrupt(path)
  return 'ok'
}

export function corrupt(path: string): BrokerError {
  return new BrokerError(
    'directory-corrupt',
    `${path} is not what this broker wrote. Restore the data directory from a copy, or move the file away to go on without what it held.`,
  )
}
