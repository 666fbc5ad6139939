import { BASIC_CANCEL, type FieldTable, type Method, QUEUE_DELETE } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { bind, both, consume, type Dialogue, exchange, queue, rabbitmqUrl } from '../server/differential.ts'

const look = (name: string) => queue(name, {}, { passive: true })
/** Waits until the queue is gone, as a connection of its own sees it; each look counts as use of the queue. */
async function gone(dialogue: Dialogue, name: string): Promise<void> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline; ) {
    const probe = await dialogue.another()
    const before = dialogue.lines.length
    await probe.ask(look(name))
    const line = dialogue.lines.splice(before)[0]!
    if (line.startsWith('channel.close')) {
      dialogue.lines.push(line)
      return
    }
    await new Promise(resolve => setTimeout(resolve, 600))
  }
  throw new Error(`${name} stays`)
}
const deadLetters = (to: string): FieldTable => ({ 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': to })

describe.runIf(rabbitmqUrl)('[x-message-ttl], expiration as in RabbitMQ', () => {
  test.each<readonly [string, FieldTable, string | undefined]>([
    ['the queue says so', { 'x-message-ttl': 50 }, undefined],
    ['the message says so', {}, '50'],
    ['both say so, the lesser counts', { 'x-message-ttl': 60_000 }, '50'],
    ['both say so, the lesser counts, the other way', { 'x-message-ttl': 50 }, '60000'],
    ['it may not wait at all', { 'x-message-ttl': 0 }, undefined],
    ['the message may not wait at all', {}, '0'],
  ])('%s: what expires is dead-lettered with its headers', async (_what, args, expiration) => {
    const lines = await both(async dialogue => {
      const [from, to] = [dialogue.name, `${dialogue.name}-a`]
      await dialogue.ask(queue(to))
      await dialogue.ask(queue(from, { ...args, ...deadLetters(to) }))
      dialogue.publish(from, 'x', { properties: { ...(expiration && { expiration }), messageId: 'm', priority: 3 } })
      await dialogue.noteGot(to)
      await dialogue.ask(look(from))
    })
    expect(lines[2]).toContain('"reason":"expired"')
    expect(lines[2]!.includes('original-expiration')).toBe(expiration !== undefined)
    expect(lines[2]).not.toContain('"expiration"')
  })

  test('a message behind one that stays longer waits for it', async () => {
    const lines = await both(async dialogue => {
      const [from, to] = [dialogue.name, `${dialogue.name}-a`]
      await dialogue.ask(queue(to))
      await dialogue.ask(queue(from, deadLetters(to)))
      dialogue.publish(from, 'stays', { properties: { expiration: '400' } })
      dialogue.publish(from, 'goes', { properties: { expiration: '1' } })
      const first = await dialogue.noteGot(to)
      await dialogue.noteGot(to)
      expect(first).toMatchObject({ body: 'stays' })
    })
    expect(lines.at(-1)).toContain('"body":"goes"')
  })

  test('a consumer that is there takes what may not wait', async () => {
    const lines = await both(async dialogue => {
      await dialogue.ask(queue(dialogue.name, { 'x-message-ttl': 0 }))
      await dialogue.ask(consume(dialogue.name, 'c'))
      dialogue.publish(dialogue.name, 'at once')
      await dialogue.note(1)
    })
    expect(lines.at(-1)).toContain('at once')
  })

  test.each(['', 'soon', '5s', '-1', '+60000', '315360000000', '315360000001', ' 5', '5 ', '1.5'])(
    'the expiration %j is taken or refused alike',
    async expiration => {
      const lines = await both(async dialogue => {
        await dialogue.ask(queue(dialogue.name))
        dialogue.publish(dialogue.name, 'x', { properties: { expiration } })
        const probe = await dialogue.another()
        // A refusal comes by itself; where there is none, this answer does.
        if (/^\+?\d+$/.test(expiration) && Number(expiration) <= 315_360_000_000) await probe.noteGot(dialogue.name)
        else await dialogue.note(1)
      })
      expect(lines).toHaveLength(2)
    },
  )

  test.each<readonly [string, FieldTable[string]]>([
    ['x-message-ttl', -1],
    ['x-message-ttl', 'soon'],
    ['x-message-ttl', 315_360_000_000],
    ['x-message-ttl', 315_360_000_001],
    ['x-expires', 0],
    ['x-expires', -1],
    ['x-expires', 315_360_000_001],
    ['x-single-active-consumer', 'yes'],
  ])('the argument %s = %j is taken or refused alike', async (name, value) => {
    const lines = await both(dialogue => dialogue.ask(queue(dialogue.name, { [name]: value! })))
    expect(lines).toHaveLength(1)
  })
})

describe.runIf(rabbitmqUrl)('[x-expires] as in RabbitMQ', () => {
  test('a queue that nobody uses goes, with its messages, and tells no dead letters', async () => {
    const lines = await both(async dialogue => {
      const [from, to] = [dialogue.name, `${dialogue.name}-a`]
      await dialogue.ask(queue(to))
      await dialogue.ask(queue(from, { 'x-expires': 150, ...deadLetters(to) }))
      dialogue.publish(from, 'x')
      await gone(dialogue, from)
      await dialogue.ask(look(to))
    })
    expect(lines.at(-1)).toContain('"messageCount":0')
  })

  test('a consumer keeps it; when it is cancelled, the time begins', async () => {
    const lines = await both(async dialogue => {
      await dialogue.ask(queue(dialogue.name, { 'x-expires': 150 }))
      await dialogue.ask(consume(dialogue.name, 'c'))
      await new Promise(resolve => setTimeout(resolve, 400))
      await dialogue.ask(look(dialogue.name))
      await dialogue.ask({ id: BASIC_CANCEL, consumerTag: 'c', noWait: false })
      await gone(dialogue, dialogue.name)
    })
    expect(lines[2]).toContain('queue.declare-ok')
    expect(lines.at(-1)).toContain('NOT_FOUND')
  })
})

describe.runIf(rabbitmqUrl)('[alternate-exchange] as in RabbitMQ', () => {
  const toAlternate = (name: string): FieldTable => ({ 'alternate-exchange': `${name}-b` })

  test('takes what no queue is bound for, and a mandatory message is not returned then', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name))
      await dialogue.ask(exchange(`${name}-b`, 'fanout'))
      await dialogue.ask(exchange(`${name}-a`, 'direct', toAlternate(name)))
      await dialogue.ask(bind(name, `${name}-b`, ''))
      dialogue.publish('k', 'other', { exchange: `${name}-a`, mandatory: true })
      await dialogue.noteGot(name)
    })
    expect(lines.at(-1)).toMatch(/"exchange":"NAME-a".*"routingKey":"k"/)
  })

  test('that takes nothing either: the message is returned, and an absent one is no error', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(exchange(`${name}-a`, 'direct', toAlternate(name)))
      dialogue.publish('k', 'absent', { exchange: `${name}-a`, mandatory: true })
      await dialogue.note(1)
      await dialogue.ask(exchange(`${name}-b`, 'fanout', { 'alternate-exchange': `${name}-a` }))
      dialogue.publish('k', 'circle', { exchange: `${name}-a`, mandatory: true })
      await dialogue.note(1)
    })
    expect(lines.filter(line => line.startsWith('basic.return'))).toHaveLength(2)
  })

  test.each<readonly [string, FieldTable, FieldTable]>([
    ['another one', { 'alternate-exchange': 'x' }, { 'alternate-exchange': 'y' }],
    ['none after one', { 'alternate-exchange': 'x' }, {}],
    ['one after none', {}, { 'alternate-exchange': 'x' }],
    ['a number', { 'alternate-exchange': 5 }, {}],
  ])('declared with %s', async (_what, first, second) => {
    const lines = await both(async dialogue => {
      await dialogue.ask(exchange(`${dialogue.name}-a`, 'direct', first))
      if (typeof first['alternate-exchange'] !== 'number') {
        await dialogue.ask(exchange(`${dialogue.name}-a`, 'direct', second))
      }
    })
    expect(lines.at(-1)).toMatch(/PRECONDITION_FAILED/)
  })

  test('a binding goes with its queue', async () => {
    const remove = (name: string): Method => ({
      id: QUEUE_DELETE,
      queue: name,
      ifUnused: false,
      ifEmpty: false,
      noWait: false,
    })
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name))
      await dialogue.ask(queue(`${name}-d`))
      await dialogue.ask(exchange(`${name}-b`, 'fanout'))
      await dialogue.ask(exchange(`${name}-a`, 'direct', toAlternate(name)))
      await dialogue.ask(bind(name, `${name}-a`, 'k'))
      await dialogue.ask(bind(`${name}-d`, `${name}-b`, ''))
      await dialogue.ask(remove(name))
      dialogue.publish('k', 'now here', { exchange: `${name}-a`, mandatory: true })
      await dialogue.noteGot(`${name}-d`)
    })
    expect(lines.at(-1)).toContain('now here')
  })
})
