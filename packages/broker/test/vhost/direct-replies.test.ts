import { expect, test } from 'vitest'
import { bodyOf, dispatched, message, openClient, startBroker } from '../engine.ts'

const direct = { queue: 'amq.rabbitmq.reply-to', noAck: true }

test('[direct reply] comes in order, also one that a transfer sends, and no more once its consumer is cancelled', async () => {
  const broker = await startBroker()
  const asker = openClient(broker)
  const answerer = openClient(broker)
  const tag = asker.session.consume(direct)
  const address = asker.session.replyAddress!
  for (const body of ['1', '2']) answerer.session.publish(message(body, { routingKey: address }))
  answerer.session.transfer([], [message('3', { routingKey: address })])
  await dispatched()
  expect(asker.bodies()).toEqual(['1', '2', '3'])
  asker.session.cancel(tag)
  expect(asker.session.replyAddress).toBeUndefined()
  answerer.session.publish(message('late', { routingKey: address }))
  await dispatched()
  expect(asker.bodies()).toEqual(['1', '2', '3'])
})

test('[flow] replies wait for a client that lags, up to a bound; what is dropped beyond it is told', async () => {
  const warnings: string[] = []
  const broker = await startBroker({ onWarning: sentence => warnings.push(sentence) })
  const asker = openClient(broker)
  asker.session.consume({ ...direct, consumerTag: 'slow' })
  asker.session.flow(false)
  const routingKey = asker.session.replyAddress!
  const body = Buffer.alloc(1_000_000)
  for (let index = 0; index < 18; index++) asker.session.publish({ ...message('', { routingKey }), body })
  await dispatched()
  expect(asker.deliveries).toEqual([])
  expect(warnings).toEqual(['Replies to the consumer slow are dropped until its client reads what it is sent.'])
  asker.session.flow(true)
  await dispatched()
  expect(asker.deliveries).toHaveLength(16)
  asker.session.publish(message('again', { routingKey }))
  await dispatched()
  expect(bodyOf(asker.deliveries.at(-1)!)).toBe('again')
})
