import { describe, expect, test } from 'vitest'
import { type BusEvent, EventHub } from '../../src/observe/events.ts'

const connected: BusEvent = { kind: 'connected', engine: 'x' }

describe('events', () => {
  test('reach those who listen to their kind, until they stop', () => {
    const hub = new EventHub()
    const heard: BusEvent[] = []
    const stop = hub.listen(event => heard.push(event), ['connected'])
    hub.emit(connected)
    hub.emit({ kind: 'closed', durationMs: 1 })
    stop()
    hub.emit(connected)
    expect(heard).toEqual([connected])
  })

  test('are not made when nobody listens: `heard` says so', () => {
    const hub = new EventHub()
    expect(hub.heard.sent).toBe(false)
    const stop = hub.listen(() => {}, ['sent'])
    expect([hub.heard.sent, hub.heard.handled]).toEqual([true, false])
    stop()
    expect(hub.heard.sent).toBe(false)
  })

  test('a listener that throws is told of as hook-failed, and the others still hear', () => {
    const hub = new EventHub()
    const heard: string[] = []
    hub.listen(() => {
      throw new Error('broken')
    })
    hub.listen(event => heard.push(event.kind))
    hub.emit(connected)
    expect(heard).toEqual(['hook-failed', 'connected'])
  })
})
