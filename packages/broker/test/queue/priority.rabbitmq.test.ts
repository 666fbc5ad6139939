import { BASIC_QOS, type FieldTable } from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { ack, both, consume, type Dialogue, nack, queue, rabbitmqUrl } from '../server/differential.ts'

const levels = { 'x-max-priority': 5 }
const publish = (dialogue: Dialogue, name: string, bodies: readonly (readonly [string, number?])[]) => {
  for (const [body, priority] of bodies) {
    dialogue.publish(name, body, { properties: priority === undefined ? {} : { priority } })
  }
}
const bodies = (lines: readonly string[]) => lines.flatMap(line => /"body":"(\w+)"/.exec(line)?.[1] ?? [])

describe.runIf(rabbitmqUrl)('[x-max-priority] as in RabbitMQ', () => {
  test('the greatest comes first, within a priority the oldest; none counts as 0, too much as the most', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, levels))
      publish(dialogue, name, [
        ['none'],
        ['low', 1],
        ['zero', 0],
        ['most', 5],
        ['beyond', 200],
        ['low2', 1],
        ['mid', 3],
      ])
      for (let index = 0; index < 7; index++) await dialogue.noteGot(name)
    })
    expect(bodies(lines)).toEqual(['most', 'beyond', 'mid', 'low', 'low2', 'none', 'zero'])
  })

  test('what comes back goes to its old place among those of its priority', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, levels))
      publish(dialogue, name, [
        ['a', 2],
        ['b', 2],
        ['c', 2],
        ['d', 4],
      ])
      for (let index = 0; index < 3; index++) await dialogue.noteGot(name, false)
      dialogue.tell(nack(3, true, true))
      publish(dialogue, name, [['e', 3]])
      for (let index = 0; index < 5; index++) await dialogue.noteGot(name)
    })
    expect(bodies(lines).slice(3)).toEqual(['d', 'e', 'a', 'b', 'c'])
  })

  test('a consumer with a prefetch gets the greatest of what waits each time', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, levels))
      await dialogue.ask({ id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false })
      await dialogue.ask(consume(name, 'c'))
      publish(dialogue, name, [['first', 1]])
      await dialogue.note(1)
      publish(dialogue, name, [
        ['second', 1],
        ['urgent', 5],
      ])
      await dialogue.waiting(name, 2)
      for (let tag = 1; tag <= 2; tag++) {
        dialogue.tell(ack(tag))
        await dialogue.note(1)
      }
    })
    expect(bodies(lines)).toEqual(['first', 'urgent', 'second'])
  })

  test('a length limit drops the head, which is the greatest; dead letters keep their priority', async () => {
    const lines = await both(async dialogue => {
      const [a, b] = [`${dialogue.name}-a`, `${dialogue.name}-b`]
      await dialogue.ask(queue(b, levels))
      const limit: FieldTable = { 'x-max-length': 2, 'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': b }
      await dialogue.ask(queue(a, { ...levels, ...limit }))
      publish(dialogue, a, [
        ['low', 1],
        ['high', 4],
        ['mid', 2],
      ])
      await dialogue.noteGot(b)
      await dialogue.noteGot(a)
      await dialogue.noteGot(a)
    })
    expect(bodies(lines)).toEqual(['high', 'mid', 'low'])
  })

  test.each([0, 255, 256, -1, 'five', true, 1.5])('the argument %j is taken or refused alike', async most => {
    const lines = await both(async dialogue => {
      await dialogue.ask(queue(dialogue.name, { 'x-max-priority': most }))
    })
    expect(lines).toHaveLength(1)
  })

  test('quorum queues know none, and a queue that has other ones is another queue', async () => {
    const lines = await both(async dialogue => {
      const other = await dialogue.another()
      await other.ask(queue(dialogue.name, levels))
      await other.ask(queue(dialogue.name, { 'x-max-priority': 4 }))
      await dialogue.ask(queue(`${dialogue.name}-a`, { 'x-queue-type': 'quorum', ...levels }, { durable: true }))
    })
    expect(lines.slice(1).every(line => line.includes('PRECONDITION_FAILED'))).toBe(true)
  })
})
