/** The consumer of batches as its user sees it: a consumer of messages whose concurrency is counted in batches. */
import type { Consumer } from '../consume/consumer.ts'
import { batchOptions } from '../options/consuming.ts'
import { checkOptions } from '../options/option.ts'
import { messagesOf } from './batch-options.ts'
import type { Gatherer } from './gatherer.ts'

export class BatchConsumer implements Consumer {
  readonly #consumer: Consumer
  readonly #gatherer: Gatherer
  readonly #size: number
  readonly #where: string

  constructor(consumer: Consumer, gatherer: Gatherer, size: number, where: string) {
    this.#consumer = consumer
    this.#gatherer = gatherer
    this.#size = size
    this.#where = where
  }

  get concurrency(): number {
    return this.#gatherer.concurrency
  }

  set concurrency(concurrency: number) {
    checkOptions({ concurrency: batchOptions.concurrency }, { concurrency: Number(concurrency) }, this.#where)
    this.#consumer.concurrency = messagesOf(this.#size, concurrency, this.#where)
    this.#gatherer.concurrency = concurrency
  }

  pause(): Promise<void> {
    return this.#consumer.pause()
  }

  resume(): Promise<void> {
    return this.#consumer.resume()
  }

  stop(options?: { readonly deadlineMs?: number }): Promise<void> {
    return this.#consumer.stop(options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }
}
