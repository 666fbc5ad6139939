/**
 * The backlog in fair shares: the tenants that have messages waiting here take turns, each with as many messages a turn as its
 * weight. One that floods the queue delays itself; the others wait for its turn, not for its flood. Fairness reaches as far as the
 * window does: what the engine has not handed out yet is in the engine's order.
 */
import type { Backlog } from './backlog.ts'
import { FifoQueue } from './queue.ts'
import type { Work } from './work.ts'

export interface FairOptions {
  /** The header that names the tenant. Default: the message's tenant id. */
  readonly header?: string
  /** How many messages a turn, by tenant: 1 to 1,000. Default 1. */
  readonly weights?: Readonly<Record<string, number>>
}

interface Tenant {
  readonly name: string
  readonly waiting: FifoQueue<Work>
}

export class FairOrder implements Backlog {
  readonly #options: FairOptions
  readonly #tenants = new Map<string, Tenant>()
  /** Tenants with messages, in the order of their turns; the first has its turn. */
  readonly #turns = new FifoQueue<Tenant>()
  #current: Tenant | undefined
  #left = 0
  #size = 0

  constructor(options: FairOptions) {
    this.#options = options
  }

  get size(): number {
    return this.#size
  }

  push(work: Work): void {
    const name = this.#tenantOf(work)
    let tenant = this.#tenants.get(name)
    if (tenant === undefined) {
      tenant = { name, waiting: new FifoQueue() }
      this.#tenants.set(name, tenant)
      this.#turns.push(tenant)
    }
    tenant.waiting.push(work)
    this.#size += 1
  }

  take(): Work | undefined {
    if (this.#size === 0) return undefined
    if (this.#current === undefined) {
      this.#current = this.#turns.shift()!
      this.#left = this.#weightOf(this.#current.name)
    }
    const { waiting, name } = this.#current
    const work = waiting.shift()
    this.#size -= 1
    this.#left -= 1
    if (waiting.size === 0) {
      // Tenants come and go without end; those with nothing here are forgotten.
      this.#tenants.delete(name)
      this.#current = undefined
    } else if (this.#left <= 0) {
      this.#turns.push(this.#current)
      this.#current = undefined
    }
    return work
  }

  comeBack(work: Work): void {
    this.push(work)
  }

  done(): void {}

  drain(): Work[] {
    const drained: Work[] = []
    for (const { waiting } of this.#tenants.values()) drained.push(...waiting.drain())
    this.#tenants.clear()
    this.#turns.drain()
    this.#current = undefined
    this.#size = 0
    return drained
  }

  #tenantOf(work: Work): string {
    const { header } = this.#options
    const { headers, attributes } = work.item.message
    const tenant = header === undefined ? attributes.tenantid : headers[header]
    return typeof tenant === 'string' || typeof tenant === 'number' ? String(tenant) : ''
  }

  #weightOf(name: string): number {
    const { weights } = this.#options
    return weights !== undefined && Object.hasOwn(weights, name) ? weights[name]! : 1
  }
}
