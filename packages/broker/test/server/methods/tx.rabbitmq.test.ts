import {
  BASIC_QOS,
  CHANNEL_CLOSE,
  CONFIRM_SELECT,
  type Method,
  QUEUE_DELETE,
  QUEUE_PURGE,
  TX_COMMIT,
  TX_ROLLBACK,
  TX_SELECT,
} from '@chasqui/amqp'
import { describe, expect, test } from 'vitest'
import { ack, both, consume, type Dialogue, nack, queue, rabbitmqUrl } from '../differential.ts'

const select: Method = { id: TX_SELECT }
const commit: Method = { id: TX_COMMIT }
const rollback: Method = { id: TX_ROLLBACK }
const confirm: Method = { id: CONFIRM_SELECT, noWait: false }
/** Declares `NAME` and puts these into it. */
async function filled(dialogue: Dialogue, bodies: readonly string[]): Promise<void> {
  await dialogue.ask(queue(dialogue.name))
  for (const body of bodies) dialogue.publish(dialogue.name, body)
}
const look = (dialogue: Dialogue, name: string) => dialogue.ask(queue(name, {}, { passive: true }))

describe.runIf(rabbitmqUrl)('transactions as RabbitMQ has them', () => {
  test.each<readonly [string, readonly Method[]]>([
    ['commit without select', [commit]],
    ['rollback without select', [rollback]],
    ['select on a channel with confirms', [confirm, select]],
    ['confirms on a transactional channel', [select, confirm]],
    ['select twice, commit and roll back nothing', [select, select, commit, rollback]],
    ['acknowledge what is unknown', [select, ack(7)]],
  ])('%s', async (_what, methods) => {
    const lines = await both(async dialogue => {
      for (const method of methods) await dialogue.ask(method)
    })
    expect(lines).toHaveLength(methods.length)
  })

  test('what is published comes with the commit, not before, and mandatory messages come back then', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await filled(dialogue, [])
      await dialogue.ask(select)
      dialogue.publish(name, 'one')
      dialogue.publish('nowhere', 'lost', { mandatory: true, properties: { messageId: 'm' } })
      dialogue.publish('nowhere', 'silently lost')
      dialogue.publish(name, 'two')
      await look(dialogue, name)
      await dialogue.ask(commit, 2)
      await look(dialogue, name)
      dialogue.publish(name, 'three')
      await dialogue.ask(rollback)
      await dialogue.ask(commit)
      await look(dialogue, name)
      await dialogue.noteGot(name)
      await dialogue.noteGot(name)
    })
    expect(
      lines.filter(line => line.includes('messageCount')).map(line => /"messageCount":(\d)/.exec(line)![1]),
    ).toEqual(['0', '0', '2', '2', '1', '0'])
    expect(lines.some(line => line.startsWith('basic.return'))).toBe(true)
  })

  test('an exchange that is absent is refused at once', async () => {
    const lines = await both(async dialogue => {
      await dialogue.ask(select)
      dialogue.publish('k', 'x', { exchange: `${dialogue.name}-absent` })
      await dialogue.note(1)
    })
    expect(lines[1]).toContain('NOT_FOUND')
  })

  test('a queue that is deleted before the commit: its mandatory message comes back', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await filled(dialogue, [])
      await dialogue.ask(select)
      dialogue.publish(name, 'x', { mandatory: true })
      const other = await dialogue.another()
      await other.ask({ id: QUEUE_DELETE, queue: name, ifUnused: false, ifEmpty: false, noWait: false })
      await dialogue.ask(commit, 2)
    })
    expect(lines.at(-2)).toContain('NO_ROUTE')
  })

  test('what is acknowledged stays out with the commit, and is unsettled again after a rollback', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await filled(dialogue, ['1', '2', '3', '4'])
      await dialogue.noteGot(name, false)
      await dialogue.noteGot(name, false)
      await dialogue.noteGot(name, false)
      await dialogue.ask(select)
      dialogue.tell(ack(1))
      dialogue.tell(nack(2, true))
      await dialogue.ask(rollback)
      await look(dialogue, name)
      dialogue.tell(ack(1))
      dialogue.tell(nack(2, true))
      await look(dialogue, name)
      await dialogue.ask(commit)
      await dialogue.noteGot(name, false)
      dialogue.tell(ack(0, true))
      await dialogue.ask(commit)
      await dialogue.noteGot(name)
      await dialogue.ask({ id: QUEUE_PURGE, queue: name, noWait: false })
    })
    expect(lines.filter(line => line.includes('"body":"2"'))).toHaveLength(2)
  })

  test('a tag that was acknowledged in the transaction is unknown in it', async () => {
    const lines = await both(async dialogue => {
      await filled(dialogue, ['1'])
      await dialogue.noteGot(dialogue.name, false)
      await dialogue.ask(select)
      dialogue.tell(ack(1))
      await dialogue.ask(ack(1))
    })
    expect(lines.at(-1)).toContain('unknown delivery tag 1')
  })

  test('the channel closed, nothing of it has happened', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await filled(dialogue, ['1'])
      const other = await dialogue.another()
      await other.noteGot(name, false)
      await other.ask(select)
      other.tell(ack(1))
      other.publish(name, 'never')
      await other.ask({ id: CHANNEL_CLOSE, replyCode: 200, replyText: '', classId: 0, methodId: 0 })
      await dialogue.noteGot(name)
      await look(dialogue, name)
    })
    expect(lines.at(-1)).toContain('"messageCount":0')
  })

  test('a consumer gets its credit with the commit', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await filled(dialogue, ['1', '2'])
      await dialogue.ask({ id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false })
      await dialogue.ask(select)
      await dialogue.ask(consume(name, 'c'), 2)
      dialogue.tell(ack(1))
      await look(dialogue, name)
      await dialogue.ask(commit, 2)
    })
    expect(
      lines
        .slice(-2)
        .sort()
        .map(line => line.split(' ')[0]),
    ).toEqual(['basic.deliver', 'tx.commit-ok'])
  })

  test('a full queue that refuses a message fails the commit', async () => {
    const lines = await both(async dialogue => {
      const { name } = dialogue
      await dialogue.ask(queue(name, { 'x-max-length': 1, 'x-overflow': 'reject-publish' }))
      dialogue.publish(name, 'first')
      await dialogue.ask(select)
      dialogue.publish(name, 'second')
      await dialogue.ask(commit)
    })
    expect(lines.at(-1)).toContain('partial tx completion')
  })
})
