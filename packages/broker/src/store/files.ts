/**
 * The calls of the file system that the store makes while it runs, as one object, so that tests can make a disk full or
 * a sync fail. Opening and recovery use node:fs as it is.
 */
import * as fs from 'node:fs'

type Done = (error: NodeJS.ErrnoException | null) => void

export interface Files {
  /** Opens for reading and writing, creates what is not there, mode 0600. */
  open(path: string): number
  /** Writes all of the buffers at `position`. */
  write(descriptor: number, buffers: readonly Uint8Array[], position: number, done: Done): void
  /** Writes all of a small buffer before it returns. */
  writeNow(descriptor: number, buffer: Uint8Array, position: number): void
  /** fdatasync: what was written is on disk, and the length that makes it readable. */
  sync(descriptor: number, done: Done): void
  /** A directory's entries are on disk. */
  syncDirectory(path: string): void
  /** As many bytes as there are, up to `length`. */
  read(descriptor: number, position: number, length: number): Buffer
  remove(path: string): void
}

/** The kernel takes no more buffers than this in one call (IOV_MAX on Linux). */
const mostBuffers = 1024

/** As many bytes go into the page cache sooner than a thread of the pool would take them up. */
const writtenAtOnceBytes = 65_536

export const nodeFiles: Files = {
  open: path => fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600),
  write(descriptor, buffers, position, done) {
    let bytes = 0
    for (const buffer of buffers) bytes += buffer.byteLength
    if (bytes > writtenAtOnceBytes) {
      writeAll(descriptor, buffers, position, done)
      return
    }
    try {
      for (const buffer of buffers) {
        nodeFiles.writeNow(descriptor, buffer, position)
        position += buffer.byteLength
      }
    } catch (error) {
      done(error instanceof Error ? error : new Error(String(error)))
      return
    }
    done(null)
  },
  writeNow(descriptor, buffer, position) {
    for (let at = 0; at < buffer.byteLength; ) {
      at += fs.writeSync(descriptor, buffer, at, buffer.byteLength - at, position + at)
    }
  },
  sync: (descriptor, done) => fs.fdatasync(descriptor, done),
  syncDirectory(path) {
    const descriptor = fs.openSync(path, fs.constants.O_RDONLY)
    try {
      fs.fsyncSync(descriptor)
    } finally {
      fs.closeSync(descriptor)
    }
  },
  read(descriptor, position, length) {
    const buffer = Buffer.allocUnsafe(length)
    let filled = 0
    while (filled < length) {
      const count = fs.readSync(descriptor, buffer, filled, length - filled, position + filled)
      if (count === 0) break
      filled += count
    }
    return filled === length ? buffer : buffer.subarray(0, filled)
  },
  remove: path => fs.rmSync(path, { force: true }),
}

function writeAll(descriptor: number, buffers: readonly Uint8Array[], position: number, done: Done): void {
  const some = buffers.length > mostBuffers ? buffers.slice(0, mostBuffers) : buffers
  const later = buffers.length > mostBuffers ? buffers.slice(mostBuffers) : []
  fs.writev(descriptor, some, position, (error, written) => {
    if (error) return done(error)
    const rest = beyond(some, written)
    if (rest.length === 0 && later.length === 0) return done(null)
    if (written === 0) {
      return done(Object.assign(new Error('the disk takes no more bytes'), { code: 'ENOSPC' }))
    }
    writeAll(descriptor, [...rest, ...later], position + written, done)
  })
}

/** What is left of the buffers after their first `count` bytes. */
function beyond(buffers: readonly Uint8Array[], count: number): Uint8Array[] {
  const rest: Uint8Array[] = []
  let skip = count
  for (const buffer of buffers) {
    if (skip >= buffer.byteLength) skip -= buffer.byteLength
    else {
      rest.push(skip > 0 ? buffer.subarray(skip) : buffer)
      skip = 0
    }
  }
  return rest
}
