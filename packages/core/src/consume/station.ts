/**
 * What handles a route's messages in a way of its own: gathers them into batches, or hands them to threads. Attempts still begin and
 * end in the consumer's loop; a station is the innermost step of them, and limits the time of its attempts itself.
 */
export interface Station {
  /** Makes ready, before the first message comes. Rejects with why it cannot. */
  open(): Promise<void>
  /** `true`: no more messages are coming for now, so what waits for others should wait no longer; `false`: they come again. */
  hurry(on: boolean): void
  /** Ends what still runs, when no attempt counts any more. May be called twice. */
  close(): Promise<void>
}
