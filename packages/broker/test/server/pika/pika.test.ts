import { describe, expect, test } from 'vitest'
import { channelTo, eventually, serve } from '../serving.ts'
import { pikaPython, python } from './python.ts'

describe.runIf(pikaPython)('pika', () => {
  test('[pika] publishes, gets, consumes, is confirmed, returned, nacked and refused as by RabbitMQ', async () => {
    const { broker, port } = await serve()
    const program = python('exchange.py', port)
    expect(JSON.parse(await program.line())).toEqual({
      get: ['got', 'text/plain', 'c', { n: 1, s: 'x', l: [1, 'a'], t: { deep: true } }],
      empty: true,
      returned: 'nobody',
      consumed: true,
      nacked: true,
      inequivalent: [
        406,
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'pika' in vhost '/': received 'true' but current is 'false'",
      ],
      missing: [404, "NOT_FOUND - no queue 'pika-missing' in vhost '/'"],
      reserved: [403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"],
      'unknown tag': [406, 'PRECONDITION_FAILED - unknown delivery tag 99'],
      locked: 405,
      password: true,
      heartbeat: true,
    })
    expect(await program.ended).toBe(0)
    await eventually('nothing of it is left', () => broker.vhost.queueNames().length === 0)
  })

  test('[pika] is told when it is blocked and when it may go on', async () => {
    const { port } = await serve({ memoryLimitBytes: 1024 * 1024 })
    const channel = await channelTo(port)
    await channel.declareQueue('full')
    const program = python('blocked.py', port)
    expect(await program.line()).toBe('blocked: low on memory')
    await channel.purgeQueue('full')
    expect(await program.line()).toBe('unblocked')
    expect(await program.ended).toBe(0)
  })

  test('[pika] asks and is answered by direct reply-to', async () => {
    const { port } = await serve()
    const program = python('direct_reply.py', port)
    const expected = Object.fromEntries(Array.from({ length: 50 }, (_, number) => [`${number}`, 2 * number]))
    expect(JSON.parse(await program.line())).toEqual(expected)
    expect(await program.ended).toBe(0)
  })
})
