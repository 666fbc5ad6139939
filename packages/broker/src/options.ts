/** Every option of the broker once: meaning, unit, default, bounds. */
import { type Clock, systemClock } from './clock.ts'
import { BrokerError } from './errors.ts'
import type { Listener } from './server/listener.ts'
import { type Files, nodeFiles } from './store/files.ts'

export interface BrokerOptions {
  /** Where durable things live; created with mode 0700. Absent: everything is in memory and gone with the process. */
  readonly dataDirectory?: string | undefined
  /** Where AMQP clients connect. Default: nowhere, only this process uses it. */
  readonly listeners?: readonly Listener[] | undefined
  /**
   * Bytes of messages in memory at which publishers are blocked; they go on below 0.9 of it. Default 512 MiB, at least
   * 1 MiB. Messages that the store has are dropped from memory before that.
   */
  readonly memoryLimitBytes?: number | undefined
  /**
   * Told, in a sentence, of what went wrong without anybody's call failing: a part of the data directory that cannot be
   * read, a session's listener that threw, changes given up at close. Default: a process warning.
   */
  readonly onWarning?: ((sentence: string) => void) | undefined
  /** The time; for tests. */
  readonly clock?: Clock | undefined
  /** The file system under the store; for tests. */
  readonly files?: Files | undefined
}

export interface ResolvedOptions {
  readonly dataDirectory: string | undefined
  readonly listeners: readonly Listener[]
  readonly memoryLimitBytes: number
  readonly onWarning: (sentence: string) => void
  readonly clock: Clock
  readonly files: Files
}

/** Default, unit and bounds of each option; the command line's flags and the docs are made from it. */
export const brokerDefaults = {
  memoryLimitBytes: { value: 512 * 1024 * 1024, unit: 'bytes', least: 1024 * 1024, most: Number.MAX_SAFE_INTEGER },
} as const

export function resolveOptions(options: BrokerOptions): ResolvedOptions {
  const { least, most, value } = brokerDefaults.memoryLimitBytes
  const memoryLimitBytes = options.memoryLimitBytes ?? value
  if (!Number.isSafeInteger(memoryLimitBytes) || memoryLimitBytes < least || memoryLimitBytes > most) {
    throw new BrokerError('option-invalid', `memoryLimitBytes must be a whole number of bytes of at least ${least}.`)
  }
  if (options.dataDirectory === '') {
    throw new BrokerError(
      'option-invalid',
      'dataDirectory is empty: name a directory, or leave it out for memory only.',
    )
  }
  return {
    dataDirectory: options.dataDirectory,
    listeners: options.listeners ?? [],
    memoryLimitBytes,
    onWarning: options.onWarning ?? (sentence => process.emitWarning(sentence, 'ChasquiWarning')),
    clock: options.clock ?? systemClock,
    files: options.files ?? nodeFiles,
  }
}
