/** What a connection and its channels tell each other, out of their users' sight. */

import type { FrameWriter } from '../frame-writer.ts'
import type { ContentMethod, Method } from '../generated/methods.ts'
import type { FlushQueue } from './flush-queue.ts'

/** What a channel needs of its connection. */
export interface ChannelHost {
  readonly writer: FrameWriter
  /** When acknowledgements that were gathered are written. */
  readonly flushQueue: FlushQueue
  /** The number may be used again. */
  release(channelNumber: number): void
  /** The server broke the protocol: the connection ends. */
  fail(error: Error): void
}

/** What a connection tells a channel. */
export interface ChannelPort {
  onMethod(method: Method): void
  onContent(method: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void
  /** The connection ended; undefined: it was closed cleanly from here. */
  onConnectionClosed(error: Error | undefined): void
}
