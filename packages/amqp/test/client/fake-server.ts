/** The server's side of a connection, for faults that real brokers do not show: a script of what it reads and sends. */

import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TlsOptions } from 'node:tls'
import {
  CHANNEL_CLOSE,
  CHANNEL_CLOSE_OK,
  CHANNEL_OPEN,
  CHANNEL_OPEN_OK,
  CONFIRM_SELECT,
  CONFIRM_SELECT_OK,
  CONNECTION_CLOSE,
  CONNECTION_CLOSE_OK,
  CONNECTION_OPEN,
  CONNECTION_OPEN_OK,
  CONNECTION_START,
  CONNECTION_START_OK,
  CONNECTION_TUNE,
  CONNECTION_TUNE_OK,
  type ContentMethod,
  type FieldTable,
  FrameReader,
  FrameWriter,
  type Method,
  methodNames,
} from '../../src/index.ts'

interface Received {
  readonly channel: number
  readonly method: Method
  readonly body?: Buffer
}

/** One accepted connection. Methods wait in a queue until the script asks for them. */
export class FakePeer {
  readonly writer: FrameWriter
  readonly socket: Socket
  heartbeats = 0
  readonly #received: Received[] = []
  readonly #waiting: ((received: Received) => void)[] = []
  readonly #reader: FrameReader

  constructor(socket: Socket) {
    this.socket = socket
    this.writer = new FrameWriter(bytes => (socket.destroyed ? true : socket.write(bytes)))
    this.#reader = new FrameReader(
      {
        onMethod: (channel, method) => this.#add({ channel, method }),
        onContent: (channel, method, _header, _start, _end, body) => this.#add({ channel, method, body }),
        onHeartbeat: () => this.heartbeats++,
        onProtocolHeader: () => undefined,
        onContentRefused: () => undefined,
      },
      { expectProtocolHeader: true },
    )
    socket.on('data', chunk => this.#reader.feed(chunk))
    // The client cuts the line in many of these tests.
    socket.on('error', error => socket.destroy(error))
  }

  #add(received: Received): void {
    const waiter = this.#waiting.shift()
    if (waiter === undefined) this.#received.push(received)
    else waiter(received)
  }

  /** How many methods came in that the script has not asked for. */
  get unread(): number {
    return this.#received.length
  }

  next(): Promise<Received> {
    const received = this.#received.shift()
    if (received !== undefined) return Promise.resolve(received)
    return new Promise(resolve => this.#waiting.push(resolve))
  }

  /** The next method, which must have this id. */
  async expect<M extends Method>(id: M['id']): Promise<M & { channel: number }> {
    const { method, channel } = await this.next()
    if (method.id !== id) throw new Error(`Expected ${methodNames.get(id)}, got ${methodNames.get(method.id)}.`)
    return { ...(method as M), channel }
  }

  send(channel: number, ...methods: Method[]): void {
    for (const method of methods) this.writer.method(channel, method)
    this.writer.flush()
  }

  content(channel: number, method: ContentMethod, body: string | Buffer, properties = {}): void {
    this.writer.content(channel, method, properties, Buffer.from(body))
    this.writer.flush()
  }

  start(capabilities: FieldTable = { authentication_failure_close: true }, mechanisms = 'PLAIN EXTERNAL'): void {
    this.send(0, {
      id: CONNECTION_START,
      versionMajor: 0,
      versionMinor: 9,
      serverProperties: { product: 'fake', capabilities },
      mechanisms,
      locales: 'en_US',
    })
  }

  /** The whole handshake, with these limits. */
  async open(tune: { channelMax?: number; frameMax?: number; heartbeat?: number } = {}): Promise<void> {
    this.start()
    await this.expect(CONNECTION_START_OK)
    this.send(0, { id: CONNECTION_TUNE, channelMax: 100, frameMax: 8192, heartbeat: 0, ...tune })
    await this.expect(CONNECTION_TUNE_OK)
    await this.expect(CONNECTION_OPEN)
    this.send(0, { id: CONNECTION_OPEN_OK })
  }

  async openChannel(): Promise<number> {
    const { channel } = await this.expect(CHANNEL_OPEN)
    this.send(channel, { id: CHANNEL_OPEN_OK })
    return channel
  }

  async confirmSelect(): Promise<void> {
    const { channel } = await this.expect(CONFIRM_SELECT)
    this.send(channel, { id: CONFIRM_SELECT_OK })
  }

  async closeChannel(): Promise<void> {
    const { channel } = await this.expect(CHANNEL_CLOSE)
    this.send(channel, { id: CHANNEL_CLOSE_OK })
  }

  async close(): Promise<void> {
    await this.expect(CONNECTION_CLOSE)
    this.send(0, { id: CONNECTION_CLOSE_OK })
  }
}

export class FakeServer {
  readonly port: number
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  readonly #scripts: Promise<void>[] = []
  #failure: unknown

  private constructor(server: Server, port: number) {
    this.#server = server
    this.port = port
  }

  /** Runs the script for each connection. `stop` reports what a script threw. */
  static async listen(script: (peer: FakePeer) => void | Promise<void>, tls?: TlsOptions): Promise<FakeServer> {
    const server = tls === undefined ? createServer() : createTlsServer(tls)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('No port.')
    const fake = new FakeServer(server, address.port)
    server.on(tls === undefined ? 'connection' : 'secureConnection', (socket: Socket) => {
      fake.#sockets.add(socket)
      fake.#scripts.push(
        (async () => script(new FakePeer(socket)))().catch((error: unknown) => {
          fake.#failure ??= error
          socket.destroy()
        }),
      )
    })
    return fake
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
    if (this.#failure !== undefined) throw this.#failure
  }
}
