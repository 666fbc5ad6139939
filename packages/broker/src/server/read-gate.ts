/** Whether a connection reads from its socket, and the reasons for which it does not. */
import type { Socket } from 'node:net'

/** The virtual host is blocked, and this client publishes. */
export const BLOCKED = 1
/** An answer waits for the store. */
export const HELD = 2
/** The client lags far behind in reading. */
export const CHOKED = 4
/** The broker stops. */
export const SHUTTING_DOWN = 8

export class ReadGate {
  readonly #socket: Socket
  #reasons = 0

  constructor(socket: Socket) {
    this.#socket = socket
  }

  get open(): boolean {
    return this.#reasons === 0
  }

  has(reason: number): boolean {
    return (this.#reasons & reason) !== 0
  }

  close(reason: number): void {
    if (this.#reasons === 0) this.#socket.pause()
    this.#reasons |= reason
  }

  /** These reasons are none any more; reads again when there are no others. */
  lift(reasons: number): void {
    if (this.#reasons === 0) return
    this.#reasons &= ~reasons
    if (this.#reasons === 0) this.#socket.resume()
  }
}
