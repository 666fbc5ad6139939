/**
 * Which channels of one connection have confirms to tell, now or once the store has committed. Told together at the end of
 * a turn, so that they leave in one piece with what else is to be said.
 */
import type { Channel } from './channel.ts'

export class DueConfirms {
  /** Channels with confirms to tell. */
  #toTell: Channel[] = []
  /** Channels whose confirms wait for the store. */
  #awaiting: Channel[] = []

  /** No channel waits for the store. */
  get settled(): boolean {
    return this.#awaiting.length === 0
  }

  /** The channel, which is not queued, has something to tell. */
  tellLater(channel: Channel): void {
    channel.queued = true
    this.#toTell.push(channel)
  }

  /** The channel, which is not awaiting, waits for the store. */
  awaitCommit(channel: Channel): void {
    channel.awaiting = true
    this.#awaiting.push(channel)
  }

  /** The store has everything up to this number. False when nobody waited. */
  committed(commit: number): boolean {
    if (this.#awaiting.length === 0) return false
    const channels = this.#awaiting
    this.#awaiting = []
    for (const channel of channels) {
      channel.awaiting = false
      channel.committed(commit)
      if (channel.waiting) this.awaitCommit(channel)
    }
    return true
  }

  tell(): void {
    if (this.#toTell.length === 0) return
    const channels = this.#toTell
    this.#toTell = []
    for (const channel of channels) channel.tellConfirms()
  }

  /** The channels are gone: nobody waits any more. */
  forgetWaiting(): void {
    this.#awaiting = []
  }
}
