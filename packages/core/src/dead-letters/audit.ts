/** The record of who did what to dead letters: JSON lines in a file, or a function's matter. */
import type { FileHandle } from 'node:fs/promises'
import { open } from 'node:fs/promises'
import { ChasquiError } from '@chasqui/driver'
import { messageOf } from '../observe/message-of.ts'

export interface AuditRecord {
  /** ISO 8601. */
  readonly at: string
  readonly by: string
  readonly action: 'redrive' | 'edit' | 'discard'
  /** The queue, or TOPIC.SUBSCRIPTION, whose dead letter it was. */
  readonly source: string
  readonly id: string | undefined
  readonly type: string | undefined
  readonly key: string | undefined
  /** The error that had made it a dead letter, by its code. */
  readonly error: string | undefined
  /** Where it was sent; absent for one that was discarded. */
  readonly to?: string
  /** `done`, or the code of what kept it from being done: then the letter is where it was. */
  readonly outcome: string
}

/** The path of a file to append to, or a function. */
export type AuditSink = string | ((record: AuditRecord) => unknown)

export class Audit {
  readonly #write: (records: readonly AuditRecord[]) => Promise<void>
  readonly #file: FileHandle | undefined

  private constructor(write: (records: readonly AuditRecord[]) => Promise<void>, file: FileHandle | undefined) {
    this.#write = write
    this.#file = file
  }

  /** Opens the file before anything is done. Rejects with `audit-failed`. */
  static async open(sink: AuditSink): Promise<Audit> {
    if (typeof sink === 'function') {
      const write = async (records: readonly AuditRecord[]) => {
        for (const record of records) await sink(record)
      }
      return new Audit(write, undefined)
    }
    let file: FileHandle
    try {
      file = await open(sink, 'a')
    } catch (cause) {
      throw failed(`The audit file ${sink} cannot be opened`, cause)
    }
    const write = async (records: readonly AuditRecord[]) =>
      await file.appendFile(records.map(record => `${JSON.stringify(record)}\n`).join(''))
    return new Audit(write, file)
  }

  /** Resolves when they are written. Rejects with `audit-failed`. */
  async write(records: readonly AuditRecord[]): Promise<void> {
    try {
      await this.#write(records)
    } catch (cause) {
      throw failed('The audit record could not be written', cause)
    }
  }

  async close(): Promise<void> {
    await this.#file?.close()
  }
}

function failed(what: string, cause: unknown): ChasquiError {
  const reason = messageOf(cause)
  return new ChasquiError('audit-failed', `${what}: ${reason}. What is not on record stays where it was.`, { cause })
}
