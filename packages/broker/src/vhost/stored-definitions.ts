/** How queues, exchanges and bindings are written down in the store. */
import type { FieldTable } from '@chasqui/amqp'
import type { Queue } from '../queue/queue.ts'
import type { Destination, Exchange } from '../router/exchange.ts'
import type { Definition } from '../store/store.ts'

export function queueDefinition(queue: Queue): Definition {
  return { kind: 'queue', id: queue.id, name: queue.name, autoDelete: queue.autoDelete, arguments: queue.arguments }
}

export function exchangeDefinition(exchange: Exchange): Definition {
  const { name, type, autoDelete, internal } = exchange
  return { kind: 'exchange', name, type, autoDelete, internal, arguments: exchange.arguments }
}

export function bindingDefinition(
  source: Exchange,
  destination: Destination,
  routingKey: string,
  args: FieldTable,
): Definition {
  return {
    kind: 'binding',
    source: source.name,
    destinationKind: destination.kind,
    destination: destination.name,
    routingKey,
    arguments: args,
  }
}
