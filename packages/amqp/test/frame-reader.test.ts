import { describe, expect, test } from 'vitest'
import {
  AmqpError,
  BASIC_ACK,
  BASIC_DELIVER,
  BASIC_PUBLISH,
  type BasicPublish,
  CHANNEL_OPEN,
  type ContentMethod,
  decodeProperties,
  encodeMethodFrame,
  type FrameListener,
  FrameReader,
  type FrameReaderOptions,
  FrameWriter,
  heartbeatFrame,
  type Method,
  protocolHeader,
  QUEUE_DECLARE,
} from '../src/index.ts'

type Seen =
  | { method: Method; channel: number }
  | { content: ContentMethod; channel: number; properties: unknown; body: string }
  | { heartbeat: true }
  | { header: string }
  | { refused: number; channel: number }

class Recorder implements FrameListener {
  readonly seen: Seen[] = []
  readonly bodies: Buffer[] = []

  onMethod(channel: number, method: Method): void {
    this.seen.push({ method, channel })
  }

  onContent(channel: number, content: ContentMethod, header: Buffer, start: number, end: number, body: Buffer): void {
    this.bodies.push(body)
    const properties = JSON.parse(JSON.stringify(decodeProperties(header.subarray(start, end))))
    this.seen.push({ content, channel, properties, body: body.toString('latin1') })
  }

  onHeartbeat(): void {
    this.seen.push({ heartbeat: true })
  }

  onProtocolHeader(header: Buffer): void {
    this.seen.push({ header: header.toString('latin1') })
  }

  onContentRefused(channel: number, _method: ContentMethod, bodyBytes: number): void {
    this.seen.push({ refused: bodyBytes, channel })
  }
}

function reader(options?: FrameReaderOptions): { reader: FrameReader; recorder: Recorder } {
  const recorder = new Recorder()
  return { reader: new FrameReader(recorder, options), recorder }
}

/** What a writer would put on the wire. */
function bytesOf(write: (writer: FrameWriter) => void, frameMax = 0): Buffer {
  const pieces: Buffer[] = []
  const writer = new FrameWriter(
    piece => {
      pieces.push(piece)
      return true
    },
    { frameMax },
  )
  write(writer)
  writer.flush()
  return Buffer.concat(pieces)
}

function publish(routingKey: string): BasicPublish {
  return { id: BASIC_PUBLISH, exchange: 'e', routingKey, mandatory: false, immediate: false }
}

const declare: Method = {
  id: QUEUE_DECLARE,
  queue: 'hello',
  passive: false,
  durable: true,
  exclusive: false,
  autoDelete: false,
  noWait: false,
  arguments: { 'x-max-length': 5 },
}

/** A stretch of a connection: methods, contents of every number of frames, two channels that interleave, heartbeats. */
function conversation(): { bytes: Buffer; expected: Seen[] } {
  const bytes = Buffer.concat([
    Buffer.from(protocolHeader),
    bytesOf(writer => {
      writer.method(1, declare)
      writer.content(1, publish('none'), {}, Buffer.alloc(0))
      writer.content(1, publish('one'), { deliveryMode: 2 }, Buffer.from('hello'))
      writer.heartbeat()
      writer.content(2, publish('four frames'), { headers: { a: 1 } }, Buffer.alloc(31, 'x'))
    }, 8 + 64),
    interleaved(),
    bytesOf(writer => writer.method(3, { id: BASIC_ACK, deliveryTag: 7, multiple: true })),
  ])
  return {
    bytes,
    expected: [
      { header: 'AMQP\0\0\t\u0001' },
      { method: declare, channel: 1 },
      { content: publish('none'), channel: 1, properties: {}, body: '' },
      { content: publish('one'), channel: 1, properties: { deliveryMode: 2 }, body: 'hello' },
      { heartbeat: true },
      { content: publish('four frames'), channel: 2, properties: { headers: { a: 1 } }, body: 'x'.repeat(31) },
      { content: publish('b'), channel: 5, properties: {}, body: 'bb' },
      { content: publish('a'), channel: 4, properties: {}, body: 'aaaa' },
      { method: { id: BASIC_ACK, deliveryTag: 7, multiple: true }, channel: 3 },
    ],
  }
}

function frame(type: number, channel: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc(payload.length + 8)
  bytes[0] = type
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(payload.length, 3)
  payload.copy(bytes, 7)
  bytes[bytes.length - 1] = 0xce
  return bytes
}

function header(bodyBytes: number, classId = 60): Buffer {
  const payload = Buffer.alloc(14)
  payload.writeUInt16BE(classId, 0)
  payload.writeBigUInt64BE(BigInt(bodyBytes), 4)
  return payload
}

/** Frames of two contents on channels 4 and 5, one between the other's. */
function interleaved(): Buffer {
  return Buffer.concat([
    encodeMethodFrame(4, publish('a')),
    encodeMethodFrame(5, publish('b')),
    frame(2, 4, header(4)),
    frame(3, 4, Buffer.from('aa')),
    frame(2, 5, header(2)),
    frame(3, 5, Buffer.from('bb')),
    frame(3, 4, Buffer.from('aa')),
  ])
}

describe('chunks', () => {
  test('in one chunk: everything is told in the order of the wire', () => {
    const { bytes, expected } = conversation()
    const { reader: it, recorder } = reader({ frameMax: 131_072 })
    it.feed(bytes)
    expect(recorder.seen).toEqual(expected)
    expect(it.bytesRead).toBe(bytes.length)
  })

  test('cut in two at every byte: the same is told', () => {
    const { bytes, expected } = conversation()
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { reader: it, recorder } = reader({ expectProtocolHeader: true })
      it.feed(Buffer.from(bytes.subarray(0, cut)))
      it.feed(Buffer.from(bytes.subarray(cut)))
      expect(recorder.seen).toEqual(expected)
    }
  })

  test.each([1, 2, 3, 7, 8, 9, 50])('in chunks of %i bytes: the same is told', size => {
    const { bytes, expected } = conversation()
    const { reader: it, recorder } = reader()
    for (let at = 0; at < bytes.length; at += size) it.feed(Buffer.from(bytes.subarray(at, at + size)))
    expect(recorder.seen).toEqual(expected)
  })

  test('a body in one chunk is a view of it, not a copy', () => {
    const bytes = bytesOf(writer => writer.content(1, publish('k'), {}, Buffer.from('body')))
    const { reader: it, recorder } = reader()
    it.feed(bytes)
    expect(recorder.bodies[0]!.buffer).toBe(bytes.buffer)
  })

  test('a body of 300 kB over frames and chunks is joined once and whole', () => {
    const body = Buffer.alloc(300_000)
    for (let i = 0; i < body.length; i++) body[i] = i % 251
    const bytes = bytesOf(writer => writer.content(1, publish('k'), {}, body), 131_072)
    const { reader: it, recorder } = reader({ frameMax: 131_072 })
    for (let at = 0; at < bytes.length; at += 65_536) it.feed(bytes.subarray(at, at + 65_536))
    expect(recorder.bodies[0]!.equals(body)).toBe(true)
  })
})

function refusal(feed: () => void): AmqpError {
  try {
    feed()
  } catch (error) {
    if (error instanceof AmqpError) return error
    throw error
  }
  throw new Error('Nothing was refused.')
}

describe('bogus frames', () => {
  const good = encodeMethodFrame(1, publish('k'))

  test.each([
    ['wrong end of frame', 501, Buffer.concat([good.subarray(0, -1), Buffer.from([0])])],
    ['type beyond heartbeat', 501, frame(9, 1, Buffer.alloc(0))],
    ['type 0', 501, frame(0, 1, Buffer.alloc(0))],
    ['type between', 501, frame(5, 1, Buffer.alloc(0))],
    ['heartbeat with payload', 501, frame(8, 0, Buffer.from('x'))],
    ['heartbeat on a channel', 501, frame(8, 1, Buffer.alloc(0))],
    ['header without method', 505, frame(2, 1, header(1))],
    ['body without header', 505, Buffer.concat([good, frame(3, 1, Buffer.from('x'))])],
    ['body without method', 505, frame(3, 1, Buffer.from('x'))],
    ['method inside a content', 505, Buffer.concat([good, good])],
    ['second header', 505, Buffer.concat([good, frame(2, 1, header(5)), frame(2, 1, header(5))])],
    ['header of another class', 505, Buffer.concat([good, frame(2, 1, header(5, 10))])],
    ['header cut short', 501, Buffer.concat([good, frame(2, 1, Buffer.alloc(13))])],
    ['body beyond its size', 505, Buffer.concat([good, frame(2, 1, header(1)), frame(3, 1, Buffer.from('xy'))])],
    ['content on channel 0', 505, encodeMethodFrame(0, publish('k'))],
    ['unknown method', 540, frame(1, 1, Buffer.from([0, 60, 0, 99]))],
    ['empty method', 502, frame(1, 1, Buffer.alloc(0))],
    ['frame beyond frame-max', 501, frame(1, 1, Buffer.alloc(4089))],
  ])('[%s] is %i', (_, code, bytes) => {
    const whole = reader({ frameMax: 4096 })
    expect(refusal(() => whole.reader.feed(bytes))).toMatchObject({ replyCode: code, scope: 'connection' })
    const byByte = reader({ frameMax: 4096 })
    const error = refusal(() => {
      for (const byte of bytes) byByte.reader.feed(Buffer.from([byte]))
    })
    expect(error.replyCode).toBe(code)
  })

  test('[frame beyond frame-max] is refused by its head, before its payload came', () => {
    const { reader: it } = reader({ frameMax: 4096 })
    expect(refusal(() => it.feed(frame(1, 1, Buffer.alloc(100_000)).subarray(0, 7))).replyCode).toBe(501)
  })

  test('[no frame-max] a head that announces 4 GiB costs no memory', () => {
    const { reader: it } = reader()
    const before = process.memoryUsage().arrayBuffers
    it.feed(Buffer.from([1, 0, 1, 0xff, 0xff, 0xff, 0xff]))
    it.feed(Buffer.alloc(1000))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000)
  })

  test('[body size] a header that announces more than fits a number costs no memory and is refused', () => {
    const { reader: it, recorder } = reader()
    const huge = header(0)
    huge.fill(0xff, 4, 12)
    it.feed(Buffer.concat([good, frame(2, 1, huge)]))
    expect(recorder.seen).toEqual([{ refused: 2 ** 64, channel: 1 }])
  })

  test('[maxBodyBytes] a larger body is reported once and dropped; the channel goes on', () => {
    const { reader: it, recorder } = reader({ maxBodyBytes: 3 })
    const content = bytesOf(writer => {
      writer.content(1, publish('large'), {}, Buffer.from('four'))
      writer.content(1, publish('small'), {}, Buffer.from('abc'))
    })
    it.feed(content)
    expect(recorder.seen).toEqual([
      { refused: 4, channel: 1 },
      { content: publish('small'), channel: 1, properties: {}, body: 'abc' },
    ])
  })

  test('[after an error] the same error comes again, and nothing is told any more', () => {
    const { reader: it, recorder } = reader()
    const first = refusal(() => it.feed(frame(9, 1, Buffer.alloc(0))))
    expect(refusal(() => it.feed(Buffer.from(heartbeatFrame)))).toBe(first)
    expect(recorder.seen).toEqual([])
  })

  test('[random bytes] are refused, never worse', () => {
    let state = 3
    for (let round = 0; round < 3000; round++) {
      const bytes = Buffer.alloc(64)
      for (let i = 0; i < bytes.length; i++) {
        state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
        bytes[i] = state & 0x300 ? (state >>> 24) % 4 : state >>> 24
      }
      const { reader: it } = reader({ frameMax: 4096 })
      try {
        it.feed(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(AmqpError)
      }
    }
  })
})

describe('protocol header', () => {
  test("[server] another protocol's first bytes are reported, not read as frames", () => {
    const { reader: it, recorder } = reader({ expectProtocolHeader: true })
    it.feed(Buffer.from('GET / HTTP/1.1\r\n').subarray(0, 8))
    expect(recorder.seen).toEqual([{ header: 'GET / HT' }])
  })

  test('[client] the header that a server refuses with is reported', () => {
    const { reader: it, recorder } = reader()
    it.feed(Buffer.from('AMQP\x01\x01\x08\x00'))
    expect(recorder.seen).toEqual([{ header: 'AMQP\x01\x01\b\0' }])
  })
})

describe('stopping and resetting', () => {
  test('[stop] drops the rest of the chunk', () => {
    const seen: number[] = []
    const it: FrameReader = new FrameReader({
      onMethod: () => undefined,
      onContent: () => undefined,
      onHeartbeat: () => {
        seen.push(1)
        it.stop()
      },
      onProtocolHeader: () => undefined,
      onContentRefused: () => undefined,
    })
    it.feed(Buffer.concat([heartbeatFrame, heartbeatFrame]))
    it.feed(Buffer.from(heartbeatFrame))
    expect(seen).toEqual([1])
  })

  test('[resetChannel] forgets a content that will not be completed', () => {
    const { reader: it, recorder } = reader()
    it.feed(Buffer.concat([encodeMethodFrame(1, publish('k')), frame(2, 1, header(5))]))
    it.resetChannel(1)
    it.feed(encodeMethodFrame(1, { id: CHANNEL_OPEN }))
    expect(recorder.seen).toEqual([{ method: { id: CHANNEL_OPEN }, channel: 1 }])
  })

  test('[basic.deliver] comes with its fields and body', () => {
    const deliver = {
      id: BASIC_DELIVER,
      consumerTag: 'tag',
      deliveryTag: 2 ** 40,
      redelivered: true,
      exchange: '',
      routingKey: 'queue',
    } as const
    const { reader: it, recorder } = reader()
    it.feed(bytesOf(writer => writer.content(9, deliver, { messageId: 'm' }, Buffer.from('b'))))
    expect(recorder.seen).toEqual([{ content: deliver, channel: 9, properties: { messageId: 'm' }, body: 'b' }])
  })
})
