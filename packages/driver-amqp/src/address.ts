/** Where a message is published: exchange and routing key. */
import { laneOf, type Target, type WireMessage } from '@chasqui/driver'
import { laneQueue, queueOf } from './queue-names.ts'

export interface Address {
  /** Empty for the default exchange, whose routing keys are names of queues (AMQP 0-9-1 section 3.1.3.1). */
  readonly exchange: string
  readonly routingKey: string
}

/** @param lanes how many the queue or topic has to choose from; 1 for none. */
export function addressOf(to: Target, { type = '', key }: WireMessage, lanes: number): Address {
  if (to.kind === 'topic') {
    return { exchange: to.name, routingKey: lanes === 1 ? type : `${type}.lane-${laneOf(key, lanes)}` }
  }
  const name = queueOf(to)
  return { exchange: '', routingKey: lanes === 1 ? name : laneQueue(name, laneOf(key, lanes), lanes) }
}
