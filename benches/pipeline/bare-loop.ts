/** What JSON and the schema cost alone: checked, written, read and checked again, with nothing in between. */
import { Order, order, parameters } from './order.ts'

const { messages } = parameters()

function loop(count: number): number {
  let bytes = 0
  for (let number = 0; number < count; number++) {
    const checked = Order['~standard'].validate(order(number))
    if (checked instanceof Promise || checked.issues !== undefined) throw new Error('the sample does not fit')
    const body = Buffer.from(JSON.stringify(checked.value))
    bytes += body.byteLength
    const read = Order['~standard'].validate(JSON.parse(body.toString()))
    if (read instanceof Promise || read.issues !== undefined) throw new Error('the sample does not fit')
  }
  return bytes
}

loop(20_000)
const cpu = process.cpuUsage()
const started = process.hrtime.bigint()
loop(messages)
const seconds = Number(process.hrtime.bigint() - started) / 1e9
const { user, system } = process.cpuUsage(cpu)
console.log(JSON.stringify({ messages, seconds, cpuMicros: user + system }))
