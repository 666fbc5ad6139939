import { describe, expect, test } from 'vitest'
import {
  BASIC_PUBLISH,
  type BasicPublish,
  encodeMethodFrame,
  encodeProperties,
  FrameReader,
  FrameWriter,
  QUEUE_DECLARE,
  type QueueDeclare,
} from '../src/index.ts'

const publish: BasicPublish = {
  id: BASIC_PUBLISH,
  exchange: '',
  routingKey: 'k',
  mandatory: false,
  immediate: false,
}

function declare(queue: string): QueueDeclare {
  return {
    id: QUEUE_DECLARE,
    queue,
    passive: false,
    durable: false,
    exclusive: false,
    autoDelete: false,
    noWait: false,
    arguments: {},
  }
}

class Wire {
  readonly pieces: Buffer[] = []
  accepting = true
  readonly writer: FrameWriter

  constructor(options: { frameMax?: number; slabBytes?: number } = {}) {
    this.writer = new FrameWriter(piece => {
      this.pieces.push(piece)
      return this.accepting
    }, options)
  }

  get bytes(): Buffer {
    return Buffer.concat(this.pieces)
  }

  /** The bodies that a peer with this frame-max would read. */
  bodies(frameMax = 0): string[] {
    const bodies: string[] = []
    const reader = new FrameReader(
      {
        onMethod: () => undefined,
        onContent: (_channel, _method, _header, _start, _end, body) => bodies.push(body.toString('latin1')),
        onHeartbeat: () => undefined,
        onProtocolHeader: () => undefined,
        onContentRefused: () => undefined,
      },
      { frameMax },
    )
    reader.feed(this.bytes)
    return bodies
  }
}

const nextTick = (): Promise<void> => new Promise(resolve => process.nextTick(resolve))

describe('flushing', () => {
  test('many frames of one turn leave in one piece, by themselves', async () => {
    const wire = new Wire()
    for (let i = 0; i < 100; i++) wire.writer.content(1, publish, {}, Buffer.from(`body ${i}`))
    expect(wire.pieces).toHaveLength(0)
    expect(wire.writer.pendingBytes).toBeGreaterThan(0)
    await nextTick()
    expect(wire.pieces).toHaveLength(1)
    expect(wire.bodies()).toEqual(Array.from({ length: 100 }, (_, i) => `body ${i}`))
    expect(wire.writer.pendingBytes).toBe(0)
  })

  test('a full slab leaves at once, and no piece is written to after it left', async () => {
    const wire = new Wire({ slabBytes: 1024 })
    const copies: Buffer[] = []
    for (let i = 0; i < 100; i++) {
      wire.writer.content(1, publish, {}, Buffer.alloc(100, i))
      while (copies.length < wire.pieces.length) copies.push(Buffer.from(wire.pieces[copies.length]!))
    }
    await nextTick()
    expect(wire.pieces.length).toBeGreaterThan(10)
    copies.forEach((copy, index) => {
      expect(wire.pieces[index]!.equals(copy)).toBe(true)
    })
    expect(wire.bodies()).toHaveLength(100)
  })

  test('a frame larger than the slab gets room of its own', () => {
    const wire = new Wire({ slabBytes: 64 })
    wire.writer.content(1, publish, { headers: { long: 'x'.repeat(500) } }, Buffer.from('b'))
    wire.writer.flush()
    expect(wire.bodies()).toEqual(['b'])
  })

  test('[sink] false is remembered until drained; writing goes on', () => {
    const wire = new Wire()
    wire.accepting = false
    wire.writer.heartbeat()
    wire.writer.flush()
    expect(wire.writer.writable).toBe(false)
    wire.writer.heartbeat()
    wire.writer.flush()
    expect(wire.pieces).toHaveLength(2)
    wire.writer.drained()
    expect(wire.writer.writable).toBe(true)
  })

  test('[close] nothing leaves any more', async () => {
    const wire = new Wire()
    wire.writer.heartbeat()
    wire.writer.close()
    await nextTick()
    expect(wire.pieces).toHaveLength(0)
  })
})

describe('contents', () => {
  test.each([0, 1, 47, 48, 49, 4087, 4088, 4089, 8176, 16_383, 16_384, 16_385, 100_000])(
    '[frame-max 4096] a body of %i bytes arrives whole',
    size => {
      const wire = new Wire({ frameMax: 4096 })
      const body = Buffer.alloc(size)
      for (let i = 0; i < size; i++) body[i] = i % 253
      wire.writer.content(1, publish, { deliveryMode: 2 }, body)
      wire.writer.content(2, publish, {}, Buffer.from('next'))
      wire.writer.flush()
      expect(wire.bodies(4096)).toEqual([body.toString('latin1'), 'next'])
    },
  )

  test.each([0, 4096, 131_072])('[frame-max %i] a body of 400 kB arrives whole and is not copied', frameMax => {
    const wire = new Wire({ frameMax })
    const body = Buffer.alloc(400_000, 'ab')
    wire.writer.content(1, publish, {}, body)
    wire.writer.flush()
    expect(wire.bodies(frameMax)).toEqual([body.toString('latin1')])
    if (frameMax !== 4096) expect(wire.pieces.some(piece => piece.buffer === body.buffer)).toBe(true)
  })

  test('[encoded properties, method frame made before] give the same bytes', () => {
    const properties = { messageId: 'm', headers: { a: 'b' } }
    const plain = new Wire()
    plain.writer.content(3, publish, properties, Buffer.from('body'))
    plain.writer.flush()
    const encoded = new Wire()
    encoded.writer.content(3, publish, encodeProperties(properties), Buffer.from('body'))
    encoded.writer.flush()
    const behind = new Wire()
    behind.writer.contentBehind(encodeMethodFrame(3, publish), 3, properties, new Uint8Array(Buffer.from('body')))
    behind.writer.flush()
    expect(encoded.bytes.toString('hex')).toBe(plain.bytes.toString('hex'))
    expect(behind.bytes.toString('hex')).toBe(plain.bytes.toString('hex'))
  })
})

describe('what cannot be written', () => {
  test.each([
    ['a name too long', (writer: FrameWriter) => writer.method(1, declare('q'.repeat(256))), 'string-too-long'],
    [
      'a method beyond frame-max',
      (writer: FrameWriter) => writer.method(1, { ...declare('q'), arguments: { x: 'x'.repeat(5000) } }),
      'frame-too-large',
    ],
    [
      'headers beyond frame-max',
      (writer: FrameWriter) => writer.content(1, publish, { headers: { x: 'x'.repeat(5000) } }, Buffer.alloc(1)),
      'frame-too-large',
    ],
    [
      'a property out of range',
      (writer: FrameWriter) => writer.content(1, publish, { priority: 300 }, Buffer.alloc(1)),
      'out-of-range',
    ],
  ])('[%s] throws and leaves no half frame behind', (_, write, code) => {
    const wire = new Wire({ frameMax: 4096 })
    wire.writer.content(1, publish, {}, Buffer.from('before'))
    expect(() => write(wire.writer)).toThrow(expect.objectContaining({ name: 'EncodingError', code }))
    wire.writer.content(1, publish, {}, Buffer.from('after'))
    wire.writer.flush()
    expect(wire.bodies(4096)).toEqual(['before', 'after'])
  })
})
