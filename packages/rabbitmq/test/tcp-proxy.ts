/** A way to the broker that a test can cut, close and freeze. */
import { connect, createServer, type Server, type Socket } from 'node:net'

export class TcpProxy {
  readonly #target: { host: string; port: number }
  readonly #sockets = new Set<Socket>()
  #server: Server | undefined
  #frozen = false
  #port = 0
  /** How many connections came so far. */
  accepted = 0

  constructor(target: { host: string; port: number }) {
    this.#target = target
  }

  static async to(url: string): Promise<TcpProxy> {
    const { hostname, port } = new URL(url)
    const proxy = new TcpProxy({ host: hostname, port: port === '' ? 5672 : Number(port) })
    await proxy.listen()
    return proxy
  }

  get port(): number {
    return this.#port
  }

  get url(): string {
    return `amqp://127.0.0.1:${this.#port}`
  }

  /** Takes connections, on the same port each time. */
  async listen(): Promise<void> {
    const server = createServer(socket => this.#accept(socket))
    this.#server = server
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(this.#port, '127.0.0.1', resolve)
    })
    const address = server.address()
    if (typeof address === 'object' && address !== null) this.#port = address.port
  }

  /** Resets every connection. New ones are taken. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy()
    this.#sockets.clear()
    this.#frozen = false
  }

  /** Resets every connection and refuses new ones until `listen`. */
  async refuse(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    const closed = server === undefined ? undefined : new Promise(resolve => server.close(resolve))
    this.cut()
    await closed
  }

  /** Lets no byte through in either direction until `thaw` or `cut`. */
  freeze(): void {
    this.#frozen = true
    for (const socket of this.#sockets) socket.pause()
  }

  thaw(): void {
    this.#frozen = false
    for (const socket of this.#sockets) socket.resume()
  }

  #accept(near: Socket): void {
    this.accepted++
    const far = connect(this.#target)
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from)
      from.setNoDelay(true)
      from.on('data', chunk => {
        to.write(chunk)
        if (this.#frozen) from.pause()
      })
      from.on('error', () => to.destroy())
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
    if (this.#frozen) this.freeze()
  }
}
