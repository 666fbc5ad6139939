/** A client that does only what it is told, right or wrong: bytes out, whole methods in. For either broker. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import {
  BASIC_PUBLISH,
  type BasicProperties,
  CHANNEL_OPEN,
  CHANNEL_OPEN_OK,
  CONNECTION_OPEN,
  CONNECTION_OPEN_OK,
  CONNECTION_START,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  type ContentMethod,
  encodeMethodFrame,
  encodeProperties,
  type FieldTable,
  FRAME_BODY,
  FRAME_END,
  FRAME_HEADER,
  FrameReader,
  type Method,
  methodNames,
  protocolHeader,
  readProperties,
} from '@chasqui/amqp'

/** What came in, in order. `close`: the other side ended the connection. */
export type Event =
  | { readonly kind: 'method'; readonly channel: number; readonly method: Method }
  | {
      readonly kind: 'content'
      readonly channel: number
      readonly method: ContentMethod
      readonly properties: BasicProperties
      readonly body: string
    }
  | { readonly kind: 'heartbeat' }
  | { readonly kind: 'header'; readonly bytes: string }
  | { readonly kind: 'close' }

export interface Handshake {
  readonly username?: string
  readonly password?: string
  readonly mechanism?: string
  readonly response?: string | Uint8Array
  readonly vhost?: string
  readonly clientProperties?: FieldTable
  readonly frameMax?: number
  readonly channelMax?: number
  readonly heartbeat?: number
}

const answerTimeoutMs = 10_000

export class RawClient {
  readonly socket: Socket
  readonly events: Event[] = []
  serverProperties: FieldTable = {}
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.socket = socket
    const reader = new FrameReader({
      onMethod: (channel, method) => this.#add({ kind: 'method', channel, method }),
      onContent: (channel, method, header, start, end, body) =>
        this.#add({
          kind: 'content',
          channel,
          method,
          properties: readProperties(header, start, end),
          body: body.toString('latin1'),
        }),
      onHeartbeat: () => this.#add({ kind: 'heartbeat' }),
      onProtocolHeader: header => this.#add({ kind: 'header', bytes: header.toString('latin1') }),
      onContentRefused: () => undefined,
    })
    socket.on('data', chunk => reader.feed(chunk as Buffer))
    // A reset is one way of being closed; 'close' follows.
    socket.on('error', () => undefined)
    socket.on('close', () => this.#add({ kind: 'close' }))
  }

  static async connect(port: number, host = '127.0.0.1'): Promise<RawClient> {
    const socket = connect({ port, host, noDelay: true })
    await once(socket, 'connect')
    return new RawClient(socket)
  }

  /** Connects and shakes hands up to `connection.open-ok`. */
  static async open(port: number, handshake: Handshake = {}): Promise<RawClient> {
    const client = await RawClient.connect(port)
    await client.shakeHands(handshake)
    return client
  }

  async shakeHands(handshake: Handshake = {}): Promise<void> {
    await this.login(handshake)
    await this.tuneAndOpen(handshake)
    await this.method(CONNECTION_OPEN_OK)
  }

  /** The handshake up to `connection.start-ok`. */
  async login(handshake: Handshake = {}): Promise<void> {
    const { username = 'guest', password = 'guest', mechanism = 'PLAIN', clientProperties = {} } = handshake
    this.socket.write(protocolHeader)
    const start = await this.method(CONNECTION_START)
    this.serverProperties = start.serverProperties
    this.send(0, {
      id: CONNECTION_START_OK,
      clientProperties,
      mechanism,
      response: handshake.response ?? `\0${username}\0${password}`,
      locale: 'en_US',
    })
  }

  async tuneAndOpen(handshake: Handshake = {}): Promise<void> {
    const tune = await this.method(CONNECTION_TUNE)
    this.send(0, {
      id: CONNECTION_TUNE_OK,
      channelMax: handshake.channelMax ?? tune.channelMax,
      frameMax: handshake.frameMax ?? tune.frameMax,
      heartbeat: handshake.heartbeat ?? 0,
    })
    this.send(0, { id: CONNECTION_OPEN, virtualHost: handshake.vhost ?? '/' })
  }

  async openChannel(channel: number): Promise<void> {
    this.send(channel, { id: CHANNEL_OPEN })
    await this.method(CHANNEL_OPEN_OK)
  }

  send(channel: number, method: Method): void {
    this.socket.write(encodeMethodFrame(channel, method))
  }

  publish(
    channel: number,
    routingKey: string,
    body: string,
    options: { exchange?: string; mandatory?: boolean; immediate?: boolean; properties?: BasicProperties } = {},
  ): void {
    const { exchange = '', mandatory = false, immediate = false, properties = {} } = options
    const method = encodeMethodFrame(channel, { id: BASIC_PUBLISH, exchange, routingKey, mandatory, immediate })
    this.socket.write(Buffer.concat([method, ...contentFrames(channel, body, encodeProperties(properties))]))
  }

  /** The next thing that came in. */
  async next(): Promise<Event> {
    const deadline = Date.now() + answerTimeoutMs
    while (this.events.length === 0) {
      const left = deadline - Date.now()
      if (left <= 0) throw new Error('nothing came in')
      await new Promise<void>(resolve => {
        const timer = setTimeout(resolve, left)
        this.#wake = () => {
          clearTimeout(timer)
          resolve()
        }
      })
    }
    return this.events.shift()!
  }

  /** The next thing that came in, which must be this method. */
  async method<Id extends Method['id']>(id: Id): Promise<Extract<Method, { id: Id }>> {
    const event = await this.next()
    if (event.kind === 'method' && event.method.id === id) return event.method as Extract<Method, { id: Id }>
    throw new Error(`expected ${methodNames.get(id)}, got ${show(event)}`)
  }

  async content<Id extends ContentMethod['id']>(
    id: Id,
  ): Promise<{ method: Extract<ContentMethod, { id: Id }>; properties: BasicProperties; body: string }> {
    const event = await this.next()
    if (event.kind === 'content' && event.method.id === id) {
      return { ...event, method: event.method as Extract<ContentMethod, { id: Id }> }
    }
    throw new Error(`expected ${methodNames.get(id)}, got ${show(event)}`)
  }

  /** Resolves once the other side has ended the connection, with what came in before. */
  async closed(): Promise<Event[]> {
    const events: Event[] = []
    for (;;) {
      const event = await this.next()
      if (event.kind === 'close') return events
      events.push(event)
    }
  }

  destroy(): void {
    this.socket.destroy()
  }

  #add(event: Event): void {
    this.events.push(event)
    this.#wake?.()
  }
}

/** Header and body frames. */
export function contentFrames(channel: number, body: string, properties: Uint8Array, classId = 60): Buffer[] {
  const header = Buffer.alloc(12 + properties.length)
  header.writeUInt16BE(classId, 0)
  header.writeBigUInt64BE(BigInt(Buffer.byteLength(body, 'latin1')), 4)
  header.set(properties, 12)
  const frames = [frame(FRAME_HEADER, channel, header)]
  if (body !== '') frames.push(frame(FRAME_BODY, channel, Buffer.from(body, 'latin1')))
  return frames
}

export function frame(type: number, channel: number, payload: Uint8Array, end: number = FRAME_END): Buffer {
  const bytes = Buffer.alloc(payload.length + 8)
  bytes[0] = type
  bytes.writeUInt16BE(channel, 1)
  bytes.writeUInt32BE(payload.length, 3)
  bytes.set(payload, 7)
  bytes[payload.length + 7] = end
  return bytes
}

function show(event: Event): string {
  if (event.kind !== 'method' && event.kind !== 'content') return event.kind
  return `${methodNames.get(event.method.id)} ${JSON.stringify(event.method)}`
}
