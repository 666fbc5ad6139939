/**
 * Wakes queues at moments: one heap and one timer for all of them. The timer looks at the clock at least every half second,
 * so that a clock that is set (or moved by a test) is noticed soon: what is due is due by the clock, not by the time that passed.
 */
import type { Clock } from '../clock.ts'
import type { Queue } from '../queue/queue.ts'

interface Alarm {
  readonly at: number
  readonly queue: Queue
}

const longestSleepMs = 500

export class Alarms {
  readonly #clock: Clock
  readonly #heap: Alarm[] = []
  #timer: NodeJS.Timeout | undefined
  /** When the timer fires, by the clock. */
  #firesAt = Number.POSITIVE_INFINITY
  #stopped = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The queue's `alarmAt` is this moment; an alarm of its that was set for another one says nothing any more. */
  set(queue: Queue, at: number): void {
    const heap = this.#heap
    const alarm = { at, queue }
    let index = heap.length
    heap.push(alarm)
    while (index > 0) {
      const parent = (index - 1) >> 1
      if (heap[parent]!.at <= at) break
      heap[index] = heap[parent]!
      index = parent
    }
    heap[index] = alarm
    if (at < this.#firesAt) this.#sleep()
  }

  stop(): void {
    this.#stopped = true
    clearTimeout(this.#timer)
    this.#heap.length = 0
  }

  readonly #ring = (): void => {
    const now = this.#clock.now()
    while (this.#heap.length > 0 && this.#heap[0]!.at <= now) {
      const { at, queue } = this.#heap[0]!
      this.#pop()
      if (queue.alarmAt === at) queue.ring(now)
    }
    this.#sleep()
  }

  #sleep(): void {
    clearTimeout(this.#timer)
    this.#firesAt = Number.POSITIVE_INFINITY
    const first = this.#heap[0]
    if (first === undefined || this.#stopped) return
    const now = this.#clock.now()
    const sleepMs = Math.min(Math.max(1, Math.ceil(first.at - now)), longestSleepMs)
    this.#firesAt = now + sleepMs
    this.#timer = setTimeout(this.#ring, sleepMs)
    // Alarms of a broker that nobody closes do not keep its process.
    this.#timer.unref()
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    const count = heap.length
    if (count === 0) return
    let index = 0
    for (;;) {
      let child = 2 * index + 1
      if (child >= count) break
      if (child + 1 < count && heap[child + 1]!.at < heap[child]!.at) child++
      if (heap[child]!.at >= last.at) break
      heap[index] = heap[child]!
      index = child
    }
    heap[index] = last
  }
}
