/** Directories of tests, gone with them. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Session } from '@chasqui/broker'
import { onTestFinished } from 'vitest'

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'chasqui-test-'))
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Resolves when what was published or declared under that commit number is on disk. */
export function committed(session: Session, commit: number): Promise<void> {
  return new Promise(resolve => session.whenCommitted(commit, resolve))
}
