/**
 * What the codec alone costs, in nanoseconds a message: no socket, no broker.
 *
 *   node --conditions=@chasqui/source packages/amqp/bench/codec.ts
 */
import {
  BASIC_ACK,
  BASIC_DELIVER,
  type BasicProperties,
  encodeMethodFrame,
  FrameReader,
  FrameWriter,
  readProperties,
} from '../src/index.ts'

const deliver = {
  id: BASIC_DELIVER,
  consumerTag: 'amq.ctag-uVWxoWtRY9AeRnLT0andRQ',
  deliveryTag: 123_456,
  redelivered: false,
  exchange: 'order.placed',
  routingKey: 'order.placed',
} as const
const body = Buffer.alloc(100, 'x')
const lean: BasicProperties = { deliveryMode: 2 }
const rich: BasicProperties = {
  contentType: 'application/json',
  headers: { cloudEvents_source: 'orders', cloudEvents_partitionkey: '4711', cloudEvents_time: '2026-11-24T13:00:00Z' },
  deliveryMode: 2,
  messageId: '0d9e2b5e-6a3c-4c57-8d0e-0a5b1f3c2d4e',
  timestamp: 1_764_000_000,
  type: 'order.placed',
}
const perRound = 400

function bench(name: string, round: () => void): void {
  for (let i = 0; i < 500; i++) round()
  const best: number[] = []
  for (let sample = 0; sample < 5; sample++) {
    const started = process.hrtime.bigint()
    for (let i = 0; i < 400; i++) round()
    best.push(Number(process.hrtime.bigint() - started) / 400 / perRound)
  }
  console.log(
    `${name.padEnd(52)} ${Math.min(...best)
      .toFixed(0)
      .padStart(6)} ns`,
  )
}

let sink: Buffer[] = []
const writer = new FrameWriter(bytes => {
  sink.push(bytes)
  return true
})

function written(write: (writer: FrameWriter) => void): Buffer {
  sink = []
  for (let i = 0; i < perRound; i++) write(writer)
  writer.flush()
  return Buffer.concat(sink)
}

let seen = 0
let withProperties = false
const reader = new FrameReader({
  onMethod: () => seen++,
  onContent: (_channel, _method, header, start, end) => {
    seen++
    if (withProperties) readProperties(header, start, end)
  },
  onHeartbeat: () => undefined,
  onProtocolHeader: () => undefined,
  onContentRefused: () => undefined,
})

for (const [name, properties] of [
  ['lean', lean],
  ['rich', rich],
] as const) {
  const frame = encodeMethodFrame(1, deliver)
  bench(`write a delivery, ${name} properties`, () => {
    sink = []
    for (let i = 0; i < perRound; i++) writer.content(1, deliver, properties, body)
    writer.flush()
  })
  bench(`write a message behind a known method, ${name}`, () => {
    sink = []
    for (let i = 0; i < perRound; i++) writer.contentBehind(frame, 1, properties, body)
    writer.flush()
  })
  const bytes = written(to => to.content(1, deliver, properties, body))
  withProperties = false
  bench(`read a delivery, ${name}, properties left alone`, () => reader.feed(bytes))
  withProperties = true
  bench(`read a delivery, ${name}, properties read`, () => reader.feed(bytes))
}
const acks = written(to => to.method(1, { id: BASIC_ACK, deliveryTag: 5, multiple: false }))
bench('write an ack', () => {
  sink = []
  for (let i = 0; i < perRound; i++) writer.method(1, { id: BASIC_ACK, deliveryTag: i, multiple: false })
  writer.flush()
})
bench('read an ack', () => reader.feed(acks))
if (seen === 0) throw new Error('Nothing was read.')
