/** What must compile and what must not. The compiler is the test; running it only shows that nothing was called. */
import { type Bus, command, event, on, request, type ThreadHandler } from '@chasqui/core'
import { describe, expect, expectTypeOf, test } from 'vitest'
import * as z from 'zod'

const OrderPlaced = event(
  'order.placed',
  z.object({ orderId: z.string(), total: z.coerce.number<string | number>(), note: z.string().default('none') }),
  { key: order => order.orderId, destination: 'orders' },
)
const Charge = command('payments.charge', z.object({ orderId: z.string(), amount: z.number() }), {
  destination: 'payments',
})
const Price = request('prices.get', z.object({ sku: z.string() }), z.object({ price: z.number() }), {
  destination: 'payments',
})
const Rows = request(
  'reports.rows',
  z.object({ year: z.number() }),
  z.object({ total: z.coerce.number<string | number>() }),
  { stream: true },
)
const Bare = command<{ readonly id: number }>('bare')

/** Never called: its body is for the compiler. */
export async function uses(bus: Bus): Promise<void> {
  await bus.handle(Charge, async (charge, ctx) => {
    expectTypeOf(charge).toEqualTypeOf<{ orderId: string; amount: number }>()
    if (charge.amount < 0) return ctx.retry({ delayMs: 5 })
    if (charge.amount === 0) return ctx.deadLetter('nothing to charge')
    await ctx.publish(OrderPlaced, { orderId: charge.orderId, total: charge.amount })
  })
  await bus.handle(Bare, body => body.id.toFixed())
  await bus.handle(Price, async query => ({ price: query.sku.length }))
  await bus.handle(Price, query => ({ price: query.sku.length }))
  // @ts-expect-error wrong reply
  await bus.handle(Price, async () => ({ prise: 1 }))
  // @ts-expect-error no reply
  await bus.handle(Price, async () => {})
  // @ts-expect-error an event is not handled
  await bus.handle(OrderPlaced, () => {})

  await bus.subscribe(OrderPlaced, 'billing', order => {
    // The wire carries the schema's input, the handler gets its output.
    expectTypeOf(order).toEqualTypeOf<{ orderId: string; total: number; note: string }>()
    return order.total
  })
  // @ts-expect-error a command is not subscribed to
  await bus.subscribe(Charge, 'billing', () => {})

  await bus.send(Charge, { orderId: '1', amount: 2 })
  // @ts-expect-error wrong body
  await bus.send(Charge, { orderId: 1, amount: 2 })
  // @ts-expect-error a missing member
  await bus.send(Charge, { orderId: '1' })
  // @ts-expect-error an event is not sent
  await bus.send(OrderPlaced, { orderId: '1', total: 2 })
  // @ts-expect-error a request is not sent
  await bus.send(Price, { sku: 'x' })
  await bus.publish(OrderPlaced, { orderId: '1', total: '2' })
  // @ts-expect-error a command is not published
  await bus.publish(Charge, { orderId: '1', amount: 2 })
  // @ts-expect-error an option that does not exist
  await bus.send(Charge, { orderId: '1', amount: 2 }, { dalayMs: 1 })
  // @ts-expect-error a header that cannot travel
  await bus.send(Charge, { orderId: '1', amount: 2 }, { headers: { when: new Date() } })

  const { price } = await bus.request(Price, { sku: 'x' }, { timeoutMs: 1000 })
  expectTypeOf(price).toEqualTypeOf<number>()
  for await (const row of bus.stream(Rows, { year: 2026 }, { window: 10 })) {
    expectTypeOf(row).toEqualTypeOf<{ total: number }>()
  }
  await bus.handle(Rows, async function* (query, ctx) {
    expectTypeOf(query).toEqualTypeOf<{ year: number }>()
    for await (const row of ctx.stream(Rows, query)) yield { total: String(row.total) }
    yield { total: 1 }
  })
  // @ts-expect-error a wrong item
  await bus.handle(Rows, async function* () {
    yield { totals: 1 }
  })
  // @ts-expect-error one reply where a stream is declared
  await bus.handle(Rows, async () => ({ total: 1 }))
  // @ts-expect-error a stream where one reply is declared
  await bus.handle(Price, async function* () {
    yield { price: 1 }
  })
  // @ts-expect-error a stream is not requested
  await bus.request(Rows, { year: 2026 })
  // @ts-expect-error a request with one reply is no stream
  bus.stream(Price, { sku: 'x' })
  // @ts-expect-error an event is not requested
  await bus.request(OrderPlaced, { orderId: '1', total: 2 })

  await bus.send('hello', { name: 'John' })
  await bus.handle('hello', async (body, ctx) => {
    expectTypeOf(body).toEqualTypeOf<unknown>()
    expectTypeOf(ctx.id).toEqualTypeOf<string | undefined>()
  })
  await bus.handle([on(Charge, charge => charge.amount), on(Price, () => ({ price: 1 }))])
  await bus.subscribe('orders', 'audit', [on(OrderPlaced, order => order.orderId)])
  // @ts-expect-error an event's route does not belong in handle
  await bus.handle([on(OrderPlaced, order => order.orderId)])
  // @ts-expect-error a command's route does not belong in subscribe
  await bus.subscribe('orders', 'audit', [on(Charge, charge => charge.amount)])

  await bus.handleBatch(Charge, (items, ctx) => {
    expectTypeOf(items[0]!.body).toEqualTypeOf<{ orderId: string; amount: number }>()
    for (const item of items) if (item.body.amount < 0) item.deadLetter('negative')
    if (items.length === 0) return ctx.retry()
  })
  await bus.subscribeBatch(OrderPlaced, 'audit', items => items.map(item => item.body.total.toFixed()))
  // @ts-expect-error an event is not handled
  await bus.handleBatch(OrderPlaced, () => {})
  // @ts-expect-error a request has one reply for one message
  await bus.handleBatch(Price, () => {})
  const [outcome] = await bus.sendBatch(Charge, [{ orderId: '1', amount: 2 }])
  if (outcome?.ok) expectTypeOf(outcome.receipt.id).toEqualTypeOf<string>()
  // @ts-expect-error a wrong body among them
  await bus.sendBatch(Charge, [{ orderId: '1', amount: 2 }, { orderId: 2 }])
  // @ts-expect-error a command is not published
  await bus.publishBatch(Charge, [])

  const module = new URL('file:///price.ts')
  await bus.handle(Price, { worker: module, threads: 2 })
  await bus.handle([on(Price, { worker: module }), on(Charge, charge => charge.amount)])
  // @ts-expect-error a path is not enough
  await bus.handle(Price, { worker: './price.ts' })
  const priced: ThreadHandler<typeof Price> = async (query, ctx) => {
    expectTypeOf(query).toEqualTypeOf<{ sku: string }>()
    await ctx.send(Charge, { orderId: '1', amount: 1 })
    return { price: 1 }
  }
  await bus.handle(Price, priced)
  // @ts-expect-error wrong reply
  const wrong: ThreadHandler<typeof Price> = () => ({ prise: 1 })
  void wrong

  for await (const delivery of bus.receive(Charge)) {
    expectTypeOf(delivery.body.amount).toEqualTypeOf<number>()
    if (delivery.body.amount > 0) await delivery.ack()
    else await delivery.release({ delayMs: 100 })
  }
  for await (const delivery of bus.receive(OrderPlaced, { subscription: 'audit' })) {
    expectTypeOf(delivery.body.total).toEqualTypeOf<number>()
    await delivery.ack()
  }
  // @ts-expect-error an event is received from a subscription
  for await (const delivery of bus.receive(OrderPlaced)) await delivery.ack()
}

describe('the face', () => {
  test('contracts know their kind, type and destination', () => {
    expect(uses).toBeTypeOf('function')
    expect([OrderPlaced.kind, OrderPlaced.type, OrderPlaced.destination]).toEqual(['event', 'order.placed', 'orders'])
    expect([Bare.kind, Bare.type, Bare.destination]).toEqual(['command', 'bare', 'bare'])
    expect([Price.kind, Price.destination]).toEqual(['request', 'payments'])
  })
})
