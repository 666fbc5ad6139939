import { decodeProperties } from '@chasqui/amqp'
import type { BrokerMessage } from '@chasqui/broker'
import { describe, expect, it } from 'vitest'
import { CarriedMessage, wireOf } from '../src/carried.ts'
import { message } from './message.ts'

describe('a message in the broker', () => {
  it('is read back from its AMQP bytes as it was sent', () => {
    const wire = message('a', {
      type: 'order.placed',
      headers: { colour: 'red' },
      key: 'k',
      attributes: { source: 's' },
    })
    const carried = new CarriedMessage('', 'orders', wire)
    expect(wireOf(carried)).toBe(wire)
    const stored: BrokerMessage = {
      exchange: '',
      routingKey: 'orders',
      persistent: true,
      body: wire.body,
      propertyBytes: carried.propertyBytes,
      properties: decodeProperties(carried.propertyBytes),
    }
    expect(wireOf(stored)).toMatchObject({ ...wire, body: expect.anything() })
  })

  it("keeps its body when an AMQP client's properties cannot be read", () => {
    // Property flags that announce headers, and a table that claims to be longer than what follows.
    const propertyBytes = Buffer.from([0x20, 0x00, 0x00, 0x00, 0x00, 0x10, 0x01])
    const body = Buffer.from('still here')
    const foreign: BrokerMessage = {
      exchange: '',
      routingKey: 'orders',
      persistent: false,
      body,
      propertyBytes,
      get properties() {
        return decodeProperties(propertyBytes)
      },
    }
    expect(() => foreign.properties).toThrow()
    expect(wireOf(foreign)).toMatchObject({ id: undefined, type: undefined, headers: {} })
    expect(wireOf(foreign).body).toBe(body)
  })
})
