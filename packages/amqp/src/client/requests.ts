/**
 * Requests of one channel and their answers. A channel's methods are answered in the order in which they were sent
 * (AMQP 0-9-1 section 4.7), so many may be under way and the oldest takes the next answer.
 */

import { BASIC_RECOVER, BASIC_RECOVER_OK, type Method, methodNames, methodResponses } from '../generated/methods.ts'

interface Request {
  readonly id: number
  readonly answered: (answer: Method) => void
  readonly failed: (error: Error) => void
}

/** First size at which answered requests are taken off the list. */
const compactAt = 64

export class Requests {
  #waiting: Request[] = []
  #first = 0

  get size(): number {
    return this.#waiting.length - this.#first
  }

  /** Notes a request that was written. */
  add(id: number, answered: (answer: Method) => void, failed: (error: Error) => void): void {
    this.#waiting.push({ id, answered, failed })
  }

  /** Hands the answer to the oldest request. Returns what is wrong, as a sentence, if it does not answer that one. */
  answer(method: Method): string | undefined {
    const request = this.#waiting[this.#first]
    const name = methodNames.get(method.id) ?? 'a method'
    if (request === undefined) return `the server sent ${name}, which nobody asked for`
    if (!answers(request.id, method.id)) {
      return `the server sent ${name} in answer to ${methodNames.get(request.id)}`
    }
    this.#first++
    if (this.#first >= compactAt && this.#first * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#first)
      this.#first = 0
    }
    request.answered(method)
    return undefined
  }

  /** Tells everybody who waits that there will be no answer. */
  fail(error: Error): void {
    const waiting = this.#waiting.slice(this.#first)
    this.#waiting = []
    this.#first = 0
    for (const request of waiting) request.failed(error)
  }
}

/** basic.recover names no response in the definition, and yet has one. */
function answers(requestId: number, answerId: number): boolean {
  if (requestId === BASIC_RECOVER) return answerId === BASIC_RECOVER_OK
  return methodResponses.get(requestId)?.includes(answerId) ?? false
}
