import { command, connect } from 'chasqui'

const Hello = command<{ name: string; message: string }>('hello')
const bus = await connect(`amqp://localhost:${process.argv[2] ?? 5672}`)

const print = (hello: { name: string; message: string }) => {
  console.log(' [x] Received', hello)
  console.log(` [.] ${hello.name}: ${hello.message}`)
}
await bus.handle(Hello, print, { durable: false })
console.log(' [*] Waiting for messages. To exit press CTRL+C')
