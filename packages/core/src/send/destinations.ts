/**
 * Who creates what: each destination is declared at its first use and remembered for the life of the bus. Callers that
 * come at once share one declaration; one that failed is forgotten, so the next use tries again.
 */
import type { Destination, Driver } from '@chasqui/driver'
import { ChasquiError, isChasquiError } from '@chasqui/driver'
import { isReserved } from '../contract/names.ts'
import { deadLetterName } from '../retry/dead-letter.ts'
import type { Ready } from './outgoing.ts'

/** What one use asks of a destination. */
export interface Wanted {
  readonly durable: boolean
  readonly create: boolean
  readonly lanes: number | undefined
}

/** How many declarations are remembered; a program that makes up names without end must not grow without end. */
const maxRemembered = 10_000

export class Destinations {
  readonly #driver: Driver
  readonly #timeoutMs: number
  readonly #known = new Map<string, Declaration>()

  /** `timeoutMs` bounds one declaration, an absent engine included. */
  constructor(driver: Driver, timeoutMs: number) {
    this.#driver = driver
    this.#timeoutMs = timeoutMs
  }

  queue(name: string, wanted: Wanted): Ready {
    return this.#declaration(`queue ${name}`, wanted, () => queueAndDeadLetters(name, wanted))
  }

  topic(name: string, wanted: Wanted): Ready {
    return this.#declaration(`topic ${name}`, wanted, () => [topicAlone(name, wanted)])
  }

  subscription(topic: string, name: string, wanted: Wanted): Ready {
    return this.#declaration(`subscription ${topic} ${name}`, wanted, () => [
      topicAlone(topic, wanted),
      ...subscriptionAndDeadLetters(topic, name, wanted),
    ])
  }

  /** Declares them now, whatever was declared before. */
  declare(destinations: readonly Destination[]): Promise<void> {
    return new Declaration(this.#driver, destinations, true, this.#timeoutMs).wait()
  }

  #declaration(what: string, wanted: Wanted, destinations: () => readonly Destination[]): Ready {
    const key = `${what} ${wanted.durable} ${wanted.create} ${wanted.lanes ?? ''}`
    const known = this.#known.get(key)
    if (known !== undefined) return known
    if (this.#known.size >= maxRemembered) this.#known.clear()
    const declaration = new Declaration(this.#driver, destinations(), wanted.create, this.#timeoutMs)
    this.#known.set(key, declaration)
    return declaration
  }
}

class Declaration implements Ready {
  ready = false
  readonly #driver: Driver
  readonly #destinations: readonly Destination[]
  readonly #create: boolean
  readonly #timeoutMs: number
  #running: Promise<void> | undefined

  constructor(driver: Driver, destinations: readonly Destination[], create: boolean, timeoutMs: number) {
    this.#driver = driver
    this.#destinations = destinations
    this.#create = create
    this.#timeoutMs = timeoutMs
  }

  wait(): Promise<void> {
    this.#running ??= this.#declare().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  forget(): void {
    this.ready = false
  }

  async #declare(): Promise<void> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      const { name } = this.#destinations.at(-1)!
      late.reject(
        new ChasquiError(
          'send-timeout',
          `The engine did not declare "${name}" within ${this.#timeoutMs} ms. Is it up?`,
          {
            details: { destination: name, timeoutMs: this.#timeoutMs },
          },
        ),
      )
    }, this.#timeoutMs)
    try {
      const declared = this.#driver.declare({ destinations: this.#destinations }, { create: this.#create })
      await Promise.race([declared, late.promise])
      this.ready = true
    } catch (error) {
      throw isChasquiError(error) ? error : new ChasquiError('internal', `Declaring failed: ${error}`, { cause: error })
    } finally {
      clearTimeout(timer)
    }
  }
}

function kept(wanted: Wanted): { durable: boolean; lanes?: number } {
  return wanted.lanes === undefined ? { durable: wanted.durable } : { durable: wanted.durable, lanes: wanted.lanes }
}

export function topicAlone(name: string, wanted: Wanted): Destination {
  return { kind: 'topic', name, ...kept(wanted) }
}

/** The dead-letter queue of a subscription that is not durable is made when it is needed. */
export function subscriptionAndDeadLetters(topic: string, name: string, wanted: Wanted): readonly Destination[] {
  if (!wanted.durable) return [{ kind: 'subscription', topic, name, ...kept(wanted) }]
  const deadLetter = deadLetterName({ kind: 'subscription', topic, name })
  const subscription: Destination = { kind: 'subscription', topic, name, ...kept(wanted), deadLetter }
  return wanted.create ? [{ kind: 'queue', name: deadLetter, durable: true }, subscription] : [subscription]
}

/**
 * A durable queue comes with its dead-letter queue, to which the engine too can turn. One that is not durable is declared
 * bare, exactly as the tutorials of other languages declare theirs; what is dead-lettered from it finds its queue made then.
 */
export function queueAndDeadLetters(name: string, wanted: Wanted): readonly Destination[] {
  if (!wanted.durable || isReserved(name)) return [{ kind: 'queue', name, ...kept(wanted) }]
  const deadLetter = deadLetterName({ kind: 'queue', name })
  const queue: Destination = { kind: 'queue', name, ...kept(wanted), deadLetter }
  return wanted.create ? [{ kind: 'queue', name: deadLetter, durable: true }, queue] : [queue]
}
