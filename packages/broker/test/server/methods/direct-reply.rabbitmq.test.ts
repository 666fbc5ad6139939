import { BASIC_CANCEL, BASIC_GET, CHANNEL_CLOSE, CONFIRM_SELECT, type Method, QUEUE_DELETE } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { both, consume, type Dialogue, queue, rabbitmqUrl } from '../differential.ts'

const reply = 'amq.rabbitmq.reply-to'
const take = (tag: string, change: object = {}): Method => consume(reply, tag, { noAck: true, ...change })

/** Sends a request from the dialogue's client to another, which tells the address that it was given. */
async function request(asker: Dialogue, answerer: Dialogue, body: string): Promise<string> {
  asker.publish(asker.name, body, { properties: { replyTo: reply, correlationId: body } })
  const got = await answerer.noteGot(asker.name)
  return got.kind === 'content' ? got.properties.replyTo! : ''
}

describe.runIf(rabbitmqUrl)('direct replies as RabbitMQ has them', () => {
  test('a reply goes to the channel that asked, whoever sends it, with its properties', async () => {
    const lines = await both(async asker => {
      await asker.ask(queue(asker.name))
      await asker.ask(take('replies'))
      const answerer = await asker.another()
      for (const body of ['one', 'two']) {
        const address = await request(asker, answerer, body)
        answerer.publish(address, `reply to ${body}`, { properties: { correlationId: body, headers: { a: 1 } } })
        await asker.note(1)
      }
    })
    expect(lines.at(-1)).toMatch(
      /^basic.deliver .*reply to two".*"consumerTag":"replies","deliveryTag":1.*REPLY-ADDRESS/,
    )
  })

  test.each<readonly [string, readonly Method[]]>([
    ['with acknowledgements', [take('t', { noAck: false })]],
    ['twice', [take('t'), take('u')]],
    ['twice with one tag', [take('t'), take('t')]],
    ['under a tag of another consumer', [queue('', {}, { exclusive: true }), consume('', 't'), take('t')]],
    ['get from it', [take('t'), { id: BASIC_GET, queue: reply, noAck: true }]],
    ['declare it', [queue(reply), queue(reply, {}, { durable: true }), queue(reply, {}, { passive: true })]],
    ['declare an address that is none', [queue(`${reply}.absent`, {}, { passive: true })]],
    ['delete it', [{ id: QUEUE_DELETE, queue: reply, ifUnused: false, ifEmpty: false, noWait: false }]],
    ['cancel and consume again', [take('t'), { id: BASIC_CANCEL, consumerTag: 't', noWait: false }, take('t')]],
    ['a tag of the broker', [take('')]],
  ])('consumed %s', async (_what, methods) => {
    const lines = await both(async dialogue => {
      for (const method of methods) await dialogue.ask(method)
    })
    expect(lines).toHaveLength(methods.length)
  })

  test('a request from a channel that takes no replies is refused', async () => {
    const lines = await both(async asker => {
      await asker.ask(queue(asker.name))
      asker.publish(asker.name, 'x', { properties: { replyTo: reply } })
      await asker.note(1)
    })
    expect(lines.at(-1)).toContain('fast reply consumer does not exist')
  })

  test('the address can be looked at while its consumer is there, not afterwards', async () => {
    const lines = await both(async asker => {
      await asker.ask(queue(asker.name))
      await asker.ask(take('t'))
      const answerer = await asker.another()
      const address = await request(asker, answerer, 'one')
      await answerer.ask(queue(address, {}, { passive: true }))
      await asker.ask({ id: CHANNEL_CLOSE, replyCode: 200, replyText: '', classId: 0, methodId: 0 })
      await answerer.ask(queue(address, {}, { passive: true }))
    })
    expect(lines.at(-1)).toContain('NOT_FOUND')
  })

  test('a reply counts as unroutable when it is mandatory, is confirmed, and is lost when the asker is gone', async () => {
    const lines = await both(async asker => {
      await asker.ask(queue(asker.name))
      await asker.ask(take('t'))
      const answerer = await asker.another()
      await answerer.ask({ id: CONFIRM_SELECT, noWait: false })
      const address = await request(asker, answerer, 'one')
      answerer.publish(address, 'reply', { mandatory: true })
      await asker.note(1)
      await answerer.note(2)
      await asker.ask({ id: BASIC_CANCEL, consumerTag: 't', noWait: false })
      answerer.publish(address, 'late')
      await answerer.note(1)
    })
    expect(lines.slice(-5).map(line => line.split(' ')[0])).toEqual([
      'basic.deliver',
      'basic.return',
      'basic.ack',
      'basic.cancel-ok',
      'basic.ack',
    ])
  })

  test('a reply bears the tag that the next delivery will have: it cannot be settled', async () => {
    const lines = await both(async asker => {
      await asker.ask(queue(asker.name))
      await asker.ask(queue(`${asker.name}-a`))
      await asker.ask(take('replies'))
      await asker.ask(consume(`${asker.name}-a`, 'queue'))
      const answerer = await asker.another()
      const address = await request(asker, answerer, 'one')
      answerer.publish(address, 'first')
      await asker.note(1)
      answerer.publish(`${asker.name}-a`, 'second')
      await asker.note(1)
      answerer.publish(address, 'third')
      await asker.note(1)
    })
    expect(lines.slice(-3).map(line => /"deliveryTag":(\d)/.exec(line)![1])).toEqual(['1', '1', '2'])
  })
})
