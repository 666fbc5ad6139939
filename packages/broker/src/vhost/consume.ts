/** What a session asks for when it consumes, and what the arguments of basic.consume say. */
import type { FieldTable } from '@chasqui/amqp'
import { amqpType } from '../queue/arguments.ts'
import type { ConsumeOrder } from '../queue/key-lock.ts'
import { preconditionFailed } from './refusal.ts'

export interface Consume {
  readonly queue: string
  /** Empty or absent: the broker makes one up. */
  readonly consumerTag?: string | undefined
  readonly noAck?: boolean | undefined
  readonly exclusive?: boolean | undefined
  readonly arguments?: FieldTable | undefined
  /** Default: what the argument `x-chasqui-order` says, else `none`. */
  readonly order?: ConsumeOrder | undefined
  /** Unsettled deliveries at most, 0 without limit; absent: what `qos` set. */
  readonly prefetch?: number | undefined
}

/** Throws AmqpError. */
export function orderIn(args: FieldTable | undefined): ConsumeOrder {
  const order = args?.['x-chasqui-order']
  if (order === undefined || order === 'none' || order === 'key' || order === 'strict') return order ?? 'none'
  throw preconditionFailed(`invalid arg 'x-chasqui-order': '${String(order)}' is none of 'none', 'key', 'strict'`)
}

/** `described` is the queue as it stands in a refusal. Throws AmqpError. */
export function priorityIn(args: FieldTable | undefined, described: string): number {
  const priority = args?.['x-priority']
  if (priority === undefined) return 0
  if (typeof priority === 'bigint' || (typeof priority === 'number' && Number.isInteger(priority))) {
    return Number(priority)
  }
  throw preconditionFailed(`invalid arg 'x-priority' for ${described}: "expected integer, got ${amqpType(priority)}"`)
}
