/** What should exist on the engine before messages travel, and what `plan` answers about it. */

export type Destination =
  | {
      readonly kind: 'queue'
      readonly name: string
      readonly durable: boolean
      /** Units of order that carry many keys; fixed when the queue is created. Absent: one, unordered under concurrency. */
      readonly lanes?: number
      /** The queue that the engine itself falls back to for what exceeds its delivery limit. Absent: none. */
      readonly deadLetter?: string
    }
  | { readonly kind: 'topic'; readonly name: string; readonly durable: boolean; readonly lanes?: number }
  | {
      readonly kind: 'subscription'
      readonly topic: string
      readonly name: string
      readonly durable: boolean
      /** As many as its topic has. */
      readonly lanes?: number
      readonly deadLetter?: string
    }

export interface Topology {
  readonly destinations: readonly Destination[]
}

/** Whether a driver creates what is absent (`true`) or fails with `destination-missing` (`false`). */
export interface DeclareOptions {
  readonly create: boolean
}

/** One line of a plan. */
export interface Change {
  readonly destination: Destination
  readonly action: 'create' | 'none' | 'conflict'
  /** What differs, argument by argument, for a conflict. */
  readonly difference?: string
}
