import { BASIC_QOS, BASIC_QOS_OK } from '@chasqui/amqp'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { Heartbeat } from '../../src/server/heartbeat.ts'
import { connected, rawChannel, rawOpened, serve } from './serving.ts'

describe('the clock', () => {
  function watched(seconds: number) {
    vi.useFakeTimers()
    const peer = {
      bytesRead: 0,
      bytesWritten: 0,
      reading: true,
      beats: 0,
      silences: 0,
      beat() {
        peer.beats++
        peer.bytesWritten += 8
      },
      silent() {
        peer.silences++
      },
    }
    const heartbeat = new Heartbeat(peer, seconds)
    onTestFinished(() => {
      heartbeat.stop()
      vi.useRealTimers()
    })
    return peer
  }

  test('sends a heartbeat in each half interval in which nothing else was sent', () => {
    const peer = watched(10)
    vi.advanceTimersByTime(20_000)
    expect(peer.beats).toBeGreaterThanOrEqual(2)
    const before = peer.beats
    peer.bytesWritten++
    vi.advanceTimersByTime(5_000)
    expect(peer.beats).toBe(before)
  })

  test('gives a peer up after two silent intervals, not before [amqp 4.2.7]', () => {
    const peer = watched(10)
    vi.advanceTimersByTime(20_000)
    expect(peer.silences).toBe(0)
    vi.advanceTimersByTime(10_000)
    expect(peer.silences).toBeGreaterThan(0)
  })

  test('keeps a peer of which something comes now and then', () => {
    const peer = watched(10)
    for (let interval = 0; interval < 20; interval++) {
      peer.bytesRead++
      vi.advanceTimersByTime(19_000)
    }
    expect(peer.silences).toBe(0)
  })

  test('does not count a silence that is our own doing', () => {
    const peer = watched(10)
    peer.reading = false
    vi.advanceTimersByTime(120_000)
    expect(peer.silences).toBe(0)
    peer.reading = true
    vi.advanceTimersByTime(60_000)
    expect(peer.silences).toBeGreaterThan(0)
  })
})

test('[heartbeat 1 s] beats, and cuts off a client that says nothing', async () => {
  const { port } = await serve()
  const client = await rawOpened(port, { heartbeat: 1 })
  const events = await client.closed()
  expect(events.length).toBeGreaterThan(1)
  expect(new Set(events.map(event => event.kind))).toEqual(new Set(['heartbeat']))
})

test('[heartbeat 0] beats not at all', async () => {
  const { port } = await serve()
  const client = await rawChannel(port, { heartbeat: 0 })
  await new Promise(resolve => setTimeout(resolve, 1500))
  client.send(1, { id: BASIC_QOS, prefetchSize: 0, prefetchCount: 1, global: false })
  await client.method(BASIC_QOS_OK)
})

test('[heartbeat 1 s] our client and the broker keep each other for as long as both live', async () => {
  const { port } = await serve()
  const connection = await connected(port, { heartbeatSeconds: 1 })
  await new Promise(resolve => setTimeout(resolve, 4000))
  expect(connection.closed).toBe(false)
  const channel = await connection.openChannel()
  expect((await channel.declareQueue('still-here')).queue).toBe('still-here')
})
