/** The message of the pipeline benches, and the loop that each contender runs: as many callers at once, each awaiting its send. */
import * as z from 'zod'

export const Order = z.object({
  orderId: z.string(),
  customer: z.string(),
  amount: z.number(),
  express: z.boolean(),
  items: z.array(z.object({ sku: z.string(), quantity: z.number().int() })),
})
export type Order = z.infer<typeof Order>

export function order(number: number): Order {
  return {
    orderId: `o-${number}`,
    customer: 'c-4711',
    amount: 12.5,
    express: number % 2 === 0,
    items: [{ sku: 'sku-1', quantity: 2 }],
  }
}

export interface Contender {
  /** Sends one order; resolves when it is confirmed. */
  send(order: Order): Promise<unknown>
  /** Messages that the handler has finished so far. */
  handled(): number
  close(): Promise<unknown>
}

const warmUpMessages = 20_000

/** Runs the contender and prints one JSON line: messages, seconds, CPU microseconds of this process. */
export async function measure(contender: Contender, messages: number, callers: number): Promise<void> {
  await burst(contender, warmUpMessages, callers)
  const cpu = process.cpuUsage()
  const started = process.hrtime.bigint()
  await burst(contender, messages, callers)
  const seconds = Number(process.hrtime.bigint() - started) / 1e9
  const { user, system } = process.cpuUsage(cpu)
  await contender.close()
  console.log(JSON.stringify({ messages, seconds, cpuMicros: user + system }))
}

async function burst(contender: Contender, messages: number, callers: number): Promise<void> {
  const target = contender.handled() + messages
  let next = 0
  const caller = async () => {
    while (next < messages) await contender.send(order(next++))
  }
  await Promise.all(Array.from({ length: callers }, caller))
  while (contender.handled() < target) await new Promise(resolve => setTimeout(resolve, 1))
}

/** `node FILE URL MESSAGES CALLERS [WORD...]` */
export function parameters(): { url: string; messages: number; callers: number; words: readonly string[] } {
  const [url = 'memory:', messages = '100000', callers = '1000', ...words] = process.argv.slice(2)
  return { url, messages: Number(messages), callers: Number(callers), words }
}
