/** Messages from programs that know nothing of Chasqui: no id, no type, no content type, headers of any kind. */
import { command, on } from '@chasqui/core'
import type { WireMessage } from '@chasqui/driver'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { type Altered, alteredBus } from '../altered-driver.ts'
import { eventually, ofKind, ownName } from '../fixture.ts'

async function arrives({ driver }: Altered, queue: string, message: Partial<WireMessage>): Promise<void> {
  const bare: WireMessage = { attributes: {}, headers: {}, durable: false, body: Buffer.from('{"n":1}'), ...message }
  await driver.declare({ destinations: [{ kind: 'queue', name: queue, durable: false }] }, { create: true })
  const [result] = await driver.send([{ to: { kind: 'queue', name: queue }, message: bare }], Date.now() + 5000)
  expect(result).toMatchObject({ ok: true })
}

describe('a message that says nothing of itself', () => {
  test('[plain name] is bytes, without id, type, time, source', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    await arrives(altered, queue, {})
    for await (const delivery of altered.bus.receive(queue)) {
      const { id, type, time, source, contentType, correlationId, body } = delivery
      expect({ id, type, time, source, contentType, correlationId }).toEqual({})
      expect(Buffer.isBuffer(body) && body.toString()).toBe('{"n":1}')
      await delivery.ack()
      break
    }
  })

  test('[contract] is of the contract’s format and takes the only route', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    await arrives(altered, queue, {})
    const got = Promise.withResolvers<unknown>()
    await altered.bus.handle(command(queue, z.object({ n: z.number() })), body => got.resolve(body))
    expect(await got.promise).toEqual({ n: 1 })
  })

  test('[routes] with several to choose from it is unrouted', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    await arrives(altered, queue, {})
    const routes = ['a', 'b'].map(type => on(command(`${queue}.${type}`, { destination: queue }), () => {}))
    await altered.bus.handle(routes)
    await eventually('it is dead-lettered', () => ofKind(altered.told, 'dead-lettered').length === 1)
    expect(ofKind(altered.told, 'dead-lettered')).toMatchObject([{ code: 'unrouted', id: undefined }])
  })

  test('is dead-lettered with what its headers hold, of any kind', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    const headers = {
      list: [1, { deep: true }],
      when: new Date(0),
      big: 2n ** 60n,
      nothing: null,
      bytes: Buffer.from([1]),
    }
    await arrives(altered, queue, { headers: { ...headers, 'x-death': [] } })
    await altered.bus.handle(queue, (_body, ctx) => ctx.deadLetter('no'))
    for await (const letter of altered.bus.receive(`${queue}.dead-letter`)) {
      expect(letter.headers).toMatchObject(headers)
      expect(letter.headers['x-death']).toBeUndefined()
      await letter.ack()
      break
    }
  })

  test('[bytes] a handler that writes to its bytes changes nothing for the next attempt', async () => {
    const altered = await alteredBus({})
    const queue = ownName()
    await arrives(altered, queue, { body: Buffer.from('original') })
    const seen: string[] = []
    await altered.bus.handle(queue, body => {
      seen.push(String(body))
      ;(body as Buffer).fill(0)
      throw new Error('no')
    })
    for await (const letter of altered.bus.receive(`${queue}.dead-letter`)) {
      await letter.ack()
      expect([String(letter.body), seen]).toEqual(['original', Array.from({ length: 5 }, () => 'original')])
      break
    }
  })
})
