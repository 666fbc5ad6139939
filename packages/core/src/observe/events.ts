/**
 * One typed event for each step of a message's way, and for each change of what carries it. Logs stand on these; metrics and
 * traces will. An event is made only when somebody listens to its kind: steps ask `heard` first.
 *
 * Durations are in milliseconds. No event holds a body or a credential.
 */
import type { ChasquiError, DriverState, Target } from '@chasqui/driver'

/** What events about a delivery say of it. `source` is the queue, or TOPIC.SUBSCRIPTION. */
interface Delivered {
  readonly source: string
  readonly id: string | undefined
  readonly type: string | undefined
}

export type BusEvent =
  /** The engine took responsibility; the duration is from acceptance to confirm. */
  | {
      readonly kind: 'sent'
      readonly id: string
      readonly type: string | undefined
      readonly destination: string
      readonly target: Target['kind']
      readonly bytes: number
      readonly durable: boolean
      readonly durationMs: number
    }
  /** `inDoubt`: it may have arrived all the same. */
  | {
      readonly kind: 'send-failed'
      readonly id: string
      readonly type: string | undefined
      readonly destination: string
      readonly target: Target['kind']
      readonly error: ChasquiError
      readonly inDoubt: boolean
    }
  /** Refused before it left: by its options, its schema, its size, a full buffer. The caller's promise says so too. */
  | {
      readonly kind: 'send-refused'
      readonly destination: string
      readonly target: Target['kind']
      readonly error: unknown
    }
  | ({ readonly kind: 'received'; readonly redelivered: boolean; readonly bytes: number } & Delivered)
  /** `pipelineMs` of it went by before the handler: decoding, validation, middleware. */
  | ({
      readonly kind: 'handled'
      readonly attempt: number
      readonly durationMs: number
      readonly pipelineMs: number
    } & Delivered)
  | ({
      readonly kind: 'attempt-failed'
      readonly attempt: number
      readonly durationMs: number
      readonly error: unknown
    } & Delivered)
  /** `attempt` is the one that begins now, or after `delayMs`. */
  | ({ readonly kind: 'retried'; readonly attempt: number; readonly delayMs: number } & Delivered)
  /** An attempt waits less than was asked for: its message is held in the process, and longer than `delayMs` it may not be. */
  | ({ readonly kind: 'delay-cut'; readonly askedMs: number; readonly delayMs: number } & Delivered)
  /** The copy for a delayed attempt was not confirmed; the original is held in the process instead. */
  | ({ readonly kind: 'retry-held'; readonly delayMs: number; readonly error: unknown } & Delivered)
  | ({
      readonly kind: 'dead-lettered'
      readonly attempts: number
      readonly code: string
      readonly reason: string
      readonly deadLetter: string
      readonly error: unknown
    } & Delivered)
  /** The dead-letter copy was not confirmed; the original stays and the move is tried again after `delayMs`. */
  | ({
      readonly kind: 'dead-letter-failed'
      readonly deadLetter: string
      readonly error: unknown
      readonly delayMs: number
    } & Delivered)
  /** A dead letter was sent back to where it had failed. */
  | ({
      readonly kind: 'redriven'
      readonly destination: string
      readonly by: string
      readonly isEdited: boolean
    } & Delivered)
  /** A dead letter was deleted. */
  | ({ readonly kind: 'discarded'; readonly by: string } & Delivered)
  /** The message went back to the engine unhandled. */
  | ({ readonly kind: 'released'; readonly reason: string } & Delivered)
  /** No route takes the type: dead-lettered on a queue, acknowledged on a subscription. `count` is the consumer's so far. */
  | ({ readonly kind: 'unrouted'; readonly count: number } & Delivered)
  /** The reply to a request was confirmed. */
  | ({ readonly kind: 'replied'; readonly replyTo: string } & Delivered)
  /** A request ended without reply and without another attempt: its requester had cancelled it. */
  | ({ readonly kind: 'request-cancelled' } & Delivered)
  /** A stream of replies ended: `left` by its requester, or the requester is `gone`; `aborted` with its attempt. */
  | ({
      readonly kind: 'streamed'
      readonly replyTo: string
      readonly end: 'finished' | 'left' | 'gone' | 'aborted'
      readonly items: number
    } & Delivered)
  /** A reply came that nobody waits for (any more); it is dropped. */
  | {
      readonly kind: 'late-reply'
      readonly id: string | undefined
      readonly type: string | undefined
      readonly correlationId: string | undefined
    }
  /** So many deliveries were settled together: the engine was told. */
  | {
      readonly kind: 'settled'
      readonly source: string
      readonly outcome: 'ack' | 'requeue'
      readonly count: number
      readonly durationMs: number
    }
  /** Deliveries were settled when their connection had gone; the engine hands those messages out again. */
  | { readonly kind: 'settled-late'; readonly source: string; readonly count: number; readonly error?: unknown }
  /** A function of the user's that is not a handler threw: `onError`, a listener, a logger. */
  | { readonly kind: 'hook-failed'; readonly hook: string; readonly error: unknown }
  /** The driver failed at what makes itself good: the engine takes back what was not settled. */
  | { readonly kind: 'driver-failed'; readonly doing: string; readonly error: unknown }
  | { readonly kind: 'connected'; readonly engine: string }
  | { readonly kind: 'state'; readonly state: DriverState; readonly reason: string | undefined }
  | { readonly kind: 'reconnected'; readonly downMs: number }
  | {
      readonly kind: 'consumer-started'
      readonly source: string
      readonly concurrency: number
      readonly window: number
    }
  /** So many messages wait here for delayed attempts that no more are fetched until some are through. */
  | { readonly kind: 'bound-reached'; readonly source: string; readonly held: number; readonly unsettled: number }
  /** So many attempts failed that no more begin, until one message probes after `openMs`. */
  | { readonly kind: 'circuit-opened'; readonly source: string; readonly openMs: number; readonly error: unknown }
  | { readonly kind: 'circuit-probing'; readonly source: string }
  | { readonly kind: 'circuit-closed'; readonly source: string }
  /** How many handlers may run at once has changed. */
  | { readonly kind: 'concurrency-changed'; readonly source: string; readonly concurrency: number }
  /** Messages wait and none was handled for `stallMs`: the consumer is rebuilt, for the time with that number. */
  | {
      readonly kind: 'consumer-stalled'
      readonly source: string
      readonly stallMs: number
      readonly rebuilds: number
    }
  | { readonly kind: 'consumer-paused'; readonly source: string }
  | { readonly kind: 'consumer-resumed'; readonly source: string }
  | { readonly kind: 'consumer-stopped'; readonly source: string; readonly cancelled: number }
  | { readonly kind: 'consumer-failed'; readonly source: string; readonly error: ChasquiError }
  | { readonly kind: 'closed'; readonly durationMs: number }

export type EventKind = BusEvent['kind']
export type EventListener = (event: BusEvent) => void

/** Every kind once; the compiler sees to it that none is missing. */
const nothingHeard: Record<EventKind, boolean> = {
  sent: false,
  'send-failed': false,
  'send-refused': false,
  received: false,
  handled: false,
  'attempt-failed': false,
  retried: false,
  'delay-cut': false,
  'retry-held': false,
  'dead-lettered': false,
  'dead-letter-failed': false,
  redriven: false,
  discarded: false,
  released: false,
  unrouted: false,
  replied: false,
  'request-cancelled': false,
  streamed: false,
  'late-reply': false,
  settled: false,
  'settled-late': false,
  'hook-failed': false,
  'driver-failed': false,
  connected: false,
  state: false,
  reconnected: false,
  'consumer-started': false,
  'bound-reached': false,
  'circuit-opened': false,
  'circuit-probing': false,
  'circuit-closed': false,
  'concurrency-changed': false,
  'consumer-stalled': false,
  'consumer-paused': false,
  'consumer-resumed': false,
  'consumer-stopped': false,
  'consumer-failed': false,
  closed: false,
}

export const eventKinds = Object.keys(nothingHeard) as readonly EventKind[]

export class EventHub {
  /** Whether anybody listens to a kind. */
  readonly heard: Readonly<Record<EventKind, boolean>> = { ...nothingHeard }
  readonly #listeners = new Map<EventKind, EventListener[]>()

  /** Calls the listener for each event of the kinds (default: all) until the returned function is called. */
  listen(listener: EventListener, kinds: readonly EventKind[] = eventKinds): () => void {
    for (const kind of kinds) this.#change(kind, [...(this.#listeners.get(kind) ?? []), listener])
    return () => {
      for (const kind of kinds) {
        this.#change(
          kind,
          (this.#listeners.get(kind) ?? []).filter(other => other !== listener),
        )
      }
    }
  }

  /** A listener that throws changes nothing for the message; the others hear of it as `hook-failed`. */
  emit(event: BusEvent): void {
    for (const listener of this.#listeners.get(event.kind) ?? []) {
      try {
        listener(event)
      } catch (error) {
        // A listener that fails on this very kind would otherwise go round for ever.
        if (event.kind !== 'hook-failed') this.emit({ kind: 'hook-failed', hook: `listener of ${event.kind}`, error })
      }
    }
  }

  #change(kind: EventKind, listeners: EventListener[]): void {
    this.#listeners.set(kind, listeners)
    ;(this.heard as Record<EventKind, boolean>)[kind] = listeners.length > 0
  }
}
