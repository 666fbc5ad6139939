/** Requests, streams of replies and what answers them, put together around the one reply queue of a bus. */
import type { ChasquiError, Driver } from '@chasqui/driver'
import type { IncomingMiddleware, Scope } from '../consume/incoming.ts'
import type { EventHub } from '../observe/events.ts'
import type { Outlets } from '../send/outlet.ts'
import { Control } from './control.ts'
import { ReplyQueue } from './reply-queue.ts'
import { ReplyReader } from './reply-reader.ts'
import { Requests } from './request.ts'
import { Runs } from './runs.ts'
import { Streams } from './streams.ts'

export interface AskingParts {
  readonly driver: Driver
  readonly outlets: Outlets
  readonly events: EventHub
  /** Replies go through it as all messages do. */
  readonly incoming: readonly IncomingMiddleware[]
  /** What a reply's middleware may use; asked for when a reply comes. */
  readonly scope: (replyQueue: string) => Scope
}

export class Asking {
  readonly requests: Requests
  readonly streams: Streams
  /** What handlers of this bus answer by and can be reached at. */
  readonly runs: Runs
  readonly #queue: ReplyQueue

  constructor({ driver, outlets, events, incoming, scope }: AskingParts) {
    const queue = new ReplyQueue(driver, events)
    const reader = new ReplyReader(incoming, () => scope(queue.name))
    this.#queue = queue
    this.runs = new Runs(queue)
    const control = new Control(outlets, events)
    this.requests = new Requests(outlets, queue, reader, control)
    this.streams = new Streams(outlets, queue, reader, control)
  }

  /** Whoever still waits for replies gets the error. */
  close(error: ChasquiError): Promise<void> {
    return this.#queue.close(error)
  }
}
