import { BASIC_CANCEL, BASIC_QOS, type FieldTable, type Method } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { ack, bind, both, consume, type Dialogue, exchange, nack, queue, rabbitmqUrl } from '../server/differential.ts'

const to = (exchange: string, key?: string): FieldTable => ({
  'x-dead-letter-exchange': exchange,
  ...(key === undefined ? {} : { 'x-dead-letter-routing-key': key }),
})
const quorum = { 'x-queue-type': 'quorum' }
const durable = { durable: true }

/**
 * RabbitMQ 3.10 turns the older entries of `x-death` around at each death; its documents say newest first, which we keep.
 */
function inAnyOrder(line: string): string {
  return line.replace(/"x-death":\[(\{.*?\})\]/, (_, tables: string) =>
    tables
      .split(/(?<=\}),(?=\{)/)
      .sort()
      .join(),
  )
}

/** Takes the queue's message, notes it, and refuses it for good. */
async function refuse(dialogue: Dialogue, name: string): Promise<void> {
  const got = await dialogue.noteGot(name, false)
  if (got.kind === 'content' && 'deliveryTag' in got.method) dialogue.tell(nack(got.method.deliveryTag, false))
}

describe.runIf(rabbitmqUrl)('[x-death] as in RabbitMQ', () => {
  test('over three queues, for three reasons: one table for each, the newest first', async () => {
    const lines = await both(async dialogue => {
      const [a, b, c, d] = ['-a', '-b', '-c', '-d'].map(suffix => dialogue.name + suffix) as [
        string,
        string,
        string,
        string,
      ]
      await dialogue.ask(queue(d))
      await dialogue.ask(queue(c, { ...to('', d), 'x-max-length': 0 }))
      await dialogue.ask(queue(b, { ...to('', c), 'x-message-ttl': 20 }))
      await dialogue.ask(queue(a, to('', b)))
      dialogue.publish(a, 'x', { properties: { deliveryMode: 2, headers: { mine: 'stays' }, expiration: '60000' } })
      await refuse(dialogue, a)
      await dialogue.noteGot(d)
    }, inAnyOrder)
    const last = lines.at(-1)!
    expect([...last.matchAll(/"reason":"(\w+)"/g)].map(([, reason]) => reason)).toEqual([
      'maxlen',
      'expired',
      'rejected',
    ])
    expect(last).toContain('"original-expiration":"60000"')
    expect(last).toContain('"mine":"stays"')
  })

  test('in a circle with a consumer that refuses: the counts grow, the entry comes to the front', async () => {
    const lines = await both(async dialogue => {
      const [a, b] = [`${dialogue.name}-a`, `${dialogue.name}-b`]
      await dialogue.ask(queue(b, { ...to('', a), 'x-message-ttl': 10 }))
      await dialogue.ask(queue(a, to('', b)))
      dialogue.publish(a, 'x', { properties: { messageId: 'm', expiration: '60000' } })
      for (let round = 0; round < 4; round++) await refuse(dialogue, a)
      await dialogue.noteGot(a)
    })
    const counts = [...lines.at(-1)!.matchAll(/"count":(\d)/g)].map(([, count]) => count)
    expect(counts).toEqual(['4', '4'])
  })

  test('a message that would circle by itself is dropped', async () => {
    await both(async dialogue => {
      const [a, b] = [`${dialogue.name}-a`, `${dialogue.name}-b`]
      await dialogue.ask(queue(a, { ...to('', b), 'x-message-ttl': 5 }))
      await dialogue.ask(queue(b, { ...to('', a), 'x-message-ttl': 5 }))
      await dialogue.ask(queue(`${dialogue.name}-c`, { ...to('', `${dialogue.name}-d`), 'x-message-ttl': 60 }))
      await dialogue.ask(queue(`${dialogue.name}-d`))
      dialogue.publish(a, 'circles')
      // When this one has expired, the other has been round and is gone.
      dialogue.publish(`${dialogue.name}-c`, 'clock')
      await dialogue.noteGot(`${dialogue.name}-d`)
      await dialogue.ask(queue(a, {}, { passive: true }))
      await dialogue.ask(queue(b, {}, { passive: true }))
    })
  })

  test('through a topic exchange to two queues, with its own key, and with headers that a publisher made up', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      const [a, b, c] = [`${name}-a`, `${name}-b`, `${name}-c`]
      await dialogue.ask(exchange(`${name}-d`, 'topic'))
      await dialogue.ask(queue(b))
      await dialogue.ask(queue(c))
      await dialogue.ask(bind(b, `${name}-d`, 'orders.*'))
      await dialogue.ask(bind(c, `${name}-d`, '#'))
      await dialogue.ask(exchange(`${name}`, 'direct'))
      await dialogue.ask(queue(a, to(`${name}-d`)))
      await dialogue.ask(bind(a, name, 'orders.new'))
      const made: FieldTable = { 'x-death': 'no table', 'x-first-death-reason': 'mine' }
      for (const headers of [{}, made]) {
        dialogue.publish('orders.new', 'x', { exchange: name, properties: { headers } })
        await refuse(dialogue, a)
        await dialogue.noteGot(b)
        await dialogue.noteGot(c)
      }
    })
    expect(lines.at(-1)).toContain('"routingKey":"orders.new"')
  })

  test('[x-delivery-limit] a quorum queue says why, and how often it was handed out', async () => {
    const lines = await both(async dialogue => {
      const [a, b] = [`${dialogue.name}-a`, `${dialogue.name}-b`]
      await dialogue.ask(queue(b, quorum, durable))
      await dialogue.ask(queue(a, { ...quorum, ...to('', b), 'x-delivery-limit': 2 }, durable))
      dialogue.publish(a, 'x', { properties: { deliveryMode: 2 } })
      for (let tag = 1; tag <= 3; tag++) {
        await dialogue.noteGot(a, false)
        dialogue.tell(nack(tag, true))
      }
      await dialogue.noteGot(b)
    })
    expect(lines.at(-1)).toContain('"reason":"delivery_limit"')
    expect(lines.at(-1)).toContain('"x-delivery-count":0')
  })

  test('[x-delivery-count] a consumer of a quorum queue is told from the second delivery on', async () => {
    const lines = await both(async dialogue => {
      await dialogue.ask(queue(dialogue.name, quorum, durable))
      await dialogue.ask(consume(dialogue.name, 'c'))
      dialogue.publish(dialogue.name, 'x', { properties: { deliveryMode: 2, headers: { mine: 1 } } })
      for (let tag = 1; tag <= 3; tag++) {
        await dialogue.note(1)
        dialogue.tell(nack(tag, true))
      }
      await dialogue.note(1)
    })
    expect(lines.at(-1)).toContain('"x-delivery-count":3')
  })

  test.each<readonly [string, FieldTable, readonly string[]]>([
    ['drop-head', { 'x-max-length': 2 }, ['1', '2']],
    ['drop-head by bytes', { 'x-max-length-bytes': 5 }, ['1', '2']],
    [
      'of a quorum queue, reject-publish-dlx',
      { ...quorum, 'x-max-length': 2, 'x-overflow': 'reject-publish-dlx' },
      ['1', '2'],
    ],
    ['reject-publish-dlx', { 'x-max-length': 2, 'x-overflow': 'reject-publish-dlx' }, ['3', '4']],
  ])('[x-overflow] %s: which messages die', async (_how, args, dying) => {
    const lines = await both(async dialogue => {
      const [a, b] = [`${dialogue.name}-a`, `${dialogue.name}-b`]
      await dialogue.ask(queue(b))
      await dialogue.ask(queue(a, { ...args, ...to('', b) }, args['x-queue-type'] === 'quorum' ? durable : {}))
      for (const body of ['1', '2', '3', '4'])
        dialogue.publish(a, body === '1' ? '1' : body.repeat(args['x-max-length'] === undefined ? 2 : 1))
      for (const _ of dying) await dialogue.noteGot(b)
      await dialogue.noteGot(a)
    })
    expect(lines.slice(2, 2 + dying.length).map(line => /"body":"(\d)/.exec(line)![1])).toEqual(dying)
    expect(lines[2]).toContain('"reason":"maxlen"')
  })
})

describe.runIf(rabbitmqUrl)('[x-single-active-consumer] as in RabbitMQ', () => {
  const single = { 'x-single-active-consumer': true }

  test('the first to consume gets everything; when it goes, the next does', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, single))
      const [first, second, third] = [dialogue, await dialogue.another(), await dialogue.another()]
      await first.ask(consume(name, 'first'))
      await second.ask(consume(name, 'second'))
      await third.ask(consume(name, 'third'))
      for (const body of ['1', '2', '3']) first.publish(name, body)
      await first.note(3)
      first.tell(ack(1))
      await first.ask({ id: BASIC_CANCEL, consumerTag: 'first', noWait: false })
      first.publish(name, '4')
      await second.note(1)
      second.tell(ack(1))
      first.tell(nack(2, true))
      await second.note(1)
    })
    expect(lines.filter(line => line.includes('"consumerTag":"third"'))).toHaveLength(1)
    expect(lines.at(-1)).toMatch(/"body":"2".*"consumerTag":"second".*"redelivered":true/)
  })

  test('an exclusive consumer is refused', async () => {
    const lines = await both(async dialogue => {
      await dialogue.ask(queue(dialogue.name, single))
      await dialogue.ask(consume(dialogue.name, 'c', { exclusive: true }))
    })
    expect(lines.at(-1)).toContain('.close')
  })

  test('the active one without credit: nobody else is asked', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, single))
      const second = await dialogue.another()
      await dialogue.ask({ id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false })
      await dialogue.ask(consume(name, 'first'))
      await second.ask(consume(name, 'second'))
      for (const body of ['1', '2']) dialogue.publish(name, body)
      await dialogue.note(1)
      await second.ask(queue(name, {}, { passive: true }))
      dialogue.tell(ack(1))
      await dialogue.note(1)
    })
    expect(lines.at(-1)).toMatch(/"body":"2".*"consumerTag":"first"/)
  })
})

describe.runIf(rabbitmqUrl)('[x-priority] of consumers as in RabbitMQ', () => {
  const prefers = (name: string, tag: string, priority: unknown) =>
    consume(name, tag, { arguments: { 'x-priority': priority } })
  const one: Method = { id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false }

  test('the greatest is served while it has credit, then the next', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name))
      const high = await dialogue.another()
      await dialogue.ask(one)
      await high.ask(one)
      await dialogue.ask(consume(name, 'usual'))
      await high.ask(prefers(name, 'high', 10))
      dialogue.publish(name, '1')
      await high.note(1)
      dialogue.publish(name, '2')
      await dialogue.note(1)
      dialogue.publish(name, '3')
      high.tell(ack(1))
      await high.note(1)
    })
    expect(lines.slice(-3).map(line => /"consumerTag":"(\w+)"/.exec(line)![1])).toEqual(['high', 'usual', 'high'])
  })

  test.each<readonly [unknown]>([['high'], [true], [-5], [2n ** 40n], [1.5], [null]])(
    'the priority %s is taken or refused alike',
    async priority => {
      await both(async dialogue => {
        await dialogue.ask(queue(dialogue.name))
        await dialogue.ask(prefers(dialogue.name, 'c', priority))
      })
    },
  )
})
