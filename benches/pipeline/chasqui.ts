/** `bus.send` to a handler, through the whole pipeline; with the word `counted` with logs and metrics on. */
import { command, connect } from 'chasqui'
import { measure, Order, parameters } from './order.ts'

const { url, messages, callers, words } = parameters()
const counted = words.includes('counted')
const PlaceOrder = command('bench.chasqui', Order)
const bus = await connect(url, { name: 'bench', metrics: counted, ...(counted ? {} : { logger: false }) })
let handled = 0
await bus.handle(PlaceOrder, () => {
  handled++
})
await measure(
  { send: order => bus.send(PlaceOrder, order), handled: () => handled, close: () => bus.close() },
  messages,
  callers,
)
