/**
 * Which publishes of a channel are still to be confirmed (RabbitMQ, "Publisher Confirms"). Publishes are numbered
 * from 1; each waits for the store's commit number that covers it, or for nothing. Those done are told together:
 *
 *     1 2 3 4 5 6 7 8        told          everything up to 3
 *           ^ waiting        in order      done, and nothing before it waits: one ack with `multiple`
 *             . x . .        early         done while an older one waits: an ack of its own
 *                            refused       a nack of its own
 */
import { BASIC_ACK, BASIC_NACK, type FrameWriter } from '@chasqui/amqp'

/** So many leave the front of the list of waiting ones before it is cut. */
const cutAfter = 8192

export class Confirms {
  #last = 0
  /** Number and commit of those that wait, side by side, in order. */
  readonly #sequences: number[] = []
  readonly #commits: number[] = []
  #from = 0
  #early: number[] = []
  #earlyFrom = 0
  #refused: number[] = []
  /** Done in order and not told: the highest, and how many. */
  #highest = 0
  #inOrder = 0

  /** Some wait for the store. */
  get waiting(): boolean {
    return this.#from < this.#sequences.length
  }

  /** Something is to be told. */
  get pending(): boolean {
    return this.#inOrder > 0 || this.#refused.length > 0 || this.#earlyFrom < this.#early.length
  }

  /** The next publish was taken; `commit` is the number to wait for, 0 for nothing. */
  taken(commit: number): void {
    const sequence = ++this.#last
    if (commit > 0) {
      this.#sequences.push(sequence)
      this.#commits.push(commit)
    } else if (this.waiting) {
      this.#early.push(sequence)
    } else {
      this.#done(sequence)
    }
  }

  /** The next publish was refused. */
  rejected(): void {
    this.#refused.push(++this.#last)
  }

  /** The store has everything up to this number. */
  committed(commit: number): void {
    const commits = this.#commits
    let at = this.#from
    while (at < commits.length && commits[at]! <= commit) this.#done(this.#sequences[at++]!)
    this.#from = at
    if (at === commits.length) {
      commits.length = 0
      this.#sequences.length = 0
      this.#from = 0
    } else if (at > cutAfter) {
      commits.splice(0, at)
      this.#sequences.splice(0, at)
      this.#from = 0
    }
    const oldest = this.waiting ? this.#sequences[this.#from]! : this.#last + 1
    while (this.#earlyFrom < this.#early.length && this.#early[this.#earlyFrom]! < oldest) {
      this.#done(this.#early[this.#earlyFrom++]!)
    }
  }

  /** Tells what is to be told. */
  tell(writer: FrameWriter, channel: number): void {
    for (const deliveryTag of this.#refused) {
      writer.method(channel, { id: BASIC_NACK, deliveryTag, multiple: false, requeue: false })
    }
    if (this.#refused.length > 0) this.#refused = []
    if (this.#inOrder > 0) {
      writer.method(channel, { id: BASIC_ACK, deliveryTag: this.#highest, multiple: this.#inOrder > 1 })
      this.#inOrder = 0
    }
    for (; this.#earlyFrom < this.#early.length; this.#earlyFrom++) {
      writer.method(channel, { id: BASIC_ACK, deliveryTag: this.#early[this.#earlyFrom]!, multiple: false })
    }
    if (this.#early.length > 0) {
      this.#early = []
      this.#earlyFrom = 0
    }
  }

  #done(sequence: number): void {
    if (sequence > this.#highest) this.#highest = sequence
    this.#inOrder++
  }
}
