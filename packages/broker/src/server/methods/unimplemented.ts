/** Methods that a client may not send: those of the server's side, and those that this broker lacks. */
import { AmqpError } from '@chasqui/amqp'

/** In RabbitMQ's words, which call a server's method sent by a client unimplemented. */
export function unimplemented(): AmqpError {
  return AmqpError.of('command-invalid', 'unimplemented method')
}
