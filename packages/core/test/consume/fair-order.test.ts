import { describe, expect, test } from 'vitest'
import { type FairOptions, FairOrder } from '../../src/consume/fair-order.ts'
import { Work } from '../../src/consume/work.ts'
import { errorOf, eventually, memoryBus, ownName } from '../fixture.ts'

let tag = 0
function work(tenant: string | undefined): Work {
  tag += 1
  const attributes: Record<string, string> = tenant === undefined ? {} : { tenantid: tenant }
  const message = { attributes, headers: {}, durable: true, body: new Uint8Array(0) }
  return new Work('lane', 1, { tag, message, redelivered: false })
}

function taken(options: FairOptions, tenants: string): string {
  const backlog = new FairOrder(options)
  for (const tenant of tenants) backlog.push(work(tenant === '-' ? undefined : tenant))
  let order = ''
  for (let one = backlog.take(); one !== undefined; one = backlog.take()) {
    order += one.item.message.attributes.tenantid ?? '-'
  }
  expect(backlog.size).toBe(0)
  return order
}

describe('fair shares', () => {
  test.each<[string, FairOptions, string]>([
    ['aaaaabbc', {}, 'abcabaaa'],
    ['aaaa', {}, 'aaaa'],
    ['aaa--b', {}, 'a-ba-a'],
    ['aaaabbbb', { weights: { a: 3 } }, 'aaababbb'],
    ['aaaabbcc', { weights: { b: 2, nobody: 9 } }, 'abbcaca a'.replace(' ', '')],
  ])('of %s with %j are %s', (tenants, options, order) => {
    expect(taken(options, tenants)).toBe(order)
  })

  test('one that comes while others take turns gets its turn next round', () => {
    const backlog = new FairOrder({})
    for (let i = 0; i < 4; i++) backlog.push(work('a'))
    backlog.take()
    backlog.push(work('b'))
    const next = [backlog.take(), backlog.take()].map(one => one?.item.message.attributes.tenantid)
    expect(next).toContain('b')
  })

  test('draining takes all', () => {
    const backlog = new FairOrder({})
    const all = ['a', 'b', 'a'].map(work)
    for (const one of all) backlog.push(one)
    backlog.take()
    expect(backlog.drain()).toHaveLength(2)
    expect([backlog.size, backlog.take()]).toEqual([0, undefined])
  })

  test('[fair] a tenant that floods the queue does not keep another waiting', async () => {
    const bus = await memoryBus()
    const queue = ownName()
    const order: unknown[] = []
    const gate = Promise.withResolvers<void>()
    await bus.handle(
      queue,
      async (body, ctx) => {
        if (body === 'first') await gate.promise
        order.push(ctx.headers.tenant)
      },
      { concurrency: 1, fair: { header: 'tenant' } },
    )
    await bus.send(queue, 'first')
    for (let i = 0; i < 30; i++) await bus.send(queue, i, { headers: { tenant: 'loud' } })
    for (let i = 0; i < 3; i++) await bus.send(queue, i, { headers: { tenant: 'quiet' } })
    gate.resolve()
    await eventually('all are done', () => order.length === 34)
    expect(order.lastIndexOf('quiet')).toBeLessThanOrEqual(6)
  })

  test.each([{ weights: { a: 0 } }, { weights: { a: 'x' } }, { header: 1 }, { by: 'x' }, false])(
    '%j is refused',
    async fair => {
      const bus = await memoryBus()
      expect((await errorOf(bus.handle(ownName(), () => {}, { fair: fair as never }))).code).toBe('option-invalid')
    },
  )

  test('is refused beside an order', async () => {
    const bus = await memoryBus()
    expect((await errorOf(bus.handle(ownName(), () => {}, { fair: true, orderBy: 'key' }))).code).toBe('option-invalid')
  })
})
