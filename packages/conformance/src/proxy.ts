/**
 * A TCP proxy that disturbs: after so many bytes it cuts a connection, resets it, forwards half a chunk and cuts, or lets one
 * direction wait. What it does to which connection after how many bytes follows from the seed alone; which bytes those are, from
 * the programs at both ends.
 */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export type Disturbance = 'cut' | 'reset' | 'truncate' | 'delay'

const disturbances: readonly Disturbance[] = ['cut', 'reset', 'truncate', 'delay', 'delay']
/** A connection lives for at least and at most about so many bytes, both directions together, before something happens. */
const [leastBytes, mostBytes] = [10_000, 100_000]
const longestDelayMs = 300

export interface ProxyTarget {
  readonly host: string
  readonly port: number
}

export class DisturbingProxy {
  /** How often each thing was done. */
  readonly done: Record<Disturbance, number> = { cut: 0, reset: 0, truncate: 0, delay: 0 }
  readonly #server = createServer({ allowHalfOpen: false })
  readonly #sockets = new Set<Socket>()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #target: ProxyTarget
  readonly #seed: number
  #connections = 0
  #disturbing = false

  private constructor(target: ProxyTarget, seed: number) {
    this.#target = target
    this.#seed = seed
    this.#server.on('connection', socket => this.#join(socket))
  }

  /** Listens on a free port of the loopback interface; forwards faithfully until `disturb` is called. */
  static async start(target: ProxyTarget, seed: number): Promise<DisturbingProxy> {
    const proxy = new DisturbingProxy(target, seed)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** How many connections were ended by it. */
  get losses(): number {
    return this.done.cut + this.done.reset + this.done.truncate
  }

  disturb(): void {
    this.#disturbing = true
  }

  /** Forwards faithfully from now on. */
  calm(): void {
    this.#disturbing = false
  }

  /** Nothing comes over the connections that there are, and they stay; later ones are forwarded. */
  silence(): void {
    for (const socket of this.#sockets) {
      socket.pause()
      socket.removeAllListeners('data').removeAllListeners('drain')
    }
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer)
    for (const socket of this.#sockets) socket.destroy()
    const closed = once(this.#server, 'close')
    this.#server.close()
    await closed
  }

  #join(client: Socket): void {
    const engine = connect({ ...this.#target, noDelay: true })
    client.setNoDelay(true)
    // Each connection has its own numbers, so that the turns of the others change nothing for it.
    const random = randomNumbers(this.#seed + this.#connections++ * 7919)
    const fate = { random, bytes: 0, at: Number.POSITIVE_INFINITY, what: 'cut' as Disturbance }
    drawFate(fate)
    for (const [from, to] of [
      [client, engine],
      [engine, client],
    ] as const) {
      this.#sockets.add(from)
      from.on('data', (chunk: Buffer) => this.#forward(from, to, chunk, fate))
      to.on('drain', () => from.resume())
      from.on('end', () => to.end())
      // Each end learns of the other's loss; an error is one, and needs no word of its own.
      from.on('error', () => to.destroy())
      from.on('close', () => {
        this.#sockets.delete(from)
        to.destroy()
      })
    }
  }

  #forward(from: Socket, to: Socket, chunk: Buffer, fate: Fate): void {
    fate.bytes += chunk.length
    if (!this.#disturbing || fate.bytes < fate.at) {
      if (!to.write(chunk)) from.pause()
      return
    }
    const { what } = fate
    this.done[what] += 1
    if (what === 'delay') {
      from.pause()
      const timer = setTimeout(
        () => {
          this.#timers.delete(timer)
          if (to.write(chunk)) from.resume()
        },
        Math.ceil(fate.random() * longestDelayMs),
      )
      this.#timers.add(timer)
      drawFate(fate)
    } else if (what === 'truncate') {
      to.end(chunk.subarray(0, Math.floor(chunk.length * fate.random())))
      from.destroy()
    } else if (what === 'reset') {
      from.resetAndDestroy()
      to.resetAndDestroy()
    } else {
      from.destroy()
      to.destroy()
    }
  }
}

interface Fate {
  readonly random: () => number
  /** Bytes so far, both directions. */
  bytes: number
  at: number
  what: Disturbance
}

function drawFate(fate: Fate): void {
  fate.at = fate.bytes + leastBytes + fate.random() * (mostBytes - leastBytes)
  fate.what = disturbances[Math.floor(fate.random() * disturbances.length)]!
}

/** Numbers from 0 to 1, the same for the same seed: a linear congruential generator of 32 bits whose high bits are used. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state / 2 ** 32
  }
  // The first number of near seeds is near; the third is not.
  next()
  next()
  return next
}
