/** `bus.send` to a handler, through the whole pipeline. */
import { command, connect } from 'chasqui'
import { measure, Order, parameters } from './order.ts'

const { url, messages, callers } = parameters()
const PlaceOrder = command('bench.chasqui', Order)
const bus = await connect(url, { name: 'bench' })
let handled = 0
await bus.handle(PlaceOrder, () => {
  handled++
})
await measure(
  { send: order => bus.send(PlaceOrder, order), handled: () => handled, close: () => bus.close() },
  messages,
  callers,
)
