/** `node mover-process.ts DIRECTORY COUNT`: fills a queue and moves its messages one by one to another, until it is killed. */
import { open } from '../src/index.ts'
import { message } from './message.ts'

const driver = await open({ urls: [`embedded:${process.argv[2]}`], name: 'mover', connectTimeoutMs: 10_000 })
const count = Number(process.argv[3])
const [from, to] = [
  { kind: 'queue', name: 'from' },
  { kind: 'queue', name: 'to' },
] as const
await driver.declare(
  {
    destinations: [
      { ...from, durable: true },
      { ...to, durable: true },
    ],
  },
  { create: true },
)
const ids = Array.from({ length: count }, (_, index) => `m-${index}`)
const deadline = Date.now() + 60_000
await driver.send(
  ids.map(id => ({ to: from, message: message(id) })),
  deadline,
)
let moved = 0
const receiver = await driver.receive(
  from,
  {
    deliver({ lane, epoch, items }) {
      for (const { tag, message } of items) {
        void receiver.transfer!(lane, epoch, [tag], [{ to, message }]).then(() => process.send?.(++moved))
      }
    },
    revoke: async () => undefined,
    fail: error => {
      throw error
    },
  },
  { window: 20, order: 'none' },
)
