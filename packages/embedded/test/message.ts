import type { WireMessage } from '@chasqui/driver'

export function message(id: string, more: Partial<WireMessage> = {}): WireMessage {
  return { id, attributes: {}, headers: {}, durable: true, body: Buffer.from(`body of ${id}`), ...more }
}
