/** Messages of 100,000 keys from `bus.send` to an asynchronous handler, 50 at once; with the word `ordered` in the order of each key. */
import { command, connect } from 'chasqui'
import { measure, Order, parameters } from './order.ts'

const keys = 100_000
const lanes = 4

const { url, messages, callers, words } = parameters()
let sent = 0
const PlaceOrder = command('bench.keys', Order, {
  destination: 'bench.keys',
  lanes,
  key: () => `key-${sent++ % keys}`,
})
const bus = await connect(url, { name: 'bench', metrics: true })
let handled = 0
await bus.handle(
  PlaceOrder,
  async () => {
    handled++
  },
  { concurrency: 50, window: 1000, ...(words.includes('ordered') ? { orderBy: 'key' } : {}) },
)
await measure(
  { send: order => bus.send(PlaceOrder, order), handled: () => handled, close: () => bus.close() },
  messages,
  callers,
)
