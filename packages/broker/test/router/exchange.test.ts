import type { Broker, Session } from '@chasqui/broker'
import { describe, expect, test } from 'vitest'
import { bodyOf, drain, message, openClient, startBroker } from '../engine.ts'

async function withQueues(...queues: string[]): Promise<{ broker: Broker; session: Session }> {
  const broker = await startBroker()
  const { session } = openClient(broker)
  for (const queue of queues) session.declareQueue({ queue })
  return { broker, session }
}

function whoGets(session: Session, queues: string[], exchange: string, routingKey: string, headers = {}): string[] {
  session.publish(message('m', { exchange, routingKey }, { headers }))
  return queues.filter(queue => drain(session, queue).length > 0)
}

describe('routing', () => {
  test('[default] a routing key is the name of a queue', async () => {
    const { session } = await withQueues('a', 'b')
    expect(whoGets(session, ['a', 'b'], '', 'b')).toEqual(['b'])
    expect(session.publish(message('', { routingKey: 'none' }))).toEqual({ routed: 0, rejected: false, commit: 0 })
  })

  test('[direct] equal keys, several queues of one key, each once', async () => {
    const { session } = await withQueues('a', 'b', 'c')
    session.declareExchange({ exchange: 'x', type: 'direct' })
    for (const queue of ['a', 'b']) session.bindQueue({ queue, exchange: 'x', routingKey: 'k' })
    session.bindQueue({ queue: 'a', exchange: 'x', routingKey: 'k' })
    session.bindQueue({ queue: 'c', exchange: 'x', routingKey: 'other' })
    expect(whoGets(session, ['a', 'b', 'c'], 'x', 'k')).toEqual(['a', 'b'])
    session.publish(message('once', { exchange: 'x', routingKey: 'k' }))
    expect(drain(session, 'a')).toHaveLength(1)
  })

  test('[fanout] every queue, whatever the key', async () => {
    const { session } = await withQueues('a', 'b', 'c')
    for (const queue of ['a', 'b']) session.bindQueue({ queue, exchange: 'amq.fanout', routingKey: 'ignored' })
    expect(whoGets(session, ['a', 'b', 'c'], 'amq.fanout', 'x')).toEqual(['a', 'b'])
  })

  test('[topic] one message for a queue that several patterns lead to', async () => {
    const { session } = await withQueues('a')
    for (const routingKey of ['#', 'x.*', 'x.y']) session.bindQueue({ queue: 'a', exchange: 'amq.topic', routingKey })
    session.publish(message('m', { exchange: 'amq.topic', routingKey: 'x.y' }))
    expect(drain(session, 'a').map(bodyOf)).toEqual(['m'])
  })

  test('[headers] all, any, and a header that only has to be there', async () => {
    const { session } = await withQueues('all', 'any', 'there')
    const bind = (queue: string, args: Record<string, string | number | null>) =>
      session.bindQueue({ queue, exchange: 'amq.headers', routingKey: '', arguments: args })
    bind('all', { a: 1, b: 'x', 'x-ignored': 1 })
    bind('any', { 'x-match': 'any', a: 1, b: 'x' })
    bind('there', { c: null })
    const queues = ['all', 'any', 'there']
    expect(whoGets(session, queues, 'amq.headers', '', { a: 1, b: 'x' })).toEqual(['all', 'any'])
    expect(whoGets(session, queues, 'amq.headers', '', { a: 1 })).toEqual(['any'])
    expect(whoGets(session, queues, 'amq.headers', '', { c: 'anything' })).toEqual(['there'])
    expect(whoGets(session, queues, 'amq.headers', '')).toEqual([])
  })

  test('[cached route] a binding that comes or goes counts for the very next message', async () => {
    const { session } = await withQueues('a', 'b')
    session.declareExchange({ exchange: 'x', type: 'topic' })
    session.declareExchange({ exchange: 'y', type: 'fanout' })
    session.bindExchange({ destination: 'y', source: 'x', routingKey: '#' })
    expect(whoGets(session, ['a', 'b'], 'x', 'k')).toEqual([])
    session.bindQueue({ queue: 'a', exchange: 'y', routingKey: '' })
    expect(whoGets(session, ['a', 'b'], 'x', 'k')).toEqual(['a'])
    session.bindQueue({ queue: 'b', exchange: 'x', routingKey: 'k' })
    expect(whoGets(session, ['a', 'b'], 'x', 'k')).toEqual(['a', 'b'])
    session.deleteQueue({ queue: 'a' })
    session.unbindQueue({ queue: 'b', exchange: 'x', routingKey: 'k' })
    expect(session.publish(message('', { exchange: 'x', routingKey: 'k' })).routed).toBe(0)
  })

  test('[exchange to exchange] a circle ends, and a headers exchange on the way is asked each time', async () => {
    const { session } = await withQueues('a', 'b')
    session.declareExchange({ exchange: 'x', type: 'fanout' })
    session.declareExchange({ exchange: 'y', type: 'fanout' })
    session.bindExchange({ destination: 'y', source: 'x', routingKey: '' })
    session.bindExchange({ destination: 'x', source: 'y', routingKey: '' })
    session.bindExchange({ destination: 'amq.headers', source: 'y', routingKey: '' })
    session.bindQueue({ queue: 'a', exchange: 'x', routingKey: '' })
    session.bindQueue({ queue: 'b', exchange: 'amq.headers', routingKey: '', arguments: { h: 1 } })
    expect(whoGets(session, ['a', 'b'], 'y', 'k')).toEqual(['a'])
    expect(whoGets(session, ['a', 'b'], 'y', 'k', { h: 1 })).toEqual(['a', 'b'])
    expect(whoGets(session, ['a', 'b'], 'y', 'k')).toEqual(['a'])
  })

  test('[auto-delete] an exchange goes with its last binding, and takes the one it was bound to along', async () => {
    const { session, broker } = await withQueues('a')
    session.declareExchange({ exchange: 'x', type: 'fanout', autoDelete: true })
    session.declareExchange({ exchange: 'y', type: 'fanout', autoDelete: true })
    session.bindExchange({ destination: 'y', source: 'x', routingKey: '' })
    session.bindQueue({ queue: 'a', exchange: 'y', routingKey: '' })
    session.deleteQueue({ queue: 'a' })
    expect(broker.vhost.describeExchange('y')).toBeUndefined()
    expect(broker.vhost.describeExchange('x')).toBeUndefined()
  })
})
