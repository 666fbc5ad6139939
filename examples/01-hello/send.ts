import { command, connect } from 'chasqui'

const Hello = command<{ name: string; message: string }>('hello')
await using bus = await connect(`amqp://localhost:${process.argv[2] ?? 5672}`)

const message = { name: 'John', message: 'Hello World!' }
await bus.send(Hello, message, { durable: false })
console.log(' [x] Sent', message)
