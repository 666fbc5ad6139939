/** Drivers for tests: opened on a place of their own, closed at the end. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Batch, ChasquiError, Driver, Incoming, Outgoing, Receiver, Sink, Target } from '@chasqui/driver'
import { onTestFinished } from 'vitest'
import { open } from '../src/index.ts'
import { message } from './message.ts'

export function memoryUrl(): string {
  return `memory:${randomUUID()}`
}

export async function temporaryDirectory(): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'chasqui-embedded-'))
  onTestFinished(() => rm(directory, { recursive: true, force: true }))
  return directory
}

export async function opened(url: string, connectTimeoutMs = 5_000): Promise<Driver> {
  const driver = await open({ urls: [url], name: 'test', connectTimeoutMs })
  onTestFinished(() => driver.close())
  return driver
}

export function outgoing(to: Target, ...ids: string[]): Outgoing[] {
  return ids.map(id => ({ to, message: message(id) }))
}

export function inTenSeconds(): number {
  return Date.now() + 10_000
}

/** Keeps what a receiver brings. */
export class Collector implements Sink {
  readonly batches: Batch[] = []
  readonly revoked: number[] = []
  failure: ChasquiError | undefined
  receiver: Receiver | undefined

  deliver(batch: Batch): void {
    this.batches.push(batch)
  }

  async revoke(_lane: string, epoch: number): Promise<void> {
    this.revoked.push(epoch)
  }

  fail(error: ChasquiError): void {
    this.failure = error
  }

  get items(): Incoming[] {
    return this.batches.flatMap(batch => batch.items)
  }

  get ids(): (string | undefined)[] {
    return this.items.map(item => item.message.id)
  }
}
