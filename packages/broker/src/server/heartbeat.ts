/**
 * Heartbeats both ways (AMQP 0-9-1 section 4.2.7): something is sent at least every half interval, and a peer of which
 * nothing came for two intervals is gone. Whatever travels counts; heartbeat frames fill the silence only.
 */

export interface HeartbeatPeer {
  /** Bytes that came in so far. */
  readonly bytesRead: number
  /** Bytes handed to the socket so far. */
  readonly bytesWritten: number
  /** False while we do not read: its silence is then our doing. */
  readonly reading: boolean
  beat(): void
  silent(): void
}

/** Looks per interval: sending twice, and noticing two silent intervals no later than half an interval late. */
const looksPerInterval = 2

export class Heartbeat {
  readonly #peer: HeartbeatPeer
  readonly #timer: NodeJS.Timeout
  #read: number
  #written: number
  #silentLooks = 0

  /** `seconds`: as agreed on; not 0. */
  constructor(peer: HeartbeatPeer, seconds: number) {
    this.#peer = peer
    this.#read = peer.bytesRead
    this.#written = peer.bytesWritten
    this.#timer = setInterval(() => this.#look(), (seconds * 1000) / looksPerInterval)
    this.#timer.unref()
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #look(): void {
    const { bytesRead, bytesWritten, reading } = this.#peer
    if (bytesWritten === this.#written) this.#peer.beat()
    this.#written = this.#peer.bytesWritten
    if (bytesRead !== this.#read || !reading) {
      this.#read = bytesRead
      this.#silentLooks = 0
      return
    }
    // One look more than two intervals have: the first of them may have been cut short.
    if (++this.#silentLooks > 2 * looksPerInterval) this.#peer.silent()
  }
}
