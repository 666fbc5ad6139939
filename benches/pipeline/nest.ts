/** The same on NestJS's RabbitMQ transport. Decorators are applied by hand, since sources here are erasable TypeScript. */
import 'reflect-metadata'
import { Controller, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { ClientProxyFactory, Ctx, EventPattern, Payload, type RmqContext, Transport } from '@nestjs/microservices'
import { lastValueFrom } from 'rxjs'
import { measure, Order, parameters } from './order.ts'

const { url, messages, callers } = parameters()
const queue = 'bench.nest'
let handled = 0

class OrdersController {
  place(data: unknown, context: RmqContext): void {
    const checked = Order.safeParse(data)
    if (!checked.success) throw new Error('the order does not fit')
    handled++
    context.getChannelRef().ack(context.getMessage())
  }
}
const place = Object.getOwnPropertyDescriptor(OrdersController.prototype, 'place')!
Controller()(OrdersController)
EventPattern('order.place')(OrdersController.prototype, 'place', place)
Payload()(OrdersController.prototype, 'place', 0)
Ctx()(OrdersController.prototype, 'place', 1)

class OrdersModule {}
Module({ controllers: [OrdersController] })(OrdersModule)

const queueOptions = { durable: true, arguments: { 'x-queue-type': 'quorum' } }
const server = await NestFactory.createMicroservice(OrdersModule, {
  transport: Transport.RMQ,
  options: { urls: [url], queue, queueOptions, noAck: false, prefetchCount: 100 },
  logger: ['error'],
})
await server.listen()
const client = ClientProxyFactory.create({
  transport: Transport.RMQ,
  options: { urls: [url], queue, queueOptions, persistent: true },
})
await client.connect()
await measure(
  {
    send: order => lastValueFrom(client.emit('order.place', order), { defaultValue: undefined }),
    handled: () => handled,
    close: async () => {
      await client.close()
      await server.close()
    },
  },
  messages,
  callers,
)
